"""Embeddings on Google's wire: `POST /models/{model}:batchEmbedContents`. The body has one request for each input.

Source: Gemini API reference, "Embeddings" (batchEmbedContents, TaskType), and the `google-genai` package 3.6, read
2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import orjson

from pg_trio.domain.chat import Json
from pg_trio.domain.embeddings import EmbeddingInput, EmbeddingReply, EmbeddingRequest, InputType
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import WireRequest
from pg_trio.providers.embedding_fields import (
    EmbeddingLimits,
    check_fit,
    make_reply,
    read_count,
    read_list,
    read_object,
    read_vector,
)
from pg_trio.providers.google import model_path, url_of
from pg_trio.providers.native_adapter import headers_for
from pg_trio.providers.openai_fields import refuse

_TASK_TYPES: Mapping[InputType, str] = MappingProxyType(
    {
        "search_document": "RETRIEVAL_DOCUMENT",
        "search_query": "RETRIEVAL_QUERY",
        "classification": "CLASSIFICATION",
        "clustering": "CLUSTERING",
    }
)


class GoogleEmbeddings(EmbeddingLimits):
    """See `domain.adapter.EmbeddingAdapter`."""

    def build_embeddings(self, request: EmbeddingRequest, candidate: Candidate) -> WireRequest:
        """The HTTP request to this candidate. Raises: CandidateUnfit."""
        check_fit(request, candidate)
        return WireRequest(
            f"{url_of(candidate)}:batchEmbedContents",
            headers_for(candidate),
            orjson.dumps({"requests": [_write_one(each, request, candidate) for each in request.inputs]}),
            allow_private_addresses=candidate.credential.allow_private_addresses,
        )

    def read_embeddings(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, inputs: int, now_s: float
    ) -> EmbeddingReply:
        """The vectors. Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense (see embedding_fields)."""
        answer = read_object(status, headers, body, candidate, now_s)
        vectors = []
        for number, item in enumerate(read_list(answer.get("embeddings"), "embeddings")):
            if type(item) is not dict:
                refuse(f"embeddings[{number}]", item, "an object")
            vectors.append(read_vector(item.get("values"), f"embeddings[{number}].values"))
        counts = answer.get("usageMetadata")
        usage = read_count(counts.get("promptTokenCount")) if type(counts) is dict else None
        return make_reply(vectors, inputs, candidate.model, usage)


def _write_one(each: EmbeddingInput, request: EmbeddingRequest, candidate: Candidate) -> dict[str, Json]:
    written: dict[str, Json] = {"model": model_path(candidate), "content": {"parts": [{"text": each}]}}
    if request.input_type is not None:
        written["taskType"] = _TASK_TYPES[request.input_type]
    if request.dimensions is not None:
        written["outputDimensionality"] = request.dimensions
    return written
