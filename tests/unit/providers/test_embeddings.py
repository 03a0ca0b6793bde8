"""Embeddings: what each wire is sent, what its answers mean, and that nothing else comes of any bytes."""

from __future__ import annotations

import base64
import json
import struct
from array import array
from typing import Any

import cohere.types
import orjson
import pydantic
import pytest
from google.genai import types as google_types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pg_trio.config.settings import UpstreamSettings
from pg_trio.domain.chat import Usage
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest, Vector
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS, Embeddings
from pg_trio.domain.secret import Secret
from pg_trio.errors import AttemptFailed, CandidateUnfit, UpstreamNonsense, UpstreamRefused
from pg_trio.providers import embeddings_for
from tests.support.recordings import load_recording

WIRES = ("openai", "cohere", "google")


def vectors(*lists: tuple[float, ...]) -> tuple[Vector, ...]:
    return tuple(array("d", numbers) for numbers in lists)


REPLIES: dict[tuple[str, str], EmbeddingReply] = {
    ("openai", "openai/embeddings/answer"): EmbeddingReply(
        vectors((0.0023064255, -0.009327292, -0.0028842222)), "text-embedding-ada-002", Usage(8, 0)
    ),
    ("openai", "openai/embeddings/base64"): EmbeddingReply(
        vectors((0.5, -0.25, 0.125), (-1.0, 0.0, 1.0)), "text-embedding-3-small", Usage(4, 0)
    ),
    ("mistral", "mistral/embeddings/answer"): EmbeddingReply(
        vectors((-0.0165863037109375, 0.07012939453125), (-0.0234222412109375, 0.039337158203125)),
        "mistral-embed",
        Usage(15, 0),
    ),
    ("together", "together/embeddings/answer"): EmbeddingReply(
        vectors((0.2633502, 0.13856506)), "BAAI/bge-base-en-v1.5"
    ),
    ("ollama", "ollama/embeddings/answer"): EmbeddingReply(
        vectors((0.010071029, -0.0017594862)), "all-minilm", Usage(8, 0)
    ),
    ("openai_compatible", "ollama/embeddings/answer"): EmbeddingReply(
        vectors((0.010071029, -0.0017594862)), "all-minilm", Usage(8, 0)
    ),
    ("cohere", "cohere/embeddings/answer"): EmbeddingReply(
        vectors((0.016296387, -0.008354187, -0.04699707), (0.04663086, -0.023239136, 0.008163452)), "asked", Usage(2, 0)
    ),
    ("google", "google/embeddings/answer"): EmbeddingReply(
        vectors((-0.010632273, 0.019375853), (0.013467998, 0.025466874)), "asked", Usage(6, 0)
    ),
}


def candidate_of(provider: str, model: str = "asked") -> Candidate:
    base_url = PROVIDERS[provider].base_url or "http://127.0.0.1:1/v1"
    return Candidate(Credential("main", provider, base_url, Secret("sk-the-key")), model)


def read(provider: str, body: bytes, inputs: int = 1, status: int = 200) -> EmbeddingReply:
    candidate = candidate_of(provider)
    return embeddings_for(provider).read_embeddings(status, {}, body, candidate, inputs=inputs, now_s=0.0)


def sent(provider: str, request: EmbeddingRequest, model: str = "asked") -> tuple[str, dict[str, Any]]:
    built = embeddings_for(provider).build_embeddings(request, candidate_of(provider, model))
    return built.url, orjson.loads(built.body)


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────

BOTH = EmbeddingRequest(("Hello", "Goodbye"), dimensions=256, input_type="search_query")


