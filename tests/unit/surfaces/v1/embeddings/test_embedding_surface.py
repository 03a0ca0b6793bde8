"""The surface of embeddings: its route, and how it refuses what no candidate can take."""

from __future__ import annotations

import pytest

from pg_trio.errors import NoFitCandidate
from pg_trio.surfaces import SURFACES, SurfaceTable
from pg_trio.surfaces.contract import MatchedRoute
from pg_trio.surfaces.v1.embeddings import EMBEDDINGS
from pg_trio.surfaces.v1.openai_errors import find_param


@pytest.mark.parametrize(
    ("method", "path", "is_found"),
    [
        ("POST", b"/api/p/v1/embeddings", True),
        ("GET", b"/api/p/v1/embeddings", False),
        ("POST", b"/api/p/v1/embeddings/", False),
        ("POST", b"/api/p/v1/Embeddings", False),
        ("POST", b"/api/p/v1/embeddings/more", False),
        ("POST", b"/api/p/v1/v1/embeddings", False),
        ("POST", b"/api/v1/embeddings", False),
        ("POST", b"/api//v1/embeddings", False),
    ],
)
def test_route(method: str, path: bytes, is_found: bool) -> None:
    found = SurfaceTable(SURFACES).find(method, path)

    assert is_found == (found == (EMBEDDINGS, MatchedRoute("p", None)))


NONE, TOKENS, SIZE = "embeddings", "inputs as tokens", "dimensions"


@pytest.mark.parametrize(
    ("reasons", "said", "param"),
    [
        ([(NONE, "groq/a")], "Provider 'groq' does not support embeddings.", None),
        ([(NONE, "groq/a/b"), (NONE, "xai/b")], "Provider 'groq' does not support embeddings.", None),
        (
            [(NONE, "groq/a"), (TOKENS, "cohere/b")],
            "input: must be text: tokens are not supported by cohere/b.",
            "input",
        ),
        (
            [(TOKENS, "google/a"), (TOKENS, "cohere/b")],
            "input: must be text: tokens are not supported by google/a, cohere/b.",
            "input",
        ),
        (
            [(TOKENS, "cohere/b"), (NONE, "groq/a"), (SIZE, "together/c")],
            "dimensions: dimensions is not supported by together/c.",
            "dimensions",
        ),
    ],
)
def test_refusal_names_what_nobody_takes(reasons: list[tuple[str, str]], said: str, param: str | None) -> None:
    error = EMBEDDINGS.refuse_unfit(NoFitCandidate(reasons))

    assert (400, said, param) == (error.status, error.text, find_param(error))
