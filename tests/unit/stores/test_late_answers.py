"""A store of answers that is opened at its first use: once, again after a failure, and closed with the gateway."""

from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing
from attrs import define, field
from trio.testing import MockClock

from pg_trio.attachment.answer_store import AnswerStore
from pg_trio.stores.late_answers import OPEN_LIMIT_S, RETRY_AFTER_S, LateAnswers
from pg_trio.stores.store_protocols import Lifetime

STORE = cast(AnswerStore, object())


@define(eq=False)
class Engine:
    """Opens STORE, or fails as often as it is told; and what has become of it."""

    failures: int = 0
    opened: int = 0
    running: int = 0
    closed: int = 0
    slow: trio.Event | None = field(default=None)

    async def open(self, lifetime: Lifetime) -> AnswerStore | None:
        self.opened += 1
        if self.slow is not None:
            await self.slow.wait()
        if self.opened <= self.failures:
            return None
        lifetime.close_with(self.close)
        lifetime.run(self.run)
        return STORE

    async def run(self) -> None:
        self.running += 1
        try:
            await trio.sleep_forever()
        finally:
            self.running -= 1

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def late(engine: Engine, nursery: trio.Nursery) -> LateAnswers:
    answers = LateAnswers(engine.open)
    nursery.start_soon(answers.run)
    return answers


async def test_nothing_is_opened_before_it_is_wanted(
    engine: Engine, late: LateAnswers, autojump_clock: MockClock
) -> None:
    await trio.sleep(60)

    assert 0 == engine.opened


async def test_many_open_it_once(engine: Engine, late: LateAnswers, autojump_clock: MockClock) -> None:
    found: list[AnswerStore | None] = []

    async def open_it() -> None:
        found.append(await late.open())

    async with trio.open_nursery() as asking:
        for _ in range(5):
            asking.start_soon(open_it)

    assert [STORE] * 5 == found
    assert (1, 1, 0) == (engine.opened, engine.running, engine.closed)


async def test_failure_is_told_and_tried_again(engine: Engine, late: LateAnswers, autojump_clock: MockClock) -> None:
    engine.failures = 1

    at_once = [await late.open(), await late.open()]
    await trio.sleep(RETRY_AFTER_S * 1.5)
    later = await late.open()

    assert ([None, None], STORE) == (at_once, later)
    assert 2 == engine.opened


async def test_slow_engine_holds_requests_up_for_a_time(
    engine: Engine, late: LateAnswers, autojump_clock: MockClock
) -> None:
    engine.slow = trio.Event()
    began = trio.current_time()

    found = await late.open()
    took_s = trio.current_time() - began
    engine.slow.set()

    assert (None, OPEN_LIMIT_S) == (found, took_s)
    assert STORE is await late.open()


async def test_its_end_closes_it(engine: Engine, autojump_clock: MockClock) -> None:
    answers = LateAnswers(engine.open)
    async with trio.open_nursery() as running:
        running.start_soon(answers.run)
        await answers.open()
        await trio.testing.wait_all_tasks_blocked()
        running.cancel_scope.cancel()

    assert (0, 1) == (engine.running, engine.closed)