@pytest.mark.parametrize(
    ("provider", "url", "body"),
    [
        (
            "openai",
            "https://api.openai.com/v1/embeddings",
            {"model": "asked", "input": ["Hello", "Goodbye"], "encoding_format": "base64", "dimensions": 256},
        ),
        (
            "mistral",
            "https://api.mistral.ai/v1/embeddings",
            {"model": "asked", "input": ["Hello", "Goodbye"], "output_dimension": 256},
        ),
        (
            "ollama",
            "http://localhost:11434/v1/embeddings",
            {"model": "asked", "input": ["Hello", "Goodbye"], "dimensions": 256},
        ),
        (
            "cohere",
            "https://api.cohere.com/v2/embed",
            {
                "model": "asked",
                "input_type": "search_query",
                "texts": ["Hello", "Goodbye"],
                "embedding_types": ["float"],
                "output_dimension": 256,
            },
        ),
        (
            "google",
            "https://generativelanguage.googleapis.com/v1beta/models/asked:batchEmbedContents",
            {
                "requests": [
                    {
                        "model": "models/asked",
                        "content": {"parts": [{"text": text}]},
                        "taskType": "RETRIEVAL_QUERY",
                        "outputDimensionality": 256,
                    }
                    for text in ("Hello", "Goodbye")
                ]
            },
        ),
    ],
)
def test_request_in_the_wire_s_words(provider: str, url: str, body: dict[str, Any]) -> None:
    assert (url, body) == sent(provider, BOTH)


def test_what_is_left_open_is_not_sent() -> None:
    plain = EmbeddingRequest(("Hello",))

    assert {"model": "asked", "input": ["Hello"]} == sent("together", plain)[1]
    assert {"model", "content"} == set(sent("google", plain)[1]["requests"][0])
    assert "search_document" == sent("cohere", plain)[1]["input_type"]


def test_tokens_are_sent_where_they_are_taken() -> None:
    assert [[1, 2], "a"] == sent("openai", EmbeddingRequest(((1, 2), "a")))[1]["input"]


@pytest.mark.parametrize(
    ("provider", "request_", "what"),
    [
        ("anthropic", EmbeddingRequest(("a",)), "embeddings"),
        ("groq", EmbeddingRequest(("a",)), "embeddings"),
        ("mistral", EmbeddingRequest(((1,),)), "inputs as tokens"),
        ("google", EmbeddingRequest(((1,),)), "inputs as tokens"),
        ("together", EmbeddingRequest(("a",), dimensions=2), "dimensions"),
    ],
)
def test_what_a_provider_cannot_take(provider: str, request_: EmbeddingRequest, what: str) -> None:
    adapter, candidate = embeddings_for(provider), candidate_of(provider)

    assert what == adapter.why_unfit(request_, candidate)
    with pytest.raises(CandidateUnfit):
        adapter.build_embeddings(request_, candidate)


@pytest.mark.parametrize(("provider", "most"), [("cohere", 96), ("google", 100), ("openai", 1_000), ("mistral", 128)])
def test_too_many_inputs_are_split(provider: str, most: int) -> None:
    adapter, candidate = embeddings_for(provider), candidate_of(provider)
    inputs = tuple(f"text {number}" for number in range(2 * most + 1))
    request = EmbeddingRequest(inputs, dimensions=None, input_type="clustering", user="u")

    parts = adapter.split(request, candidate)

    assert adapter.why_unfit(request, candidate) is None
    assert [most, most, 1] == [len(part.inputs) for part in parts]
    assert inputs == tuple(each for part in parts for each in part.inputs)
    assert {("clustering", "u")} == {(part.input_type, part.user) for part in parts}
    for part in parts:
        adapter.build_embeddings(part, candidate)
    with pytest.raises(CandidateUnfit, match=f"more than {most} inputs"):
        adapter.build_embeddings(request, candidate)


@pytest.mark.parametrize("row", {row.embeddings for row in PROVIDERS.values() if row.embeddings is not None})
def test_answer_of_one_call_fits(row: Embeddings) -> None:
    # The largest vectors of OpenAI's models in base64, of any provider's as JSON; and the object around each.
    vector_bytes = 3_072 * 4 * 4 / 3 if row.asks_base64 else 4_096 * 22

    assert row.most_inputs * (vector_bytes + 100) < UpstreamSettings().max_body_bytes


