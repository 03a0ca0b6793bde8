"""Embeddings on Cohere's wire: `POST /v2/embed`.

Cohere requires the purpose of the vectors. If the client does not name one, it is `search_document`, as in Cohere's own
examples.

Source: Cohere API reference, "Embed" (v2), and the types of the `cohere` package 7.3, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from pg_trio.domain.chat import Json, Usage
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest
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
from pg_trio.providers.native_adapter import headers_for

DEFAULT_INPUT_TYPE = "search_document"


class CohereEmbeddings(EmbeddingLimits):
    """See `domain.adapter.EmbeddingAdapter`."""

    def build_embeddings(self, request: EmbeddingRequest, candidate: Candidate) -> WireRequest:
        """The HTTP request to this candidate. Raises: CandidateUnfit."""
        check_fit(request, candidate)
        body: dict[str, Json] = {
            "model": candidate.model,
            "input_type": request.input_type or DEFAULT_INPUT_TYPE,
            "texts": list(request.inputs),
            "embedding_types": ["float"],
        }
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        return WireRequest(
            f"{candidate.credential.base_url}/embed",
            headers_for(candidate),
            orjson.dumps(body),
            allow_private_addresses=candidate.credential.allow_private_addresses,
        )

    def read_embeddings(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, inputs: int, now_s: float
    ) -> EmbeddingReply:
        """The vectors. Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense (see embedding_fields)."""
        answer = read_object(status, headers, body, candidate, now_s)
        given = answer.get("embeddings")
        # An object by type, as requested. Older answers have the list itself.
        where = "embeddings.float" if type(given) is dict else "embeddings"
        items = read_list(given.get("float") if type(given) is dict else given, where)
        vectors = [read_vector(item, f"{where}[{number}]") for number, item in enumerate(items)]
        return make_reply(vectors, inputs, candidate.model, _read_usage(answer.get("meta")))


def _read_usage(meta: Json) -> Usage | None:
    """The tokens that the model saw (`tokens`); if they are missing, the billed ones."""
    for name in ("tokens", "billed_units"):
        counts = meta.get(name) if type(meta) is dict else None
        usage = read_count(counts.get("input_tokens")) if type(counts) is dict else None
        if usage is not None:
            return usage
    return None
