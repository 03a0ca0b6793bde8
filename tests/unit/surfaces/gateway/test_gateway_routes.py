"""Which paths are the Gateway API's."""

from __future__ import annotations

import pytest

from pg_trio.surfaces import SURFACES, MatchedRoute, SurfaceTable
from pg_trio.surfaces.gateway import GATEWAY

PROJECT = "6f1c0000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/api/{PROJECT}/ask", (PROJECT, "ask")),
        (f"/api/{PROJECT}/chat/completions", (PROJECT, None)),
        (f"/api/{PROJECT}/..", (PROJECT, "..")),
    ],
)
def test_own_routes_match(path: str, expected: tuple[str, str | None]) -> None:
    assert (GATEWAY, MatchedRoute(*expected)) == SurfaceTable(SURFACES).find("POST", path.encode())


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/",
        f"/api/{PROJECT}",
        f"/api/{PROJECT}/",
        f"/api//{PROJECT}/ask",
        f"//api/{PROJECT}/ask",
        f"/api/{PROJECT}/ask/",
        f"/api/{PROJECT}/a/b",
        f"/api/{PROJECT}/chat",
        f"/api/{PROJECT}/info",
        f"/api/{PROJECT}/chat/completions/",
        f"/API/{PROJECT}/ask",
        f"/api/{PROJECT}/é",
        f"/api/{PROJECT}/ask%2Fme",
        f"/api/{PROJECT}/%61sk",
        f"/%61pi/{PROJECT}/ask",
        f"/api/%36{PROJECT[1:]}/ask",
    ],
)
def test_other_paths_do_not(path: str) -> None:
    assert SurfaceTable(SURFACES).find("POST", path.encode()) is None


def test_other_methods_do_not() -> None:
    assert SurfaceTable(SURFACES).find("GET", f"/api/{PROJECT}/ask".encode()) is None
