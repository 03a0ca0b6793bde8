"""One call to a service: its time limit, its places, its pause, and what is left after a cancellation."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.domain.guardrails import GuardrailVerdict, Webhook
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import (
    GuardrailFailed,
    OutOfResources,
    UpstreamBroken,
    UpstreamNonsense,
    UpstreamUnreachable,
    WebhookBlocked,
)
from pg_trio.racing.large_work import LargeWork
from pg_trio.racing.pauses import Pauses
from pg_trio.stages.guardrails.remote import remote_call
from pg_trio.stages.guardrails.remote.remote_call import (
    DEADLINE_GRACE_S,
    FAILURES_IN_ROW,
    PAUSE_S,
    RemoteCaller,
    ServiceGuard,
)
from pg_trio.stages.guardrails.remote.webhook import WebhookWire
from pg_trio.stages.guardrails.remote_guard import RemoteCheck, RemoteVerdict

RULE = Webhook(url="http://guard.test/check?code=1", timeout_ms=2_000)
ASKED = RemoteCheck("input", ["one"], "6f1c", "summarize", UUID(int=7), 60.0)
FLAGGED = RemoteVerdict((GuardrailVerdict("webhook", "unavailable", "input", "flag"),))


@define(eq=False)
class FakeAnswer:
    """An answer whose body comes in these pieces, each after so many seconds; an exception is raised."""

    transport: FakeService
    status: int = 200
    pieces: list[bytes | Exception] = field(factory=lambda: [b'{"action": "allow"}'])
    each_after_s: float = 0.0
    headers: Mapping[str, str] = field(factory=dict)

    def forget_headers(self) -> None:
        """Nothing: see UpstreamResponse."""

    def receive_nowait(self) -> None:
        return None

    async def receive_some(self) -> bytes:
        await trio.sleep(self.each_after_s)
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.transport.open_answers -= 1


@define(eq=False)
class FakeService:
    """A transport with one service behind it."""

    make: Callable[[FakeService], FakeAnswer] = FakeAnswer
    head_after_s: float = 0.0
    fails: Exception | None = None
    requests: list[WireRequest] = field(factory=list)
    cancelled_at: list[float] = field(factory=list)
    open_answers: int = 0

    async def open_response(self, request: WireRequest) -> FakeAnswer:
        self.requests.append(request)
        try:
            await trio.sleep(self.head_after_s)
        except trio.Cancelled:
            self.cancelled_at.append(trio.current_time())
            raise
        if self.fails is not None:
            raise self.fails
        self.open_answers += 1
        return self.make(self)

    async def aclose(self) -> None:
        """Nothing to close."""


def answer(said: Any, **settings: Any) -> Callable[[FakeService], FakeAnswer]:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return lambda transport: FakeAnswer(transport, pieces=[body], **settings)


def guard(service: FakeService, *, flags: bool = False, pauses: Pauses | None = None, **settings: Any) -> ServiceGuard:
    caller = RemoteCaller({"direct": service}, LargeWork(), pauses or Pauses())
    return ServiceGuard(WebhookWire.of(evolve(RULE, **settings)), caller, flags)


async def fail(made: ServiceGuard, asked: RemoteCheck = ASKED) -> GuardrailFailed:
    with pytest.raises(GuardrailFailed) as failed:
        await made.check(asked)
    return failed.value


async def test_verdict_is_the_service_s(autojump_clock: MockClock) -> None:
    service = FakeService(answer({"action": "replace", "texts": ["two"]}))

    verdict = await guard(service).check(ASKED)

    assert (["two"], 0) == (verdict.texts, service.open_answers)


async def test_nothing_is_asked_without_texts() -> None:
    service = FakeService()

    assert RemoteVerdict() == await guard(service).check(evolve(ASKED, texts=[]))

    assert [] == service.requests


# ── the time limit ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("head_after_s", [0.0, 1.5, 9.0])
async def test_check_ends_within_its_limit(autojump_clock: MockClock, head_after_s: float) -> None:
    drip = lambda transport: FakeAnswer(transport, pieces=[b" "] * 100, each_after_s=0.1)  # noqa: E731
    service = FakeService(drip, head_after_s)

    error = await fail(guard(service))

    assert (2.0, "webhook", "input") == (trio.current_time(), error.guardrail, error.phase)
    assert 0 == service.open_answers


async def test_request_s_deadline_comes_first(autojump_clock: MockClock) -> None:
    with trio.move_on_at(0.5) as deadline:
        await guard(FakeService(head_after_s=9)).check(evolve(ASKED, ends_at=0.5))

    assert deadline.cancelled_caught


async def test_check_ends_with_the_request_in_any_case(autojump_clock: MockClock) -> None:
    await fail(guard(FakeService(head_after_s=9)), evolve(ASKED, ends_at=0.5))

    assert 0.5 + DEADLINE_GRACE_S == trio.current_time()


@pytest.mark.parametrize("at_s", [0.5, 1.5])
async def test_cancelled_check_leaves_nothing(autojump_clock: MockClock, at_s: float) -> None:
    service = FakeService(answer({"action": "allow"}, each_after_s=1.5), head_after_s=1.0)
    made = guard(service, timeout_ms=10_000)

    with trio.move_on_after(at_s):
        await made.check(ASKED)

    assert at_s == trio.current_time()
    assert 0 == service.open_answers
    assert ([0.5] if at_s == 0.5 else []) == service.cancelled_at
    # Its place is free, and the service is not blamed.
    for _ in range(FAILURES_IN_ROW):
        with trio.move_on_after(at_s):
            await made.check(ASKED)
    assert RemoteVerdict() == await made.check(ASKED)


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────

FAILURES: dict[str, FakeService] = {
    "unreachable": FakeService(fails=UpstreamUnreachable("no connection")),
    "broken": FakeService(fails=UpstreamBroken("ended")),
    "no file descriptors": FakeService(fails=OutOfResources()),
    "broken body": FakeService(lambda transport: FakeAnswer(transport, pieces=[b"{", UpstreamBroken("ended")])),
    "over the transport's limit": FakeService(lambda t: FakeAnswer(t, pieces=[UpstreamNonsense("too long")])),
    "over its own limit": FakeService(answer(b" " * 100_000)),
    "created": FakeService(answer({"action": "allow"}, status=201)),
    "redirect": FakeService(answer({"action": "allow"}, status=302)),
    "not JSON": FakeService(answer(b"allow")),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failure_closes(autojump_clock: MockClock, name: str) -> None:
    await fail(guard(FAILURES[name]))

    assert 0 == FAILURES[name].open_answers


@pytest.mark.parametrize("name", FAILURES)
async def test_failure_opens_and_says_so(autojump_clock: MockClock, name: str) -> None:
    verdict = await guard(FAILURES[name], on_failure="open").check(ASKED)

    assert FLAGGED == verdict


# ── the pause ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_dead_service_is_paused_and_tried_again(autojump_clock: MockClock) -> None:
    service = FakeService(head_after_s=9)
    made = guard(service)
    for _ in range(FAILURES_IN_ROW + 3):
        await fail(made)
    asked, paused_at = len(service.requests), trio.current_time()
    assert (FAILURES_IN_ROW, 2.0 * FAILURES_IN_ROW) == (asked, paused_at)

    await trio.sleep(PAUSE_S)
    service.head_after_s = 0.5
    async with trio.open_nursery() as nursery:
        # One call tries it; the others wait for no answer.
        nursery.start_soon(made.check, ASKED)
        await wait_all_tasks_blocked()
        await fail(made)
    assert FAILURES_IN_ROW + 1 == len(service.requests)
    assert RemoteVerdict() == await made.check(ASKED)


async def test_dead_service_stays_paused(autojump_clock: MockClock) -> None:
    service = FakeService(head_after_s=9)
    made = guard(service)
    for _ in range(FAILURES_IN_ROW):
        await fail(made)
    for _ in range(3):
        await trio.sleep(PAUSE_S)
        for _ in range(10):
            await fail(made)

    assert FAILURES_IN_ROW + 3 == len(service.requests)


async def test_pause_of_this_process_blames_no_service(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    service, pauses = FakeService(answer({"action": "allow"}), head_after_s=1.0), Pauses()
    made = guard(service, pauses=pauses)
    nursery.start_soon(pauses.run)
    async with trio.open_nursery() as checks:
        for _ in range(FAILURES_IN_ROW):
            checks.start_soon(fail, made)
        await wait_all_tasks_blocked()
        mock_clock.jump(9.0)
    assert FAILURES_IN_ROW == len(service.requests)

    service.head_after_s = 0.0
    mock_clock.autojump_threshold = 0

    assert RemoteVerdict() == await made.check(ASKED)


async def test_wrong_answers_pause_nothing(autojump_clock: MockClock) -> None:
    service = FakeService(answer(b"no"))
    made = guard(service)
    for _ in range(FAILURES_IN_ROW * 3):
        await fail(made)

    assert FAILURES_IN_ROW * 3 == len(service.requests)


async def test_rule_that_fails_open_always_asks(autojump_clock: MockClock) -> None:
    service = FakeService(head_after_s=9)
    made = guard(service, on_failure="open")
    for _ in range(FAILURES_IN_ROW * 3):
        assert FLAGGED == await made.check(ASKED)

    assert FAILURES_IN_ROW * 3 == len(service.requests)


async def test_request_s_own_end_blames_no_service(autojump_clock: MockClock) -> None:
    service = FakeService(head_after_s=9)
    made = guard(service)
    for _ in range(FAILURES_IN_ROW * 3):
        await fail(made, evolve(ASKED, ends_at=trio.current_time() + 0.1))

    assert FAILURES_IN_ROW * 3 == len(service.requests)


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_calls_of_one_service_are_bounded(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_call, "MOST_CALLS", 2)
    service = FakeService(answer({"action": "allow"}), head_after_s=0.8)
    made = guard(service)
    ended: list[tuple[int, float]] = []

    async def check(number: int) -> None:
        try:
            await made.check(ASKED)
        except GuardrailFailed:
            number = -number
        ended.append((number, trio.current_time()))

    async with trio.open_nursery() as nursery:
        for number in range(1, 7):
            nursery.start_soon(check, number)

    # The last two wait in vain: their time was over before they had a place for long enough.
    assert [0.8, 0.8, 1.6, 1.6, 2.0, 2.0] == [at for _, at in ended]
    assert 2 == sum(number < 0 for number, _ in ended)


# ── modes, and the log ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_flag_lets_pass_what_is_refused(autojump_clock: MockClock) -> None:
    service = FakeService(answer({"action": "block", "reason": "no"}))

    verdict = await guard(service, flags=True).check(evolve(ASKED, phase="output"))

    assert RemoteVerdict((GuardrailVerdict("webhook", "block", "output", "flag"),)) == verdict


async def test_flag_replaces_nothing(autojump_clock: MockClock) -> None:
    service = FakeService(answer({"action": "replace", "texts": ["two"]}))

    verdict = await guard(service, flags=True).check(evolve(ASKED, phase="output"))

    assert RemoteVerdict((GuardrailVerdict("webhook", "replace", "output", "flag"),)) == verdict


async def test_log_tells_the_change_alone(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    service = FakeService(answer(b"one", status=500))
    made = guard(service)
    with caplog.at_level(logging.INFO):
        await fail(made)
        await fail(made)
        service.make = answer({"action": "block"})
        for _ in range(2):
            with pytest.raises(WebhookBlocked):
                await made.check(ASKED)

    assert [
        "guardrail service guard.test fails: HTTP 500",
        "guardrail service guard.test answers again",
    ] == caplog.messages
