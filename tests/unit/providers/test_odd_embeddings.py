"""Answers with vectors that only look odd."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pg_trio.domain.chat import Usage
from pg_trio.domain.embeddings import EmbeddingReply
from pg_trio.providers import embeddings_for
from tests.support.simulated import candidate_of


def read(provider: str, answer: Any, inputs: int = 1) -> EmbeddingReply:
    body = answer if isinstance(answer, bytes) else orjson.dumps(answer)
    return embeddings_for(provider).read_embeddings(200, {}, body, candidate_of(provider), inputs=inputs, now_s=0.0)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, Usage(7, 0)),
        ({"prompt_tokens": None, "total_tokens": 7}, Usage(7, 0)),
        ({"total_tokens": 7}, Usage(7, 0)),
        # Servers that do not count.
        ({"prompt_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": 7.5}, None),
        ({"prompt_tokens": -7}, None),
        ([], None),
    ],
)
def test_usage_that_is_no_count_is_none(usage: Any, expected: Usage | None) -> None:
    assert expected == read("openai", {"data": [{"embedding": [1.0]}], "usage": usage}).usage


@pytest.mark.parametrize(
    ("provider", "answer"),
    [
        ("google", {"embeddings": [{"values": [1.0]}], "usageMetadata": {"promptTokenCount": 0}}),
        ("cohere", {"embeddings": {"float": [[1.0]]}, "meta": {"billed_units": {"input_tokens": 0}}}),
    ],
)
def test_usage_of_zero_is_none_on_any_wire(provider: str, answer: Any) -> None:
    assert read(provider, answer).usage is None


@pytest.mark.parametrize("places", [(1, 0), ("1", "0"), (1.0, 0.0), (2, 1), ("2", "1")])
def test_vectors_stand_where_their_index_says(places: tuple[Any, Any]) -> None:
    data = [{"index": places[0], "embedding": [1.0]}, {"index": places[1], "embedding": [0.0]}]

    first, second = read("openai", {"data": data}, inputs=2).vectors

    assert ([0.0], [1.0]) == (list(first), list(second))


@pytest.mark.parametrize("places", [(0, 0), (None, 0), (1, "x"), (True, False), (0.5, 0)])
def test_vectors_without_an_index_each_stand_as_they_came(places: tuple[Any, Any]) -> None:
    data = [{"index": places[0], "embedding": [1.0]}, {"index": places[1], "embedding": [0.0]}]

    first, second = read("openai", {"data": data}, inputs=2).vectors

    assert ([1.0], [0.0]) == (list(first), list(second))
