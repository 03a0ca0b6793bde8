"""The recorder of a request with live subscribers: it notes each fact, then passes it on."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import trio

from pg_trio.domain.call import Call
from pg_trio.domain.client_request import ClientReply, ClientRequest
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_row import AttemptRow, Attempts, Beginning
from pg_trio.domain.project import Caller, Candidate, Endpoint
from pg_trio.errors import GatewayError
from pg_trio.recorder.facts import (
    AttemptBegan,
    AttemptEnded,
    CallerFound,
    EndpointFound,
    Fact,
    FirstToken,
    GuardrailDecided,
    ReplyMade,
    RequestGuarded,
    RequestRead,
    RequestSettled,
    Settled,
    StageBegan,
    StagesEnded,
    StreamEnded,
    StreamFailed,
)
from pg_trio.recorder.record import RequestRecord
from pg_trio.recorder.recorder import EndTeller, Recorder


class FactTeller(EndTeller, Protocol):
    """Also passes facts to live subscribers."""

    def tell(self, record: RequestRecord, fact: Fact) -> None: ...


class LiveRecorder(Recorder):
    """A recorder whose subscribers get each fact. It is its own class so that other requests need no check per fact."""

    _teller: FactTeller
    attempts: LiveAttempts

    def __init__(self, call: Call, teller: FactTeller) -> None:
        super().__init__(call, teller, LiveAttempts(call.head.head_at, self))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        # The two refer to each other. Without this, only the garbage collector could free them.
        self.attempts.recorder = None

    def tell(self, fact: Fact) -> None:
        """Pass on a fact that the record already holds."""
        self._teller.tell(self, fact)

    @property
    def now_ms(self) -> float:
        """Milliseconds since the request's head."""
        return self.to_ms(trio.current_time())

    def to_ms(self, at: float) -> float:
        """A time of Trio's clock as milliseconds since the request's head."""
        return int((at - self.head.head_at) * 1e6) / 1000

    def stage_began(self, stage: str) -> None:
        """See Recorder."""
        super().stage_began(stage)
        self.tell(StageBegan(self.now_ms, stage))

    def stages_ended(self) -> None:
        """See Recorder."""
        super().stages_ended()
        self.tell(StagesEnded(self.now_ms))

    def caller_found(self, caller: Caller) -> None:
        """See Recorder."""
        super().caller_found(caller)
        self.tell(CallerFound(self.now_ms, caller))

    def endpoint_found(self, endpoint: Endpoint) -> None:
        """See Recorder."""
        super().endpoint_found(endpoint)
        self.tell(EndpointFound(self.now_ms, endpoint))

    def request_read(self, request: ClientRequest) -> None:
        """See Recorder."""
        super().request_read(request)
        self.tell(RequestRead(self.now_ms, request.stream))

    def request_guarded(self, request: ClientRequest) -> None:
        """See Recorder."""
        super().request_guarded(request)
        self.tell(RequestGuarded(self.now_ms))

    def guardrail_decided(self, verdict: GuardrailVerdict) -> None:
        """See Recorder."""
        super().guardrail_decided(verdict)
        self.tell(GuardrailDecided(self.now_ms, verdict))

    def first_token(self) -> None:
        """See Recorder."""
        self.tell(FirstToken(self.now_ms))
        super().first_token()

    def request_settled(self, settled: Settled) -> None:
        """See Recorder."""
        super().request_settled(settled)
        self.tell(RequestSettled(self.now_ms, settled))

    def reply_made(self, reply: ClientReply) -> None:
        """See Recorder."""
        super().reply_made(reply)
        self.tell(ReplyMade(self.now_ms))

    def stream_failed(self, failure: GatewayError) -> None:
        """See Recorder."""
        super().stream_failed(failure)
        self.tell(StreamFailed(self.now_ms, failure))


class LiveAttempts(Attempts):
    """Attempts that emit a fact when they begin and when they end."""

    def __init__(self, head_at: float, recorder: LiveRecorder) -> None:
        super().__init__(head_at)
        # None once the request has ended: later notes are not passed on.
        self.recorder: LiveRecorder | None = recorder

    def begin(self, attempt: Beginning, started_at: float) -> None:
        """See Attempts."""
        recorder = self.recorder
        if recorder is not None:
            at_ms = recorder.to_ms(started_at)
            recorder.tell(AttemptBegan(at_ms, attempt.candidate, attempt.number, attempt.is_hedge))

    def add(  # see Attempts
        self,
        candidate: Candidate,
        started_at: float,
        ended_at: float,
        outcome: str,
        why: str = "",
        is_hedge: bool = False,
    ) -> None:
        """See Attempts."""
        super().add(candidate, started_at, ended_at, outcome, why, is_hedge)
        if self.recorder is not None:
            row = self.rows[-1]
            self.recorder.tell(AttemptEnded(row.ended_ms, row))

    def replace(self, place: int, row: AttemptRow) -> None:
        """See Attempts."""
        super().replace(place, row)
        if self.recorder is not None:
            self.recorder.tell(StreamEnded(row.ended_ms, row))
