"""The recorder of one request. `with recorders.open(call) as recorder:` ends its record, even after an error."""

from __future__ import annotations

from time import perf_counter
from types import TracebackType
from typing import Protocol, Self

import trio
from attrs import evolve

from pg_trio.domain.call import Call
from pg_trio.domain.client_request import ClientReply, ClientRequest
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Caller, Endpoint
from pg_trio.errors import ClientLeft, GatewayError
from pg_trio.recorder.current import current_request
from pg_trio.recorder.facts import Settled
from pg_trio.recorder.outcome import OK, RequestOutcome, is_cancelled, outcome_of, verdict_of
from pg_trio.recorder.record import RequestRecord


class EndTeller(Protocol):
    """Calls subscribers when a request has ended."""

    def tell_end(self, record: RequestRecord, outcome: RequestOutcome) -> None: ...


class Recorder(RequestRecord):
    """Notes the facts of one request. No method waits or fails.

    `attempts` notes the facts of the provider calls. The race calls it directly.
    """

    def __init__(self, call: Call, teller: EndTeller, attempts: Attempts) -> None:
        self.head = head = call.head
        self.slug = head.slug
        self.attempts = attempts
        self._began_ms = {}
        self._call = call
        self._teller = teller
        current_request.set(head.request_id)

    def stage_began(self, stage: str) -> None:
        """The stage of that name begins, once per request. The previous stage has ended."""
        self._began_ms[stage] = perf_counter() * 1e3

    def stages_ended(self) -> None:
        """The last stage has ended. From here on, `times` holds the time of each stage."""
        self.times = self.times_so_far()
        self._began_ms = {}

    def caller_found(self, caller: Caller) -> None:
        """The token is known and may be used."""
        self.caller = caller

    def endpoint_found(self, endpoint: Endpoint) -> None:
        """The requested endpoint exists."""
        self.endpoint = endpoint

    def request_read(self, request: ClientRequest) -> None:
        """The body is a valid request. The guardrails have not seen it yet."""
        self.request = request

    def slug_read(self, slug: str) -> None:
        """The body names the endpoint, not the path."""
        self.slug = slug

    def request_guarded(self, request: ClientRequest) -> None:
        """Every guardrail let the request pass. `request` is the same object as before if no guardrail changed it."""
        self.request = request
        self.is_guarded = True

    def guardrail_decided(self, verdict: GuardrailVerdict) -> None:
        """A guardrail masked, blocked or flagged something. The same verdict again adds to its count."""
        for index, known in enumerate(self.verdicts):
            if evolve(known, count=verdict.count) == verdict:
                summed = evolve(known, count=known.count + verdict.count)
                self.verdicts = (*self.verdicts[:index], summed, *self.verdicts[index + 1 :])
                return
        self.verdicts += (verdict,)

    def first_token(self) -> None:
        """The first token of a stream has arrived. From here on the stage is `stream`."""
        self.stage_began("stream")

    def request_settled(self, settled: Settled) -> None:
        """The request's reservations are settled."""
        self.settled = settled

    def reply_made(self, reply: ClientReply) -> None:
        """The complete answer, or the part of a stream that the client received."""
        self.reply = reply

    def stream_failed(self, failure: GatewayError) -> None:
        """A stream broke after its first byte."""
        self.failure = failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._began_ms:
            self.stages_ended()
        error = error or self.failure
        outcome = OK if error is None else self._describe(error)
        ended_at = None if self.deadline is None else self.deadline.left_at
        self.latency_ms = int(((ended_at or trio.current_time()) - self.head.head_at) * 1e6) / 1000
        self._teller.tell_end(self, outcome)
        # Subscribers may keep the record for later, so it drops large values, and errors, which keep frames alive.
        self.request = self.reply = self.failure = None
        current_request.set(None)
        del self._call

    def _describe(self, error: BaseException) -> RequestOutcome:
        """The outcome of a failed request. The call is first given what its answer may say about the attempts."""
        if is_cancelled(error):
            error = self._call.why_cut() or ClientLeft()
        verdict = verdict_of(error)
        if verdict is not None:
            self.guardrail_decided(verdict)
        if isinstance(error, GatewayError) and self.attempts.rows:
            self._call.show_tries(self.attempts.rows, self.times)
        return outcome_of(error)
