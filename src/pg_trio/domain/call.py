"""One call of the gateway as its client makes it: the head, the body, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Protocol, Self
from uuid import UUID

from attrs import field

from pg_trio.domain.chat import ChatRequest, FinishReason, Prompt, Reply, Usage, estimate_tokens
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.embeddings import EmbeddingReply
from pg_trio.domain.events import Event
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow, Attempts
from pg_trio.domain.project import Access, Caller, Candidate, Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.value import value
from pg_trio.errors import GatewayError, NoFitCandidate, SessionNotAccessible

NO_FIELDS: Mapping[bytes, bytes] = MappingProxyType({})


@value(slots=True)
class RequestOrigin:
    """Where a request comes from, as far as that is known: for the log, metrics and traces alone.

    `surface` is the name of the surface that it came by, `client_address` where the client calls from,
    `client_request_id` the client's own `X-Request-Id`. `traceparent` and `tracestate` are these headers as they
    came, unread: see domain.trace_context.
    """

    surface: str = ""
    client_address: str | None = None
    client_request_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


UNKNOWN_ORIGIN = RequestOrigin()


class OwnDeadline(Protocol):
    """A request's deadline, as the wait for another request's answer uses it (stages.request_deadline)."""

    at: float

    def hand_over(self) -> int:
        """Cut nothing any more. Raises DeadlineExceeded if it has passed."""


class KeyedRequest(Protocol):
    """A request with an `Idempotency-Key`. Once its body is here, it is known whether it is the first."""

    @property
    def is_later(self) -> bool:
        """Whether an earlier request with the same key has its answer, or makes it."""

    async def join(self, deadline: OwnDeadline) -> int | None:
        """Send the answer of the earlier request to the client, as it comes; its status. None if the earlier request
        has failed: this one runs."""


@value(slots=True)
class RequestHead:
    """The head of a request that came by one of the gateway's surfaces.

    `project` and `slug` are path segments as they arrived, not decoded; `slug` is None where the body names the
    endpoint. `authorization`, `timeout_ms` and `read_timeout` hold every value of their header, not parsed;
    `content_type` is all of them, joined; so is `content_coding` (Content-Encoding). `head_at` is Trio's clock when the
    head was read: every deadline counts from it. `at` is the same moment in Unix seconds. `fields` has the further
    header fields that the surface asked for, by their names in lower case.
    `keyed` is None without an `Idempotency-Key`.
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
    keyed: KeyedRequest | None = field(default=None, repr=False, eq=False)


class ReadLimits(Protocol):
    """What bounds the reading of a body, beside its length."""

    @property
    def max_messages(self) -> int: ...

    @property
    def max_json_depth(self) -> int: ...


class SurfaceReader(Protocol):
    """What the pipeline asks of the surface that a call came by: see surfaces.contract."""

    @property
    def access(self) -> Access:
        """What its routes demand of a caller."""

    @property
    def tells_restarts(self) -> bool:
        """Whether its streams can say that the text sent so far is replaced (`Joined`)."""

    @property
    def always_streams(self) -> bool:
        """Whether a client that asks for a stream gets one of an endpoint that does not stream, too."""

    @property
    def only_counts(self) -> bool:
        """Whether its requests only ask for the number of their tokens. No provider is called for them."""

    @property
    def holds_reasoning(self) -> bool:
        """Whether its streams send reasoning only when the answer begins."""

    def check_head(self, head: RequestHead) -> None:
        """Return if a body under this head can be a request. Raises GatewayError."""

    def read(self, body: bytes, limits: ReadLimits, head: RequestHead) -> ClientRequest:
        """The request that the body states. Raises GatewayError."""

    def refuse_session(self, request: ChatRequest) -> GatewayError:
        """The error for a request that needs a session of an endpoint without sessions."""

    def refuse_lost_session(self, error: SessionNotAccessible) -> GatewayError:
        """The error for a request whose session is not there, or not the caller's."""

    def refuse_unfit(self, error: NoFitCandidate) -> GatewayError:
        """The error for a request that no candidate can take."""


