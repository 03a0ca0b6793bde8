"""The matrix of clients in docs/surfaces.md is the list's, and each client has its settings in docs/clients.md."""

from __future__ import annotations

import pytest

from scripts.client_matrix import FILE, ROOT, declared, fill
from tests.clients.declared import CLIENTS, FEATURES


def test_matrix_is_up_to_date() -> None:
    """`scripts/client-matrix` makes it. This compares it with what is declared; the slow tests show that it is so."""
    text = FILE.read_text(encoding="utf-8")

    assert fill(text, declared()) == text


def test_every_feature_is_of_a_client() -> None:
    assert set(FEATURES) == {feature for client in CLIENTS for feature in client.features}


@pytest.mark.parametrize("package", sorted({client.package for client in CLIENTS}))
def test_package_has_its_settings(package: str) -> None:
    assert f"`{package}`" in (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
