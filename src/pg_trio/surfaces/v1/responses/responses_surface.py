"""The Responses API as a surface. One object serves all of its requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import (
    GatewayError,
    NoFitCandidate,
    ParameterUnsupported,
    PreviousResponseNotFound,
    QuoteNotFound,
    SessionNotAccessible,
)
from pg_trio.surfaces.http_answer import HeaderList, split_fields
from pg_trio.surfaces.v1.model_limits import processing_ms, render_openai_limits
from pg_trio.surfaces.v1.openai_errors import render_openai_error
from pg_trio.surfaces.v1.responses.response_answer import render_answer
from pg_trio.surfaces.v1.responses.response_request import read_response_request
from pg_trio.surfaces.v1.responses.response_stream import ResponseStream
from pg_trio.surfaces.v1.routes import RESUMABLE_FIELD, V1Surface

# The fields of this API that wires call otherwise.
_OWN_NAMES = {"response_format": "text.format", "logprobs": "include", "tool_calls": "input"}


class ResponsesSurface(V1Surface):
    """See surfaces.contract.Surface."""

    name: ClassVar[str] = "openai_responses"
    path: ClassVar[bytes] = b"responses"
    head_fields: ClassVar[Sequence[bytes]] = (RESUMABLE_FIELD,)

    read = staticmethod(read_response_request)
    render_answer = staticmethod(render_answer)
    render_error = staticmethod(render_openai_error)

    def refuse_session(self, request: ChatRequest) -> GatewayError:
        """What is wanted of a session that there cannot be: to continue a response, or to quote from one."""
        return super().refuse_session(request) if request.session_terms.resumes else QuoteNotFound()

    def refuse_lost_session(self, error: SessionNotAccessible) -> GatewayError:
        """A session that is not the caller's is a response that does not exist."""
        return PreviousResponseNotFound()

    def refuse_unfit(self, error: NoFitCandidate) -> GatewayError:
        """A 400 that names the parameter as this API calls it."""
        refused = super().refuse_unfit(error)
        if not isinstance(refused, ParameterUnsupported):
            return refused
        return ParameterUnsupported([(_OWN_NAMES.get(what, what), whom) for what, whom in refused.reasons])

    def stream_fields(self, request_id: UUID, limits: Sequence[LimitState], times: StageTimes) -> HeaderList:
        """`openai-processing-ms`, and OpenAI's fields for limits."""
        return split_fields(processing_ms(times) + render_openai_limits(limits))

    def open_stream(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> ResponseStream:
        """A writer of the response's events."""
        return ResponseStream(head, request, endpoint)


RESPONSES = ResponsesSurface()
