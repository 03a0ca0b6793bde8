"""One call of the gateway from the outside: what its head said, how its body is fetched, what it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

from attrs import field

from pg_trio.domain.chat import ChatRequest, FinishReason, Reply, Usage
from pg_trio.domain.events import Event
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow, Attempts
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.value import value
from pg_trio.errors import GatewayError

NO_FIELDS: Mapping[bytes, bytes] = MappingProxyType({})


@value(slots=True)
class RequestOrigin:
    """Where a request comes from, as far as that is known: for the log, metrics and traces alone.

    `surface` is the name of the surface that it came by, `client_address` where the client calls from,
    `client_request_id` the client's own `X-Request-Id`. `traceparent` is that header as it came, unread: see
    domain.trace_context.
    """

    surface: str = ""
    client_address: str | None = None
    client_request_id: str | None = None
    traceparent: str | None = None


UNKNOWN_ORIGIN = RequestOrigin()


@value(slots=True)
class RequestHead:
    """The head of a request that came by one of the gateway's surfaces.

    `project` and `slug` are path segments as they arrived, nothing decoded; `slug` is None where the body names the
    endpoint.
    `authorization`, `timeout_ms` and `read_timeout` hold every value of their header, unread; `content_type` is all of
    them, joined; so is `content_coding` (Content-Encoding).
    `head_at` is Trio's clock when the head was read: every deadline counts from it. `at` is the same moment in Unix
    seconds. `fields` has the further header fields that the surface asked for, by their names in lower case.
    """

    request_id: UUID
    project: str
    slug: str | None
    authorization: Sequence[str] = field(repr=False)
    content_type: str | None
    timeout_ms: Sequence[str]
    head_at: float
    at: float
    read_timeout: Sequence[str] = ()
    content_coding: str | None = None
    origin: RequestOrigin = UNKNOWN_ORIGIN
    fields: Mapping[bytes, bytes] = NO_FIELDS


class ReadLimits(Protocol):
    """What bounds the reading of a body, beside its length."""

    @property
    def max_messages(self) -> int: ...

    @property
    def max_json_depth(self) -> int: ...


class SurfaceReader(Protocol):
    """What the pipeline asks of the surface that a call came by: see surfaces.contract."""

    def check_head(self, head: RequestHead) -> None:
        """Return if a body under this head can be a request. Raises GatewayError."""

    def read(self, body: bytes, limits: ReadLimits, head: RequestHead) -> ChatRequest:
        """The request that the body states. Raises GatewayError."""


class StreamClient(Protocol):
    """The client's end of a stream; what is sent first opens it (status 200), and then there is no going back."""

    def name_source(self, provider: str, model: str) -> None:
        """Say whose tokens follow: in the head, if it is not out yet, and at the end."""

    async def send_events(self, events: Sequence[Event]) -> bool:
        """Pass events on. Waits until the client's side has taken them; False where there was nothing to send."""

    async def send_keep_alive(self) -> None:
        """Show that the stream lives."""

    async def finish(self, finish_reason: FinishReason, usage: Usage) -> None:
        """End a whole answer."""

    async def fail(self, error: GatewayError) -> None:
        """End one that broke after its head."""


class Kept(Protocol):
    """Bytes in memory that count against a bound."""

    def give_back(self) -> None: ...


class Progress(Protocol):
    """What is known of a request so far."""

    @property
    def attempts(self) -> Attempts: ...

    def times_so_far(self) -> StageTimes:
        """What each stage took until now; the one that runs is the last."""


class Call(Protocol):
    """A request whose body may still be on its way."""

    @property
    def head(self) -> RequestHead: ...

    @property
    def surface(self) -> SurfaceReader: ...

    @property
    def has_body(self) -> bool:
        """Whether the whole body is here: then `receive_body` does not wait."""

    @property
    def declared_bytes(self) -> int | None:
        """The body's length as the client declares it; None where it is chunked."""

    def hold(self, kept: Kept) -> None:
        """Give this back once the call is answered."""

    async def receive_body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises BodyTooLarge as soon as its length is known to be over the limit."""

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """Every answer from here on says what is left of these."""

    def show_tries(self, attempts: Sequence[AttemptRow], times: StageTimes) -> None:
        """A failure that is answered from here on says what was tried, and what took how long."""

    def why_cut(self) -> GatewayError | None:
        """Why the server cut the request short; None where the client left."""

    def open_stream(
        self, request: ChatRequest, endpoint: Endpoint, progress: Progress, session_id: UUID | None
    ) -> StreamClient:
        """The client's end for a streamed answer; nothing is sent yet. Its end says what `progress` knows."""


@value(slots=True)
class Answered:
    """A candidate's reply that won, and the candidate."""

    reply: Reply
    candidate: Candidate


@value(slots=True)
class WholeAnswer:
    """What the client gets on success, where it is not streamed. `times` is what each stage took.

    `session_id` is the session that it is part of now, None without one.
    """

    reply: Reply
    usage: Usage
    request_id: UUID
    provider: str
    attempts: Sequence[AttemptRow]
    times: StageTimes
    session_id: UUID | None = None