@pytest.mark.parametrize(("provider", "is_sent"), [("openai", True), ("azure", True), ("mistral", False)])
def test_user_is_sent_where_the_provider_has_it(provider: str, is_sent: bool) -> None:
    body = sent(provider, EmbeddingRequest(("Hello",), user="user-7"))[1]

    assert is_sent == ("user" in body)


def test_key_is_where_the_provider_reads_it() -> None:
    headers = {
        provider: dict(
            embeddings_for(provider).build_embeddings(EmbeddingRequest(("a",)), candidate_of(provider)).headers
        )
        for provider in WIRES
    }

    assert "Bearer sk-the-key" == headers["openai"]["Authorization"] == headers["cohere"]["Authorization"]
    assert "sk-the-key" == headers["google"]["x-goog-api-key"]


# ── the providers' own packages judge ────────────────────────────────────────────────────────────────────────────────


class CohereEmbed(pydantic.BaseModel):
    """The body of `/v2/embed`; the package has its fields as arguments of a method, of these types."""

    model_config = pydantic.ConfigDict(extra="forbid")

    model: str
    input_type: cohere.types.EmbedInputType
    texts: list[str]
    embedding_types: list[cohere.types.EmbeddingType]
    output_dimension: int | None = None


class GoogleEmbed(pydantic.BaseModel):
    """One of `requests[]`; the package writes it in code, from models of these types."""

    model_config = pydantic.ConfigDict(extra="forbid")

    model: str
    content: google_types.Content
    taskType: str | None = None
    outputDimensionality: int | None = None


requests = st.builds(
    EmbeddingRequest,
    st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5).map(tuple),
    st.none() | st.integers(1, 4_096),
    st.none() | st.sampled_from(["search_document", "search_query", "classification", "clustering"]),
)
many = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@many
@given(requests)
def test_official_types_know_all(request: EmbeddingRequest) -> None:
    CohereEmbed.model_validate(sent("cohere", request)[1])
    for one in sent("google", request)[1]["requests"]:
        GoogleEmbed.model_validate(one)
        google_types.EmbedContentConfig.model_validate(
            {name: value for name, value in one.items() if name not in ("model", "content")}
        )


def test_recordings_are_what_official_types_read() -> None:
    of_cohere = cohere.types.EmbedByTypeResponse.model_validate(
        orjson.loads(load_recording("cohere/embeddings/answer").body)
    )
    of_google = google_types.EmbedContentResponse.model_validate(
        orjson.loads(load_recording("google/embeddings/answer").body)
    )

    assert list(map(list, REPLIES["cohere", "cohere/embeddings/answer"].vectors)) == of_cohere.embeddings.float_
    assert of_google.embeddings is not None
    assert list(map(list, REPLIES["google", "google/embeddings/answer"].vectors)) == [
        one.values for one in of_google.embeddings
    ]


# ── what is read ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("provider", "name"), REPLIES)
def test_answer_becomes_vectors(provider: str, name: str) -> None:
    expected = REPLIES[provider, name]

    assert expected == read(provider, load_recording(name).body, len(expected.vectors))


