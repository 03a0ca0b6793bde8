"""A request's record, whatever ends it, without a server."""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import get_args

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from pg_trio import errors
from pg_trio.domain.chat import ChatRequest, Message, Reply
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_row import AttemptRow, Attempts
from pg_trio.errors import (
    BadRequest,
    BudgetExhausted,
    ClientLeft,
    DeadlineExceeded,
    EndpointNotFound,
    GatewayError,
    InternalError,
    KeywordBlocked,
    MissingToken,
    OutOfResources,
    Overloaded,
    PiiBlocked,
    PromptLeaked,
    ProviderCallFailed,
    RateLimited,
    SessionExpired,
    ShuttingDown,
)
from pg_trio.racing.attempt import HEDGE_LOST
from pg_trio.recorder import OutcomeKind, Recorders, RequestOutcome
from pg_trio.recorder.outcome import CLIENT_LEFT, OK, kind_of
from tests.support.recorded import CANDIDATE, Ends, Facts, SilentCall

REQUEST = ChatRequest(messages=(Message("user", "mail me at a@example.org"),), body={})


async def test_answered_request_is_ok() -> None:
    ends = Ends()

    with Recorders([ends]).open(SilentCall()):
        pass

    assert [OK] == ends.outcomes


async def test_calls_are_told_the_clients_trace_where_none_begins() -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    call = SilentCall()
    call.head = evolve(call.head, origin=evolve(call.head.origin, traceparent=given))

    with Recorders([]).open(SilentCall()) as other, Recorders([]).open(call) as recorder:
        pass

    assert other.attempts.trace is None
    assert recorder.attempts.trace is not None
    assert given.encode() in recorder.attempts.trace.tell_call(CANDIDATE, 0.0)


async def test_failure_shows_its_tries() -> None:
    call = SilentCall()
    recorder = Recorders([]).open(call)
    recorder.attempts.add(CANDIDATE, 0.0, 1.0, "failed: 500")

    with pytest.raises(ShuttingDown), recorder:
        raise ShuttingDown

    assert recorder.attempts.rows == call.shown


async def test_failure_without_tries_shows_none() -> None:
    call = SilentCall()

    with pytest.raises(ShuttingDown), Recorders([]).open(call):
        raise ShuttingDown

    assert call.shown is None


async def test_bug_is_an_internal_error() -> None:
    ends = Ends()

    with pytest.raises(ZeroDivisionError), Recorders([ends]).open(SilentCall()):
        raise ZeroDivisionError

    assert [RequestOutcome(500, "error", "InternalError", InternalError.text)] == ends.outcomes


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (None, (CLIENT_LEFT, "client_left", "ClientLeft")),
        (ShuttingDown(), (ShuttingDown.status, "error", "ShuttingDown")),
    ],
)
async def test_cancelled_request_says_who_cut_it(
    cut: GatewayError | None, expected: tuple[int, OutcomeKind, str]
) -> None:
    ends = Ends()

    with trio.CancelScope() as scope, Recorders([ends]).open(SilentCall(cut)):
        scope.cancel()
        await trio.lowlevel.checkpoint()

    assert [expected] == [(outcome.status, outcome.kind, outcome.code) for outcome in ends.outcomes]


async def test_client_that_left_at_its_body_is_told_alike() -> None:
    ends = Ends()

    with pytest.raises(ClientLeft), Recorders([ends]).open(SilentCall()):
        raise ClientLeft

    assert ["client_left"] == [outcome.kind for outcome in ends.outcomes]


async def test_stages_are_timed_in_turn() -> None:
    with Recorders([]).open(SilentCall()) as recorder:
        recorder.stage_began("auth")
        recorder.stage_began("provider")
        so_far = recorder.times_so_far()
        recorder.stage_began("output_schema")

    assert ("auth", "provider") == so_far.stages
    assert ("auth", "provider", "output_schema") == recorder.times.stages
    assert all(0 <= took_ms < 1_000 for took_ms in recorder.times.durations_ms)


async def test_latency_counts_from_the_head(mock_clock: MockClock) -> None:
    with Recorders([]).open(SilentCall()) as recorder:
        mock_clock.jump(0.25)

    assert 250.0 == recorder.latency_ms


async def test_slug_of_the_body_is_what_was_asked_for() -> None:
    with Recorders([]).open(SilentCall(slug=None)) as recorder:
        recorder.slug_read("translate")

    assert "translate" == recorder.slug


