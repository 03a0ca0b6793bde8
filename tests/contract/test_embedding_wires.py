"""One contract for embeddings on every wire: the same texts are the same vectors, whichever provider makes them.

The other side is the simulator, which reads requests as strictly as the providers' documentation is.
"""

from __future__ import annotations

from array import array
from urllib.parse import urlsplit

import orjson
import pytest

from pg_trio.domain.chat import Usage
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest, InputType, Vector
from pg_trio.errors import AttemptFailed, UpstreamBroken, UpstreamNonsense, UpstreamRefused
from pg_trio.providers import embeddings_for
from pg_trio.simulator.behaviour import parse_behaviour
from pg_trio.simulator.chat_completion import Occasion, make_vector
from pg_trio.simulator.plan import render
from pg_trio.simulator.wire_routes import find_route, read_call, read_key
from tests.support.simulated import KEY, candidate_of, read_http

PROVIDERS = ("openai", "mistral", "together", "ollama", "cohere", "google")
EVERY = pytest.mark.parametrize("provider", PROVIDERS)
TEXTS = ("Hello", "Ça va? 🙂", "x" * 1_000)


def vector_of(text: str) -> Vector:
    return array("d", make_vector(text, 8))


def embed(provider: str, request: EmbeddingRequest, behaviour: str = "") -> EmbeddingReply:
    """What the simulator answers to what the adapter of this provider asks, as the adapter reads it."""
    adapter, candidate = embeddings_for(provider), candidate_of(provider)
    built = adapter.build_embeddings(request, candidate)
    path = urlsplit(built.url).path
    found = find_route(built.method, path)
    assert found is not None
    headers = {name.lower(): value for name, value in built.headers}
    assert KEY == read_key(found[0], headers)
    call = read_call(found[0], path, headers, orjson.loads(built.body), found[1])
    exchange = read_http(list(render(parse_behaviour(behaviour), call, Occasion(0, "sim", 1)).steps))
    if exchange.is_cut:
        raise UpstreamBroken("the connection was lost")
    return adapter.read_embeddings(
        exchange.status, exchange.headers, exchange.body, candidate, inputs=len(request.inputs), now_s=0.0
    )


@EVERY
def test_texts_become_their_vectors(provider: str) -> None:
    reply = embed(provider, EmbeddingRequest(TEXTS), "usage=38:0")

    assert EmbeddingReply(tuple(map(vector_of, TEXTS)), "sim", Usage(38, 0)) == reply


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "together"])
@pytest.mark.parametrize("input_type", [None, "search_query", "classification", "clustering"])
def test_dimensions_and_use_are_understood(provider: str, input_type: InputType | None) -> None:
    reply = embed(provider, EmbeddingRequest(TEXTS, dimensions=3, input_type=input_type))

    assert [3, 3, 3] == [len(vector) for vector in reply.vectors]


def test_tokens_are_understood() -> None:
    reply = embed("openai", EmbeddingRequest(((1, 2, 3), "Hello")))

    assert (vector_of("1 2 3"), vector_of("Hello")) == reply.vectors


@EVERY
def test_uncounted_answer_has_no_usage(provider: str) -> None:
    assert embed(provider, EmbeddingRequest(TEXTS), "usage=off").usage is None


@EVERY
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("status:429", UpstreamRefused),
        ("status:401", UpstreamRefused),
        ("status:503", UpstreamRefused),
        ("notjson", UpstreamNonsense),
        ("wrong_type", UpstreamNonsense),
        ("error200", UpstreamNonsense),
        ("nochoices", UpstreamNonsense),
        ("truncate", UpstreamBroken),
    ],
)
def test_failure_is_told(provider: str, fault: str, kind: type[AttemptFailed]) -> None:
    with pytest.raises(kind):
        embed(provider, EmbeddingRequest(TEXTS), f"fault={fault}")