def answer(*items: Any, **more: Any) -> bytes:
    return json.dumps({"data": [{"embedding": item} for item in items], **more}).encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (answer(), "the answer has 0 vectors for 2 inputs"),
        (answer([1.0]), "the answer has 1 vectors for 2 inputs"),
        (answer([1.0], [1.0, 2.0]), "the answer's vectors differ in length"),
        (answer([1.0], []), "data[1].embedding is empty"),
        (answer([1.0], [True]), "data[1].embedding holds something that is no number"),
        (answer([1.0], [float("nan")]), "data[1].embedding holds a number that is not finite"),
        (answer([1.0], [10**400]), "data[1].embedding holds a number that is too large"),
        (answer([1.0], [3.5e38]), "data[1].embedding holds a number that is not finite"),
        (answer([1.0], "AAA"), "data[1].embedding is not base64"),
        (answer([1.0], "AAAA"), "data[1].embedding is base64 of 3 bytes, which are no 32-bit floats"),
        (
            answer([1.0], base64.b64encode(struct.pack("<f", float("inf"))).decode()),
            "data[1].embedding holds a number that is not finite",
        ),
        (answer([1.0], None), "data[1].embedding is missing"),
        (b'{"data": {}}', "data is an object, not a list"),
        (b"[]", "the answer is a list, not an object"),
        (b"", "the answer is not JSON: its body is empty, no content type"),
        (
            b'{"error": {"message": "no such sk-the-key"}}',
            "an error in an answer with status 200: no such [redacted]",
        ),
    ],
)
def test_answer_that_is_none(body: bytes, said: str) -> None:
    with pytest.raises(UpstreamNonsense) as caught:
        read("openai", body, 2)

    assert said == caught.value.said


@pytest.mark.parametrize("indexes", [[0, 0], [1, 2], ["0", "1"], [None, None], [True, False]])
def test_indexes_that_are_none_leave_the_order(indexes: list[Any]) -> None:
    items = [{"embedding": [float(place)], "index": index} for place, index in enumerate(indexes)]

    assert vectors((0.0,), (1.0,)) == read("openai", json.dumps({"data": items}).encode(), 2).vectors


@pytest.mark.parametrize("count", [-1, 1e30, "8", True, None, [8]])
@pytest.mark.parametrize(("provider", "field"), [("openai", "usage"), ("cohere", "meta"), ("google", "usageMetadata")])
def test_odd_usage_is_none(provider: str, field: str, count: Any) -> None:
    body = orjson.loads(load_recording(f"{provider}/embeddings/answer").body)
    names = ("prompt_tokens", "promptTokenCount", "tokens", "billed_units", "input_tokens")
    body[field] = dict.fromkeys(names, count)

    assert (
        read(provider, json.dumps(body).encode(), len(REPLIES[provider, f"{provider}/embeddings/answer"].vectors)).usage
        is None
    )


def test_refusal_has_the_provider_s_words_and_its_time() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
    error = {"code": 429, "message": "Quota of sk-the-key is used up.", "details": details}

    with pytest.raises(UpstreamRefused) as caught:
        read("google", json.dumps({"error": error}).encode(), status=429)

    assert (429, 34.0) == (caught.value.upstream_status, caught.value.retry_after_s)
    assert "sk-the-key" not in caught.value.said
    assert "is used up" in caught.value.said


# ── anything at all ──────────────────────────────────────────────────────────────────────────────────────────────────

odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "embedding", "embeddings", "values", "float", "usage", "meta", "error", "index"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


def check(provider: str, body: bytes, status: int = 200) -> None:
    try:
        reply = read(provider, body, status=status)
    except AttemptFailed:
        return
    (vector,) = reply.vectors
    assert all(type(number) is float for number in vector)


@many
@given(st.sampled_from(WIRES), st.binary(max_size=200), st.sampled_from([200, 400, 429, 500]))
def test_any_bytes(provider: str, body: bytes, status: int) -> None:
    check(provider, body, status)


@many
@given(st.sampled_from(WIRES), odd)
def test_any_json(provider: str, value: Any) -> None:
    check(provider, json.dumps(value).encode())


@many
@given(st.sampled_from(WIRES), odd)
def test_anything_in_place_of_vectors(provider: str, value: Any) -> None:
    bodies = {
        "openai": {"data": [{"embedding": value}]},
        "cohere": {"embeddings": {"float": [value]}},
        "google": {"embeddings": [{"values": value}]},
    }

    check(provider, json.dumps(bodies[provider]).encode())
