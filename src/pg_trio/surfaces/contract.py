"""The contract of a surface. A surface is one dialect that clients speak to the gateway.

Rules:
1. A surface does no I/O and keeps nothing between calls, so that one object serves all of a worker's requests.
2. It reads a client's bytes into a `ClientRequest` and renders neutral values into bytes. It calls no stage.
3. `match` gets paths as they were sent, and only plain ones: ASCII, no encoded byte, no empty segment. Any other path
   matches no surface.
4. `check_head` runs before the body is received, `read` after it. Both raise GatewayError if they refuse the request.
5. A failure before a stream's first byte goes through `render_error`, one after it through `StreamWriter.fail`.

The field `x-request-id` and the standard fields of limits are the same on every surface: http_answer.py and
web/asgi_call.py add them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol
from uuid import UUID

from pg_trio.domain.call import ReadLimits, RequestHead
from pg_trio.domain.chat import ChatRequest, FinishReason, Usage
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.events import Event
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import CHAT_ACCESS, Access, Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.value import value
from pg_trio.errors import GatewayError, NoFitCandidate, SessionNotAccessible, SessionsNotEnabled
from pg_trio.surfaces.http_answer import HeaderList, HttpAnswer, Tries


@value(slots=True)
class MatchedRoute:
    """A request's project and slug, as the path has them. `slug` is None if the body names the endpoint."""

    project: str
    slug: str | None


@value(slots=True)
class StreamSummary:
    """What is known about a streamed answer at its end.

    `provider` and `model` are the candidate that sent the end of the answer. `provider` is None if no candidate has
    sent a token. `first_token_ms` counts from the request's head. `session_id` is None without a session. `cancelled`:
    a client stopped the answer.
    """

    request_id: UUID
    provider: str | None
    model: str
    attempts: int
    first_token_ms: float | None
    times: StageTimes
    session_id: UUID | None
    cancelled: bool = False
    # What guardrails decided, for callers that may know it; None for others.
    verdicts: Sequence[GuardrailVerdict] | None = None


class StreamWriter(Protocol):
    """Writes one streamed answer: events in, bytes out."""

    @property
    def headers(self) -> HeaderList:
        """The surface's own header fields, such as the content type."""

    @property
    def keep_alive(self) -> bytes:
        """Bytes that the client ignores and that show that the stream is alive."""

    def render(self, events: Sequence[Event]) -> bytes:
        """The bytes for these events; empty if the events have nothing for the client."""

    def finish(self, finish_reason: FinishReason, usage: Usage, summary: StreamSummary) -> bytes:
        """The end of a whole answer."""

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that broke after its head. A client must be able to tell it from a complete answer."""


class SurfaceDefaults:
    """What most surfaces are like. A surface may inherit it, and override what differs: see Surface."""

    head_fields: ClassVar[Sequence[bytes]] = ()
    access: ClassVar[Access] = CHAT_ACCESS
    takes_api_key: ClassVar[bool] = False
    tells_restarts: ClassVar[bool] = True
    always_streams: ClassVar[bool] = False
    only_counts: ClassVar[bool] = False
    holds_reasoning: ClassVar[bool] = False

    def refuse_session(self, request: ChatRequest) -> GatewayError:
        """The Gateway API's error."""
        return SessionsNotEnabled()

    def refuse_lost_session(self, error: SessionNotAccessible) -> GatewayError:
        """The error itself."""
        return error

    def refuse_unfit(self, error: NoFitCandidate) -> GatewayError:
        """The error itself."""
        return error

    def numbers_events(self, head: RequestHead) -> bool:
        """Always."""
        return True

    def stream_fields(self, request_id: UUID, limits: Sequence[LimitState], times: StageTimes) -> HeaderList:
        """None but those of all surfaces."""
        return []


class Surface(Protocol):
    """One dialect. `name` labels its requests, in lower case with underscores."""

    @property
    def name(self) -> str: ...

    @property
    def roots(self) -> Sequence[bytes]:
        """The first segments of its paths. `match` gets only requests under one of them."""

    @property
    def access(self) -> Access:
        """What its routes demand of a caller."""

    @property
    def takes_api_key(self) -> bool:
        """Whether a token may come as `x-api-key`, too."""

    @property
    def tells_restarts(self) -> bool:
        """Whether its streams can say that the text sent so far is replaced (`Joined`)."""

    @property
    def always_streams(self) -> bool:
        """Whether a client that asks for a stream gets one of an endpoint that does not stream, too."""

    @property
    def only_counts(self) -> bool:
        """Whether its requests only ask for the number of their tokens (`WholeAnswer.usage`). No provider is called."""

    @property
    def holds_reasoning(self) -> bool:
        """Whether its streams send reasoning only when the answer begins."""

    @property
    def head_fields(self) -> Sequence[bytes]:
        """Names (lower case) of the additional header fields that it reads from `RequestHead.fields`."""

    def match(self, method: str, path: bytes) -> MatchedRoute | None:
        """The project and slug of a request; None if the request is not for this surface."""

    def check_head(self, head: RequestHead) -> None:
        """Return if a body with this head can be a request. Raises GatewayError."""

    def read(self, body: bytes, limits: ReadLimits, head: RequestHead) -> ClientRequest:
        """The request that the body states. Raises GatewayError. May run in a thread, for a large body."""

    def refuse_session(self, request: ChatRequest) -> GatewayError:
        """The error for a request that needs a session of an endpoint without sessions."""

    def refuse_lost_session(self, error: SessionNotAccessible) -> GatewayError:
        """The error for a request whose session is not there, or not the caller's."""

    def refuse_unfit(self, error: NoFitCandidate) -> GatewayError:
        """The error for a request that no candidate can take."""

    def render_answer(self, answer: Any, limits: Sequence[LimitState]) -> HttpAnswer:
        """The whole answer of a request that succeeded: a WholeAnswer for a ChatRequest that the surface has read, an
        EmbeddingAnswer for an EmbeddingRequest."""

    def render_error(
        self, error: GatewayError, request_id: UUID, limits: Sequence[LimitState] = (), tries: Tries | None = None
    ) -> HttpAnswer:
        """The answer of a request that failed. `tries` lists the attempts, if any candidate was called."""

    def stream_fields(self, request_id: UUID, limits: Sequence[LimitState], times: StageTimes) -> HeaderList:
        """The dialect's own header fields of a stream's head, beside those of all surfaces."""

    def numbers_events(self, head: RequestHead) -> bool:
        """Whether the events of a resumable stream have `id:` lines."""

    def open_stream(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> StreamWriter:
        """A writer for a streamed answer to this request. It has sent nothing yet."""