class StreamClient(Protocol):
    """The client's end of a stream. The first bytes sent open it with status 200; later errors can only be sent in the
    stream."""

    def name_source(self, provider: str, model: str) -> None:
        """Name the provider and model of the following tokens: in the head, if it is not sent yet, and at the end."""

    def name_speaker(self, provider: str, model: str) -> None:
        """Name the provider and model of the following reasoning, before any token."""

    async def send_events(self, events: Sequence[Event]) -> bool:
        """Send events. Waits until the client's side has taken them; False if there was nothing to send."""

    async def send_keep_alive(self) -> None:
        """Send a comment that keeps the connection alive."""

    async def finish(self, finish_reason: FinishReason, usage: Usage) -> None:
        """End a complete answer."""

    async def finish_stopped(self, usage: Usage) -> None:
        """End an answer that a client has stopped: complete as far as it came."""

    async def fail(self, error: GatewayError) -> None:
        """End an answer that failed after its head."""


class Kept(Protocol):
    """Bytes in memory that count against a bound."""

    def give_back(self) -> None: ...


class SettledUsage(Protocol):
    """What a request is charged for."""

    @property
    def usage(self) -> Usage | None:
        """None if no candidate has won."""


class Progress(Protocol):
    """The state of a running request."""

    @property
    def caller(self) -> Caller | None:
        """None until it is known."""

    @property
    def attempts(self) -> Attempts: ...

    @property
    def settled(self) -> SettledUsage | None:
        """None until the request is settled."""

    @property
    def verdicts(self) -> Sequence[GuardrailVerdict]:
        """What guardrails have decided so far."""

    @property
    def tells_verdicts(self) -> bool:
        """Whether the caller may know more of them than the header tells."""

    def times_so_far(self) -> StageTimes:
        """Each stage's time until now; the running stage is the last."""


class Call(Protocol):
    """A request whose body may still be incomplete."""

    @property
    def head(self) -> RequestHead: ...

    @property
    def surface(self) -> SurfaceReader: ...

    @property
    def has_waited(self) -> bool:
        """Whether it has waited for admission since `head.head_at`: the server kept it at its door."""

    @property
    def has_body(self) -> bool:
        """Whether the whole body is here: then `receive_body` does not wait."""

    @property
    def declared_bytes(self) -> int | None:
        """The body's length as the client declares it; None if it is chunked."""

    def hold(self, kept: Kept) -> None:
        """Give this back once the call is answered."""

    async def receive_body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises BodyTooLarge as soon as its length is known to be over the limit."""

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """Show these limits' remaining quota in every later answer."""

    def show_tries(self, attempts: Sequence[AttemptRow], times: StageTimes) -> None:
        """Show these tries and times in a failure that is answered later."""

    def why_cut(self) -> GatewayError | None:
        """Why the server cut the request short; None if the client left."""

    def stop_with(self, stop: Callable[[], bool]) -> None:
        """From now on a client that stops the answer does so with this; it is False if its end is being written."""

    def open_stream(
        self, request: ChatRequest, endpoint: Endpoint, progress: Progress, session_id: UUID | None
    ) -> StreamClient:
        """The client's end for a streamed answer; nothing is sent yet. Its end says what `progress` knows."""


@value(slots=True)
class Answered:
    """The winning reply, and its candidate."""

    reply: Reply
    candidate: Candidate


@value(slots=True)
class WholeAnswer:
    """What the client gets on success, where it is not streamed. `times` is what each stage took; `at` is when the
    request's head was read, in Unix seconds.

    `session_id` is the session that stores the turn, None without one.
    """

    reply: Reply
    usage: Usage
    request_id: UUID
    provider: str
    attempts: Sequence[AttemptRow]
    times: StageTimes
    request: ChatRequest
    at: float = 0.0
    session_id: UUID | None = None
    # What guardrails decided; and whether the caller may know more of it than the header tells.
    verdicts: Sequence[GuardrailVerdict] = ()
    tells_verdicts: bool = False

    @classmethod
    def of_count(cls, prompt: Prompt, head: RequestHead, times: StageTimes, request: ChatRequest) -> Self:
        """An empty answer of no provider, whose usage is the estimate of the prompt's tokens."""
        return cls(
            reply=Reply("", "", None, "stop"),
            usage=Usage(estimate_tokens(prompt.characters()), 0, estimated=True),
            request_id=head.request_id,
            provider="",
            attempts=(),
            times=times,
            request=request,
            at=head.at,
        )


@value(slots=True)
class EmbeddingAnswer:
    """What the client gets for a request for embeddings. `body` is written already, as JSON; `reply` is without its
    vectors, which are in the body."""

    body: bytes = field(repr=False)
    reply: EmbeddingReply
    request_id: UUID
    provider: str
    attempts: Sequence[AttemptRow]
    times: StageTimes
    verdicts: Sequence[GuardrailVerdict] = ()

    session_id: ClassVar[UUID | None] = None
