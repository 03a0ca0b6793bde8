"""One row for each request, also after a failure, and the time of each stage."""

from __future__ import annotations

import json
from operator import sub
from time import perf_counter, time
from types import TracebackType
from typing import Protocol
from uuid import uuid4

import orjson
import trio
from attrs import evolve

from pg_trio.domain.call import Call
from pg_trio.domain.chat import ChatRequest, JsonObject, Reply, Usage
from pg_trio.domain.log_body import BodyBudget
from pg_trio.domain.log_row import Attempts, LogRow
from pg_trio.domain.project import Caller, Candidate, Endpoint
from pg_trio.domain.secret import mask_client_text
from pg_trio.domain.stage_times import NO_TIMES, StageTimes
from pg_trio.errors import ClientLeft, GatewayError, InternalError, Overloaded

# nginx's status for a client that closed the connection before it was answered.
CLIENT_LEFT = 499


class LogSink(Protocol):
    """Where rows go. `record` never waits; False means that the row was dropped (and counted)."""

    def record(self, row: LogRow) -> bool: ...


class LogEntry:
    """What is known of one request so far: `with LogEntry(…) as entry:` writes its row on the way out.

    The stages' results are noted here as they come, so that a request that fails leaves what it got to.
    """

    # Attributes of the class until they are noted: many entries end before that.
    caller: Caller | None = None
    endpoint: Endpoint | None = None
    winner: Candidate | None = None
    model: str | None = None
    usage: Usage | None = None
    cost_nano_usd: int | None = None
    times = NO_TIMES
    # What bodies are made of.
    request: ChatRequest | None = None
    guarded: ChatRequest | None = None
    reply: Reply | None = None
    # What broke a stream after its first byte: the client got a 200, the row says what became of it.
    failure: GatewayError | None = None

    def __init__(self, sink: LogSink, call: Call, body_chars: int) -> None:
        head = call.head
        self._sink = sink
        self._body_chars = body_chars
        self._call = call
        # When each stage began, in turn.
        self._began_ms: dict[str, float] = {}
        self.attempts = Attempts(head.head_at)
        # What was asked for, as the client wrote it.
        self.slug = head.slug

    def begin(self, stage: str) -> None:
        """The stage of that name begins, for the only time; the one before it, if any, has ended."""
        self._began_ms[stage] = perf_counter() * 1e3

    def end(self) -> None:
        """The last stage has ended: `times` says from here on what each took."""
        self.times = self.times_so_far()
        self._began_ms = {}

    def times_so_far(self) -> StageTimes:
        """What each stage took until now; the one that runs is the last."""
        began_ms = self._began_ms.values()
        ended_ms = [*began_ms, perf_counter() * 1e3]
        return StageTimes(tuple(self._began_ms), tuple(map(sub, ended_ms[1:], began_ms)))

    def won(self, candidate: Candidate, model: str, usage: Usage, cost_nano_usd: int | None) -> None:
        """A candidate answered, and this is what it cost."""
        self.winner = candidate
        self.model = model
        self.usage = usage
        self.cost_nano_usd = cost_nano_usd

    def __enter__(self) -> LogEntry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._began_ms:
            self.end()
        error = error or self.failure
        row = self._row(200, None, None) if error is None else self._row(*self._describe(error))
        endpoint = self.endpoint
        if endpoint is not None and endpoint.log_bodies != "none":
            row = self._with_bodies(row, shows_texts=endpoint.log_bodies == "full")
        self._sink.record(row)

    def _describe(self, error: BaseException) -> tuple[int, str, str]:
        """The status, code and text of a failure, after the call was shown what it may say of it."""
        if _is_cancelled(error):
            error = self._call.why_cut() or ClientLeft()
        if isinstance(error, GatewayError):
            if self.attempts.rows:
                self._call.show_tries(self.attempts.rows, self.times)
            return error.status, error.code, error.text
        if isinstance(error, ClientLeft):
            return CLIENT_LEFT, "ClientLeft", "The client closed the connection."
        return InternalError.status, InternalError.__name__, InternalError.text

    def _with_bodies(self, row: LogRow, *, shows_texts: bool) -> LogRow:
        request = self.guarded or self.request
        if request is not None:
            # What no guardrail has seen yet, or one refused, is never shown.
            budget = BodyBudget(self._body_chars, shows_texts and self.guarded is not None)
            row = evolve(row, request_body=_to_json(budget.describe_request(request)))
        if self.reply is not None:
            budget = BodyBudget(self._body_chars, shows_texts)
            row = evolve(row, response_body=_to_json(budget.describe_reply(self.reply)))
        return row

    def _row(self, status: int, code: str | None, text: str | None) -> LogRow:
        head, caller, endpoint, winner, usage = self._call.head, self.caller, self.endpoint, self.winner, self.usage
        # By position: by name it takes three times as long.
        return LogRow(
            head.request_id,
            head.at,
            status,
            int((trio.current_time() - head.head_at) * 1e6) / 1000,  # latency_ms
            caller.project.uuid if caller else None,
            endpoint.uuid if endpoint else None,
            endpoint.slug if endpoint else self.slug and mask_client_text(self.slug),
            caller.token.id if caller else None,
            winner.provider if winner else None,
            self.model,
            code,
            text,
            usage.prompt_tokens if usage else None,
            usage.completion_tokens if usage else None,
            self.cost_nano_usd,
            self.times.as_json(),
            tuple(self.attempts.rows),
            head.client_request_id,
            head.client_address,
        )


def _is_cancelled(error: BaseException) -> bool:
    """Whether that is all there is: also as a group, where a stream's two tasks were cancelled together."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


def _to_json(body: JsonObject) -> str:
    try:
        return orjson.dumps(body).decode()
    except orjson.JSONEncodeError:  # half a surrogate pair: `json` writes it as an escape
        return json.dumps(body)


class Log:
    """Opens an entry for each request. `body_chars`: what is kept of each body, where an endpoint keeps them."""

    def __init__(self, sink: LogSink, body_chars: int) -> None:
        self._sink = sink
        self._body_chars = body_chars

    def open(self, call: Call) -> LogEntry:
        """An entry for the call."""
        return LogEntry(self._sink, call, self._body_chars)

    def note_shed(self, count: int) -> None:
        """One row for so many requests that were turned away unread: who asked for what is not known."""
        row = LogRow(
            request_id=uuid4(),
            at=time(),
            status=Overloaded.status,
            latency_ms=0.0,
            error_code=Overloaded.__name__,
            error=f"{Overloaded.text} Requests turned away: {count}.",
        )
        self._sink.record(row)
