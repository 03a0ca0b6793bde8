"""Thousands of races that are cancelled at any moment: afterwards nothing is left, and every attempt was told once."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from pg_trio.racing.attempt import AllFailed, Attempt, AttemptEnd, Limits, Outcome, Round, Won
from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BreakerBoard, Permit
from pg_trio.racing.hedge_budget import HedgeBudget, HedgeRules
from pg_trio.racing.race import race
from pg_trio.racing.slots import NoSlot, SlotRules, Slots
from tests.support.racing import FinalRefusal, Refusal

CANDIDATES = ["a", "b", "c"]


@define(eq=False)
class World:
    """What the races of a storm share, and what they opened and have not closed."""

    random: Random
    slots: Slots
    board: BreakerBoard[str]
    budget: HedgeBudget
    started: Counter[tuple[int, int]] = field(factory=Counter)
    ended: Counter[tuple[int, int]] = field(factory=Counter)
    open_values: int = 0
    running: int = 0
    handed_over: int = 0
    rounds: int = 0

    def tenths(self, most: int) -> float:
        """Whole tenths of a second: many things then happen in the same tick."""
        return self.random.randrange(most) / 10


@define(eq=False)
class StormRunner:
    """One race of the storm: attempts that answer, fail or are stuck, with slots, breakers and a hedge budget."""

    world: World
    number: int
    permits: dict[int, Permit] = field(factory=dict)
    expected: tuple[type[Exception], ...] = (Refusal, NoSlot)

    async def start(self, attempt: Attempt[str]) -> str:
        world = self.world
        world.started[self.number, attempt.number] += 1
        async with world.slots.hold(world.tenths(5)):
            self.permits[attempt.number] = world.board.begin(attempt.candidate, trio.current_time())
            world.running += 1
            try:
                await trio.sleep(world.tenths(20))
                if world.random.random() < 0.3:
                    raise Refusal("no")
                if world.random.random() < 0.02:
                    raise FinalRefusal("malformed")
            finally:
                world.running -= 1
            world.open_values += 1
            return attempt.candidate

    async def discard(self, value: str) -> None:
        self.world.open_values -= 1
        await trio.sleep(self.world.random.choice([0.0, 0.1, 9.0]))

    def hedge_after_s(self, candidate: str) -> float:
        return self.world.random.choice([0.0, 0.3, 0.5, float("inf")])

    def may_hedge(self, candidate: str) -> bool:
        now = trio.current_time()
        return (
            self.world.board.may_ask(candidate, now) and self.world.slots.free > 0 and self.world.budget.withdraw(now)
        )

    def is_final(self, error: Exception) -> bool:
        return isinstance(error, FinalRefusal)

    def has_others(self, candidate: str) -> bool:
        return self.world.random.random() < 0.5

    def next_round(self) -> Round[str] | None:
        """Half of the races that are lost go on, with some of the candidates, now or in a moment."""
        world = self.world
        if world.random.random() < 0.5:
            return None
        world.rounds += 1
        names = [name for name in CANDIDATES if world.random.random() < 0.5] or CANDIDATES[:1]
        return Round(trio.current_time() + world.tenths(5), names)

    def record(self, end: AttemptEnd[str]) -> None:
        # An attempt that never took its first step was not started, but has ended.
        self.world.ended[self.number, end.attempt.number] += 1
        permit = self.permits.get(end.attempt.number)
        if permit is None:
            return
        now = trio.current_time()
        if end.outcome is Outcome.WON:
            permit.succeeded(now)
        elif end.outcome is Outcome.FAILED:
            permit.failed(Fault.TARGET, now)
        permit.cancelled()


async def visit(world: World, number: int, leave_after_s: float) -> None:
    """One request: its race, and its client's leaving."""
    won: Won[str, str] | None = None
    world.budget.deposit()
    with trio.move_on_after(leave_after_s):
        now = trio.current_time()
        limits = Limits(now + leave_after_s, attempt_limit_s=1.0, reserve_s=0.2, discard_limit_s=0.5)
        try:
            won = await race(world.board.order(CANDIDATES, now), StormRunner(world, number), limits)
        except AllFailed:
            return
    if won is not None:
        world.open_values -= 1
        world.handed_over += 1


@pytest.mark.parametrize("seed", range(3))
async def test_storm_leaves_nothing(autojump_clock: MockClock, seed: int) -> None:
    world = World(
        Random(seed),
        Slots(SlotRules(limit=200, queue_limit=50)),
        BreakerBoard(lambda name: name, lambda name: "key", BreakerRules(open_s=1.0, failures_in_row=10)),
        HedgeBudget(HedgeRules(share=1.0, reserve=100), 0.0),
    )
    before = trio.lowlevel.current_statistics().tasks_living

    async with trio.open_nursery() as nursery:
        for number in range(1500):
            nursery.start_soon(visit, world, number, world.tenths(25))
            if number % 10 == 0:
                await trio.sleep(0.1)

    assert (0, 0, 0) == (world.slots.in_use, world.slots.waiting, world.running)
    assert 0 == world.open_values
    assert {1} == set(world.ended.values())
    assert world.started.keys() <= world.ended.keys()
    assert before == trio.lowlevel.current_statistics().tasks_living
    assert world.handed_over > 300
    assert world.rounds > 5
    assert all(world.board.may_ask(name, trio.current_time() + 3600) for name in CANDIDATES)
