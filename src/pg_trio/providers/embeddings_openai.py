"""Embeddings on OpenAI's wire: `POST /embeddings`.

`Provider.embeddings` says what a provider accepts. Vectors arrive as numbers, or as base64 of 32-bit floats, at a third
of the size. The adapter requests base64 if the provider documents it, and reads it from every provider.

Sources, read 2026-11: OpenAI's API reference, "Create embeddings"; docs.mistral.ai/api/endpoint/embeddings.
"""

from __future__ import annotations

import binascii
import sys
from array import array
from base64 import b64decode
from collections.abc import Mapping

import orjson

from pg_trio.domain.chat import Json
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest, Vector
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.embedding_fields import (
    EmbeddingLimits,
    check_finite,
    check_fit,
    make_reply,
    read_count,
    read_list,
    read_object,
    read_vector,
)
from pg_trio.providers.openai_fields import read_model, refuse
from pg_trio.providers.openai_request import route_to, url_to
from pg_trio.providers.openai_tools import read_index

_FLOAT_BYTES = 4


class OpenAIEmbeddings(EmbeddingLimits):
    """See `domain.adapter.EmbeddingAdapter`."""

    def build_embeddings(self, request: EmbeddingRequest, candidate: Candidate) -> WireRequest:
        """The HTTP request to this candidate. Raises: CandidateUnfit."""
        check_fit(request, candidate)
        route = route_to(candidate).renewed()
        row = route.provider.embeddings
        assert row is not None  # or it had been unfit
        body: dict[str, Json] = {
            **(request.unknown or {}),
            "model": candidate.model,
            "input": [each if isinstance(each, str) else list(each) for each in request.inputs],
        }
        if row.asks_base64:
            body["encoding_format"] = "base64"
        if request.dimensions is not None and row.dimensions_field is not None:
            body[row.dimensions_field] = request.dimensions
        if request.user is not None and row.takes_user:
            body["user"] = request.user
        return WireRequest(
            url_to(candidate.credential, "embeddings"),
            route.headers,
            orjson.dumps(body),
            allow_private_addresses=candidate.credential.allow_private_addresses,
        )

    def read_embeddings(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, inputs: int, now_s: float
    ) -> EmbeddingReply:
        """The vectors. Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense (see embedding_fields)."""
        answer = read_object(status, headers, body, candidate, now_s)
        vectors = _read_data(read_list(answer.get("data"), "data"))
        usage = answer.get("usage")
        counts = [usage.get(name) for name in ("prompt_tokens", "total_tokens")] if type(usage) is dict else [None]
        # Some servers have the total alone, which is the same here.
        counted = read_count(next((count for count in counts if count is not None), None))
        return make_reply(vectors, inputs, read_model(answer.get("model"), candidate), counted)


def _read_data(items: list[Json]) -> list[Vector]:
    """The vectors in the order of their `index`, which may begin at 1. Without an index for each, in the order of the
    list."""
    vectors, places = list[Vector](), list[int]()
    for number, item in enumerate(items):
        if type(item) is not dict:
            refuse(f"data[{number}]", item, "an object")
        where = f"data[{number}].embedding"
        given = item.get("embedding")
        vectors.append(_read_base64(given, where) if type(given) is str else read_vector(given, where))
        place = read_index(item.get("index"))
        if place is not None:
            places.append(place)
    if len(set(places)) != len(vectors):
        return vectors
    return [vector for _, vector in sorted(zip(places, vectors, strict=True))]


def _read_base64(text: str, where: str) -> Vector:
    """32-bit floats, little endian."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UpstreamNonsense(f"{where} is not base64") from None
    if not data or len(data) % _FLOAT_BYTES:
        raise UpstreamNonsense(f"{where} is base64 of {len(data)} bytes, which are no 32-bit floats")
    vector = array("f", data)
    if sys.byteorder == "big":
        vector.byteswap()
    return check_finite(vector, where)
