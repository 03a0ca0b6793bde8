"""`cors_origins` in the configuration."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.support.config import CREDENTIAL, ENDPOINT, PROJECT, PROJECT_HEAD, mistakes_in, read


def with_origins(text: str) -> str:
    return CREDENTIAL + PROJECT_HEAD + f"cors_origins = {text}\n" + ENDPOINT


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example",
        "https://*.a.example:444",
        "http://localhost:3000",
        "*",
        "capacitor://localhost",
        "http://[::1]:3000",
    ],
)
def test_origin_is_read(origin: str) -> None:
    project = read(with_origins(f'["{origin}"]')).projects[UUID(PROJECT)]

    assert project.cors_origins is not None
    assert (origin,) == project.cors_origins.entries


@pytest.mark.parametrize(
    "origins",
    [
        '["*", "https://a.example"]',
        '["a.example"]',
        '["https://a.example/"]',
        '["null"]',
        '["https://*"]',
        '["https://a.*.example"]',
        '["https://A.example"]',
        '[""]',
        '"*"',
        '["https://a.example:999999"]',
    ],
)
def test_what_is_no_origin_is_a_mistake(origins: str) -> None:
    (mistake,) = mistakes_in(with_origins(origins))

    assert "cors_origins" in mistake
