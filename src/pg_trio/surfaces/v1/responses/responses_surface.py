"""The Responses API as surfaces. One object of each serves all of its requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar
from uuid import UUID

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import (
    GatewayError,
    MethodNotAllowed,
    NoFitCandidate,
    ParameterUnsupported,
    ResponseNotFound,
)
from pg_trio.surfaces.contract import MatchedRoute
from pg_trio.surfaces.http_answer import HeaderList, split_fields
from pg_trio.surfaces.v1.chat.chat_answer import processing_ms
from pg_trio.surfaces.v1.model_limits import render_openai_limits
from pg_trio.surfaces.v1.responses.response_answer import render_answer, render_error
from pg_trio.surfaces.v1.responses.response_request import find_point, read_response_request
from pg_trio.surfaces.v1.responses.response_stream import ResponseStream
from pg_trio.surfaces.v1.routes import V1Surface, project_of

# The fields of this API that wires call otherwise.
_OWN_NAMES = {"response_format": "text.format", "logprobs": "include", "tool_calls": "input"}


class ResponsesSurface(V1Surface):
    """See surfaces.contract.Surface."""

    name: ClassVar[str] = "openai_responses"
    path: ClassVar[bytes] = b"responses"
    head_fields: ClassVar[Sequence[bytes]] = ()

    read = staticmethod(read_response_request)
    render_answer = staticmethod(render_answer)
    render_error = staticmethod(render_error)

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
        return ResponseStream(head, request, endpoint, find_point(request) if endpoint.sessions_enabled else None)


class OtherResponseRoutes(ResponsesSurface):
    """Routes of OpenAI's that the gateway does not have: their failures have OpenAI's shape, too, and need a token.

    `matches` says of a method and of what follows `responses` in the path whether it is one of these.
    """

    def __init__(self, matches: Callable[[str, bytes], bool], make_error: Callable[[], GatewayError]) -> None:
        self._matches = matches
        self._make_error = make_error

    def match(self, method: str, path: bytes) -> MatchedRoute | None:
        """See surfaces.contract.Surface."""
        if method not in _METHODS or (project := project_of(path)) is None:
            return None
        rest = path[8 + len(project) :]
        if not rest.startswith(self.path) or not self._matches(method, rest.removeprefix(self.path)):
            return None
        return MatchedRoute(project, None)

    def check_head(self, head: RequestHead) -> None:
        """Refuse every request."""
        raise self._make_error()


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})

RESPONSES = ResponsesSurface()
# `GET` and `DELETE /responses/{id}`, `…/input_items`, `…/cancel`: no response is kept in OpenAI's sense.
STORED_RESPONSES = OtherResponseRoutes(lambda method, rest: rest.startswith(b"/"), ResponseNotFound)
OTHER_METHODS = OtherResponseRoutes(
    lambda method, rest: not rest and method != "POST", lambda: MethodNotAllowed(["POST"])
)
