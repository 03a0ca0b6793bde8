"""OpenAI's Embeddings. One object serves all of its requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NoReturn

from pg_trio.domain.call import EmbeddingAnswer, RequestHead
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.embeddings import UNFIT_FOR_EMBEDDINGS, UNFIT_FOR_TOKENS
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import Endpoint
from pg_trio.errors import (
    UNFIT_SHOWN,
    BadRequest,
    EmbeddingsUnsupported,
    GatewayError,
    NoFitCandidate,
    ParameterUnsupported,
)
from pg_trio.surfaces.http_answer import HttpAnswer, make_answer
from pg_trio.surfaces.v1.embeddings.embedding_request import read_embedding_request
from pg_trio.surfaces.v1.model_limits import openai_lines
from pg_trio.surfaces.v1.openai_errors import render_openai_error
from pg_trio.surfaces.v1.routes import V1Surface


class EmbeddingsSurface(V1Surface):
    """See surfaces.contract.Surface."""

    name: ClassVar[str] = "openai_embeddings"
    path: ClassVar[bytes] = b"embeddings"
    # Vectors do not belong to a session.
    head_fields: ClassVar[Sequence[bytes]] = ()

    read = staticmethod(read_embedding_request)
    render_error = staticmethod(render_openai_error)

    def refuse_unfit(self, error: NoFitCandidate) -> GatewayError:
        """A 400 that names what no candidate with embeddings takes; without such a candidate, the provider."""
        others = [(what, whom) for what, whom in error.reasons if what not in (UNFIT_FOR_EMBEDDINGS, UNFIT_FOR_TOKENS)]
        if others:
            return ParameterUnsupported(others)
        without = [whom for what, whom in error.reasons if what == UNFIT_FOR_TOKENS]
        if without:
            return BadRequest(f"input: must be text: tokens are not supported by {', '.join(without[:UNFIT_SHOWN])}.")
        return EmbeddingsUnsupported(error.reasons[0][1].partition("/")[0])

    def render_answer(self, answer: EmbeddingAnswer, limits: Sequence[LimitState]) -> HttpAnswer:
        """OpenAI's list of embeddings, whose body is written already."""
        return make_answer(answer, str(answer.request_id), openai_lines(answer.times, limits), answer.body)

    def open_stream(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> NoReturn:
        """Never called: no request for embeddings asks for a stream."""
        raise AssertionError("embeddings are not streamed")


EMBEDDINGS = EmbeddingsSurface()
