"""A check beside a call: who waits, who is cancelled, and what is left at each step."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.errors import ProviderCallFailed, WebhookBlocked
from pg_trio.stages.guardrails.remote.beside import REFUSED, HeldCall, hold_beside

BLOCKED = WebhookBlocked("no")
FAILED = ProviderCallFailed("down")


class Bug(Exception):
    """What nobody expects."""


def after(seconds: float, result: object = "answer") -> Callable[[], Awaitable[Any]]:
    """Ends after so many seconds: with the result, or with the error."""

    async def run() -> Any:
        await trio.sleep(seconds)
        if isinstance(result, Exception):
            raise result
        return result

    return run


@pytest.mark.parametrize(("check_s", "call_s"), [(1, 2), (2, 1), (1, 1)])
async def test_result_comes_when_both_have_ended(autojump_clock: MockClock, check_s: float, call_s: float) -> None:
    held = await hold_beside(after(check_s, None), after(call_s))

    assert (("answer", None), max(check_s, call_s)) == (held.take(), trio.current_time())


@pytest.mark.parametrize(("call_s", "result"), [(1, "answer"), (3, None)])
async def test_refusal_ends_both(autojump_clock: MockClock, call_s: float, result: str | None) -> None:
    held = await hold_beside(after(2, BLOCKED), after(call_s))

    assert (result, BLOCKED, 2) == (held.result, held.refused, trio.current_time())


async def test_refused_call_without_result_raises() -> None:
    with pytest.raises(WebhookBlocked):
        HeldCall[str](None, BLOCKED).take()


async def test_call_is_cancelled_with_the_reason(autojump_clock: MockClock) -> None:
    reasons: list[str | None] = []

    async def call() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            reasons.append(cancelled.reason)
            raise

    await hold_beside(after(1, BLOCKED), call)

    assert [REFUSED] == reasons


@pytest.mark.parametrize(("check_s", "call_s"), [(1, 2), (2, 1), (1, 1)])
async def test_failure_waits_for_the_verdict(autojump_clock: MockClock, check_s: float, call_s: float) -> None:
    with pytest.raises(ProviderCallFailed):
        await hold_beside(after(check_s, None), after(call_s, FAILED))

    assert max(check_s, call_s) == trio.current_time()


async def test_refusal_comes_before_a_failure(autojump_clock: MockClock) -> None:
    held = await hold_beside(after(2, BLOCKED), after(1, FAILED))

    assert (BLOCKED, 2) == (held.refused, trio.current_time())


@pytest.mark.parametrize("at_s", [0.5, 1.5])
@pytest.mark.parametrize(("check_s", "call_s"), list(itertools.permutations((1, 2))))
async def test_cancellation_ends_both(autojump_clock: MockClock, at_s: float, check_s: float, call_s: float) -> None:
    with trio.move_on_after(at_s) as scope:
        await hold_beside(after(check_s, None), after(call_s))

    assert scope.cancelled_caught
    assert at_s == trio.current_time()
    await wait_all_tasks_blocked()


async def test_bug_in_a_check_lets_nothing_pass(autojump_clock: MockClock) -> None:
    held = await hold_beside(after(1, Bug()), after(2))

    with pytest.raises(Bug):
        held.take()


async def test_bug_in_a_call_is_raised_alone(autojump_clock: MockClock) -> None:
    with pytest.raises(Bug):
        await hold_beside(after(1, None), after(2, Bug()))


async def test_checks_that_do_not_wait_are_seen(autojump_clock: MockClock) -> None:
    async def check() -> None:
        raise BLOCKED

    async def call() -> str:
        return "answer"

    held = await hold_beside(check, call)

    assert ("answer", BLOCKED) == (held.result, held.refused)


TIMES = st.sampled_from([0.0, 1.0, 2.0, 3.0])
CHECKS = st.sampled_from([None, BLOCKED, Bug()])
CALLS = st.sampled_from(["answer", FAILED, Bug()])


@given(check_s=TIMES, call_s=TIMES, refusal=CHECKS, result=CALLS, cancel_s=st.sampled_from([0.5, 1.5, 2.5, 9.0]))
def test_any_schedule_keeps_the_rules(
    check_s: float, call_s: float, refusal: Exception | None, result: object, cancel_s: float
) -> None:
    running: set[str] = set()

    def noted(name: str, work: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        async def run() -> Any:
            running.add(name)
            try:
                return await work()
            finally:
                running.discard(name)

        return run

    async def main() -> tuple[object, float, bool]:
        held: object = None
        with trio.move_on_after(cancel_s) as scope:
            try:
                held = await hold_beside(noted("check", after(check_s, refusal)), noted("call", after(call_s, result)))
            except Exception as error:  # noqa: BLE001  compared below
                held = error
        return held, trio.current_time(), scope.cancelled_caught

    held, ended_at, was_cancelled = trio.run(main, clock=MockClock(autojump_threshold=0))

    assert set() == running
    ends_at = check_s if refusal is not None else max(check_s, call_s)
    if was_cancelled:
        assert (cancel_s, True) == (ended_at, cancel_s < ends_at)
        return
    assert ends_at == ended_at
    if refusal is not None:
        assert isinstance(held, HeldCall)
        assert refusal is held.refused
        assert held.result in (None, "answer")
        assert (call_s > check_s) <= (held.result is None)
    elif result == "answer":
        assert isinstance(held, HeldCall)
        assert ("answer", None) == held.take()
    else:
        assert result is held