async def test_masked_request_is_what_is_recorded() -> None:
    masked = evolve(REQUEST, messages=(Message("user", "mail me at [E-Mail REDACTED]"),))
    verdict = GuardrailVerdict("pii_filter", "email", "input", "mask")

    with Recorders([]).open(SilentCall()) as recorder:
        recorder.request_read(REQUEST)
        recorder.guardrail_decided(verdict)
        recorder.request_guarded(masked)

        assert masked is recorder.request

    assert (verdict,) == recorder.verdicts


async def test_untouched_request_has_none() -> None:
    with Recorders([]).open(SilentCall()) as recorder:
        recorder.request_read(REQUEST)
        recorder.request_guarded(REQUEST)

    assert ((), True) == (recorder.verdicts, recorder.is_guarded)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (KeywordBlocked("word", rule="word"), GuardrailVerdict("keyword_blocklist", "word", "input", "block")),
        (PiiBlocked("E-Mail", rule="email"), GuardrailVerdict("pii_filter", "email", "input", "block")),
        (PromptLeaked(phase="output", rule="prompt"), GuardrailVerdict("prompt_leak", "prompt", "output", "block")),
    ],
)
async def test_blocked_request_names_its_guardrail(error: GatewayError, verdict: GuardrailVerdict) -> None:
    ends = Ends()

    with pytest.raises(type(error)), Recorders([ends]).open(SilentCall()):
        raise error

    assert (verdict,) == ends.records[0].verdicts
    assert "refused_guardrail" == ends.outcomes[0].kind


async def test_kept_record_has_lost_its_texts() -> None:
    seen: list[object] = []

    class Texts(Ends):
        def ended(self, record: object, outcome: object) -> None:
            seen.extend([record.request, record.reply])  # type: ignore[attr-defined]

    with Recorders([Texts()]).open(SilentCall()) as recorder:
        recorder.request_read(REQUEST)
        recorder.reply_made(reply := Reply("1", "m", "Hello", "stop"))

    assert [REQUEST, reply] == seen
    assert (None, None, None) == (recorder.request, recorder.reply, recorder.failure)


@pytest.mark.parametrize("is_live", [False, True])
async def test_ended_recorder_is_no_garbage(is_live: bool) -> None:
    recorders = Recorders([])
    gc.disable()
    try:
        if is_live:
            with recorders.watch(Ends.__new__(_Deaf)), recorders.open(SilentCall()) as recorder:
                recorder.attempts.add(CANDIDATE, 0.0, 1.0, "won")
        else:
            with recorders.open(SilentCall()) as recorder:
                recorder.attempts.add(CANDIDATE, 0.0, 1.0, "won")
        left = weakref.ref(recorder)
        del recorder
        assert left() is None
    finally:
        gc.enable()


class _Deaf(Facts):
    """Keeps nothing of what it is told."""

    def began(self, record: object) -> None:
        """Keep nothing."""

    def noted(self, record: object, fact: object) -> None:
        """Keep nothing."""

    def ended(self, record: object, outcome: object) -> None:
        """Keep nothing."""


# ── classes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MissingToken, "refused_auth"),
        (EndpointNotFound, "refused_request"),
        (BadRequest, "refused_request"),
        (SessionExpired, "refused_request"),
        (RateLimited, "refused_rate"),
        (BudgetExhausted, "refused_budget"),
        (KeywordBlocked, "refused_guardrail"),
        (DeadlineExceeded, "deadline"),
        (ProviderCallFailed, "all_failed"),
        (Overloaded, "shed"),
        (OutOfResources, "shed"),
        (ShuttingDown, "error"),
        (InternalError, "error"),
    ],
)
def test_errors_have_classes(error: type[GatewayError], kind: OutcomeKind) -> None:
    assert kind == kind_of(error)


def test_every_error_of_a_caller_is_a_refusal() -> None:
    callers = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, errors.CallerError)]

    assert len(callers) > 20
    assert {kind for kind in get_args(OutcomeKind) if kind.startswith("refused_")} == set(map(kind_of, callers))


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("won", "won"),
        (f"cancelled: {HEDGE_LOST}", "lost"),
        ("cancelled: deadline", "cancelled"),
        ("cancelled", "cancelled"),
        ("failed: 500", "failed"),
        ("crashed: ValueError", "failed"),
        ("passed over: its breaker is open", "skipped"),
    ],
)
def test_attempts_have_kinds(outcome: str, kind: str) -> None:
    assert kind == AttemptRow("openai", "m", "main", 0.0, 1.0, outcome).kind


def test_row_says_whether_it_was_a_hedge() -> None:
    attempts = Attempts(0.0)

    attempts.add(CANDIDATE, 0.0, 1.0, "won", is_hedge=True)

    assert [True] == [row.is_hedge for row in attempts.rows]
