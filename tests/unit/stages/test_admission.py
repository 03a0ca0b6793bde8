"""Who starts, who waits and who is turned away at once. Virtual time: a pass of the loop takes none."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from pg_trio.domain.verdict import Verdict
from pg_trio.errors import DeadlineExceeded, Overloaded
from pg_trio.stages.admission import (
    CALM_S,
    CALM_STARTS,
    DEMAND_EVERY_S,
    FIRST_START_S,
    FLOODED_JOIN_S,
    JOIN_SHARE,
    MANY_NEWCOMERS,
    NEWCOMER_STARTS,
    PRESSED_JOIN_S,
    PRESSED_SHARE,
    PRESSED_STARTS,
    STREAM_STARTS,
    Admission,
)

WAIT_S = 2.0


class Door:
    """An admission that runs, and what became of those who came."""

    def __init__(self, admission: Admission, told: list[int]) -> None:
        self.admission = admission
        self.told = told
        self.started: list[tuple[int, float]] = []
        self.shed: list[tuple[int, float]] = []

    async def come(
        self, number: int, stay_s: float = 0.0, until: float = math.inf, waited_s: float | None = None
    ) -> None:
        came_at = None if waited_s is None else trio.current_time() - waited_s
        try:
            if not self.admission.take():
                await self.admission.wait(until, None, came_at)
        except Overloaded:
            self.shed.append((number, trio.current_time()))
            return
        with self.admission:
            self.started.append((number, trio.current_time()))
            if stay_s:
                await trio.sleep(stay_s)


@pytest.fixture
async def door(nursery: trio.Nursery) -> Door:
    return await open_door(nursery)


async def open_door(nursery: trio.Nursery, limit: int = 1_000) -> Door:
    told: list[int] = []
    admission = Admission(limit, WAIT_S, told.append)
    nursery.start_soon(admission.run)
    await trio.testing.wait_all_tasks_blocked()
    return Door(admission, told)


async def test_pass_starts_so_many(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    taken = [door.admission.take() for _ in range(CALM_STARTS + 1)]
    await trio.lowlevel.checkpoint()

    assert [True] * CALM_STARTS + [False] == taken
    assert door.admission.take()


async def test_pass_starts_fewer_beside_streams(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    taken = []
    for door.admission.streams in (1, 0):
        await trio.lowlevel.checkpoint()
        taken.append([door.admission.take() for _ in range(CALM_STARTS)].count(True))

    assert [STREAM_STARTS, CALM_STARTS] == taken


async def test_burst_is_served_in_order(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as burst:
        for _ in range(CALM_STARTS):
            door.admission.take()
        for number in range(300):
            burst.start_soon(door.come, number)
            await take_none_yet(door, number)

    assert list(range(300)) == [number for number, _ in door.started]
    assert [] == door.shed
    assert CALM_STARTS == door.admission.under_way


async def take_none_yet(door: Door, number: int) -> None:
    """Let the newcomer join before the next one comes: Trio shuffles the tasks of a pass."""
    while number >= len(door.started) + door.admission._queue.length + len(door.shed):
        await trio.lowlevel.checkpoint()


async def test_line_moves_in_small_steps(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    for _ in range(CALM_STARTS):
        door.admission.take()
    async with trio.open_nursery() as burst:
        for number in range(200):
            burst.start_soon(door.come, number, 1.0)
        passes = 0
        while len(door.started) < 200:
            await trio.lowlevel.checkpoint()
            passes += 1

    assert (200 - CALM_STARTS) / PRESSED_STARTS <= passes


async def test_line_beside_streams_moves_by_their_steps(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    door.admission.streams = 1
    await trio.lowlevel.checkpoint()
    async with trio.open_nursery() as burst:
        for number in range(200):
            burst.start_soon(door.come, number, 1.0)
        passes = 0
        while len(door.started) < 200:
            await trio.lowlevel.checkpoint()
            passes += 1

    # One pass for the first ones, and some in which the line forms and its last ones run.
    assert 200 / STREAM_STARTS - 1 <= passes <= 200 / STREAM_STARTS + 5


async def test_slow_provider_sheds_nobody(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    """Hundreds under way cost a worker nothing while they wait."""
    async with trio.open_nursery() as clients:
        for number in range(900):
            clients.start_soon(door.come, number, 30.0)
            await trio.sleep(0.001)

    assert 900 == len(door.started)
    assert [] == door.shed


async def test_place_goes_to_who_waits_longest(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    door = await open_door(nursery, limit=1)

    async with trio.open_nursery() as clients:
        for number in range(4):
            clients.start_soon(door.come, number, 0.1)
            await trio.testing.wait_all_tasks_blocked()

    assert [0, 1, 2, 3] == [number for number, _ in door.started]


async def test_free_place_goes_to_line(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    door = await open_door(nursery, limit=1)
    came_at = trio.current_time()

    async with trio.open_nursery() as clients:
        clients.start_soon(door.come, 0, 1.5)
        await trio.testing.wait_all_tasks_blocked()
        clients.start_soon(door.come, 1, 1.0)

    assert [(0, came_at), (1, came_at + 1.5)] == door.started
    assert 0 == door.admission.under_way


async def test_nobody_waits_past_limit(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    door = await open_door(nursery, limit=1)
    door.admission.take()
    came_at = trio.current_time()

    await door.come(1)

    assert [(1, came_at + WAIT_S)] == door.shed


async def test_nobody_waits_past_own_deadline(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    door = await open_door(nursery, limit=1)
    door.admission.take()
    came_at = trio.current_time()

    with pytest.raises(DeadlineExceeded, match="no answer within 300 ms"):
        await door.admission.wait(came_at + 0.3, 300)

    assert came_at + 0.3 == trio.current_time()
    assert 1 == door.admission.under_way


async def test_long_line_turns_away_at_once(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    door = await open_door(nursery, limit=1)
    door.admission.take()
    room = int(WAIT_S * JOIN_SHARE / FIRST_START_S)
    came_at = trio.current_time()

    async with trio.open_nursery() as clients:
        for number in range(room + 10):
            clients.start_soon(door.come, number)
        await trio.testing.wait_all_tasks_blocked()
        turned_away = list(door.shed)
        judged = door.admission.verdict

    assert [came_at] * 10 == [at for _, at in turned_away]
    assert Verdict.REFUSE is judged
    assert Verdict.ADMIT is door.admission.verdict


async def test_line_that_stands_is_short(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """No place has become free for a second: a new request would wait in vain."""
    door = await open_door(nursery, limit=1)
    door.admission.take()

    async with trio.open_nursery() as clients:
        clients.start_soon(door.come, 1)
        await trio.sleep(1.0)
        came_at = trio.current_time()
        await door.come(2)

    assert [2, 1] == [number for number, _ in door.shed]
    assert came_at == door.shed[0][1]


async def test_cancelled_waiter_leaves_line(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    door = await open_door(nursery, limit=1)
    door.admission.take()

    with trio.move_on_after(0.5):
        await door.come(1)
    with door.admission:
        pass
    await trio.testing.wait_all_tasks_blocked()

    assert 0 == door.admission.under_way
    assert door.admission.take()
    assert [] == door.started + door.shed


async def test_client_that_leaves_when_let_in_gives_place_back(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Its turn and its cancellation come in the same pass: the place was counted already."""
    door = await open_door(nursery, limit=1)
    door.admission.take()

    async with trio.open_nursery() as client:
        client.start_soon(door.come, 1, 1.0)
        await trio.testing.wait_all_tasks_blocked()
        door.admission.__exit__(None, None, None)
        while door.admission._queue.length:
            await trio.lowlevel.checkpoint()
        client.cancel_scope.cancel()

    assert 0 == door.admission.under_way


async def test_shed_are_told_once_a_second(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    door = await open_door(nursery)

    for _ in range(3):
        door.admission.note_shed()
    await trio.sleep(5.5)
    door.admission.note_shed()
    await trio.sleep(1)

    assert [3, 1] == door.told


async def test_last_shed_are_told_at_end(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        door = await open_door(nursery)
        door.admission.note_shed()
        nursery.cancel_scope.cancel()

    assert [1] == door.told


# ── at the server's door ─────────────────────────────────────────────────────────────────────────────────────────────


def line_up(door: Door, count: int) -> int:
    """So many requests come to the door in one pass; how many of them wait there."""
    return [door.admission.join_line(handed_over) for handed_over in range(count)].count(True)


async def let_in(door: Door) -> tuple[int, int]:
    """How many come in from the door in a pass, and how many of them start in the next one."""
    count = door.admission.let_in()
    await trio.lowlevel.checkpoint()
    return count, [door.admission.take() for _ in range(count)].count(True)


async def test_those_who_may_start_do_not_wait_at_door(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    assert 5 == line_up(door, CALM_STARTS + 5)
    assert Verdict.QUEUE is door.admission.verdict


async def test_those_at_door_come_in_and_start(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    line_up(door, CALM_STARTS + PRESSED_STARTS + 3)
    await trio.lowlevel.checkpoint()

    passes = [await let_in(door) for _ in range(2)]

    assert [(PRESSED_STARTS, PRESSED_STARTS), (3, 3)] == passes
    assert PRESSED_STARTS + 3 == door.admission.under_way
    assert Verdict.ADMIT is door.admission.verdict


async def test_fewer_come_in_while_connections_flood(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    """Each of them is for one request, and has to be accepted and refused in time."""
    line_up(door, CALM_STARTS + 3 * PRESSED_STARTS)
    counts = []
    for newcomers in (MANY_NEWCOMERS, MANY_NEWCOMERS - 1):
        door.admission.newcomers = newcomers
        await trio.lowlevel.checkpoint()
        counts.append(door.admission.let_in())

    assert [NEWCOMER_STARTS, PRESSED_STARTS] == counts


async def test_nobody_starts_before_those_at_door(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    line_up(door, CALM_STARTS + 1)
    await trio.lowlevel.checkpoint()

    assert not door.admission.take()


async def test_who_leaves_door_is_not_waited_for(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    line_up(door, CALM_STARTS + 1)

    door.admission.leave_line()
    await trio.lowlevel.checkpoint()

    assert Verdict.ADMIT is door.admission.verdict
    assert door.admission.take()


async def test_without_places_all_come_in_from_door(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Inside, they wait for a place to become free; nobody at the door would notice."""
    door = await open_door(nursery, limit=1)
    line_up(door, CALM_STARTS + 20)
    door.admission.under_way += 1

    assert (20, 0) == await let_in(door)
    assert 0 == line_up(door, CALM_STARTS + 1)


async def test_both_lines_move(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    door = await open_door(nursery, limit=100)
    door.admission.under_way += 100
    async with trio.open_nursery() as clients:
        clients.start_soon(door.come, 0)
        await trio.testing.wait_all_tasks_blocked()
        door.admission.under_way -= 100
        line_up(door, PRESSED_STARTS)

        # One waits inside, too: half of the starts are for those.
        assert PRESSED_STARTS // 2 == door.admission.let_in()
        with door.admission:
            door.admission.under_way += 1


async def test_who_waited_at_door_is_not_refused_inside(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Another one took its start: it waits for the next."""
    door = await open_door(nursery, limit=1)
    door.admission.take()
    room = int(WAIT_S * JOIN_SHARE / FIRST_START_S)

    async with trio.open_nursery() as clients:
        for number in range(room):
            clients.start_soon(door.come, number)
        await trio.testing.wait_all_tasks_blocked()
        assert Verdict.REFUSE is door.admission.verdict
        clients.start_soon(door.come, room, 0.0, math.inf, 0.0)
        await trio.testing.wait_all_tasks_blocked()
        refused = list(door.shed)

    assert [] == refused


@pytest.mark.parametrize(("limit_s", "left_s"), [(math.inf, WAIT_S / 4), (0.1, 0.1)])
async def test_wait_at_door_counts_inside(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, limit_s: float, left_s: float
) -> None:
    door = await open_door(nursery, limit=1)
    door.admission.take()
    came_in_at = trio.current_time()

    await door.come(1, 0.0, came_in_at + limit_s, WAIT_S * 3 / 4)

    assert [(1, came_in_at + left_s)] == door.shed


# ── a queue that stands ──────────────────────────────────────────────────────────────────────────────────────────────

BURST = int(WAIT_S * JOIN_SHARE / FIRST_START_S)


async def test_burst_finds_long_queue(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    line_up(door, CALM_STARTS + BURST - 1)

    assert 1 == door.admission.room


async def test_queue_that_stands_becomes_short(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    line_up(door, CALM_STARTS + BURST // 2)
    verdicts = []
    for later_s in (0.0, WAIT_S * PRESSED_SHARE):
        await trio.sleep(later_s)
        await let_in(door)
        verdicts.append(door.admission.verdict)

    # Those who wait stay; nobody comes to them before they are few.
    assert [Verdict.QUEUE, Verdict.REFUSE] == verdicts
    while door.admission.verdict is Verdict.REFUSE:
        await let_in(door)
    assert door.admission._at_door < PRESSED_JOIN_S / FIRST_START_S


@pytest.mark.parametrize(("calm_s", "is_short"), [(CALM_S / 2, True), (CALM_S * 2, False)])
async def test_queue_soon_after_another_is_as_short(
    door: Door, autojump_clock: trio.testing.MockClock, calm_s: float, is_short: bool
) -> None:
    """One that was empty for a moment is the same overload; after a calm one, it is a new burst."""
    line_up(door, CALM_STARTS + PRESSED_STARTS)
    await trio.sleep(WAIT_S * PRESSED_SHARE)
    await let_in(door)

    await trio.sleep(calm_s)
    line_up(door, CALM_STARTS + 1)

    longest_s = PRESSED_JOIN_S if is_short else WAIT_S * JOIN_SHARE
    assert int(longest_s / door.admission._pace.start_s) - 1 == door.admission.room


@pytest.mark.parametrize("is_full", [False, True])
async def test_calm_gateway_has_room_for_burst(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, is_full: bool
) -> None:
    """That places were rare when there was a queue says nothing about now."""
    door = await open_door(nursery, limit=1)
    async with trio.open_nursery() as clients:
        for number in range(5):
            clients.start_soon(door.come, number, WAIT_S / 5)
            await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(CALM_S)
    if is_full:
        door.admission.take()

    assert 5 == len(door.started)
    assert BURST == door.admission.room


async def test_calm_gateway_has_room_for_starts(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """Where no queue may form (`admission_wait_ms = 1`), a pass's starts need none."""
    rooms = []
    for limit in (1, 10, 1_000):
        admission = Admission(limit, 0.001, lambda _: None)
        rooms.append(admission.room)

    assert [1, 10, CALM_STARTS] == rooms


@pytest.mark.parametrize(("calm_s", "longest_s"), [(CALM_S / 2, PRESSED_JOIN_S), (CALM_S * 2, WAIT_S * JOIN_SHARE)])
async def test_empty_moment_of_queue_is_not_calm(
    door: Door, autojump_clock: trio.testing.MockClock, calm_s: float, longest_s: float
) -> None:
    line_up(door, CALM_STARTS + PRESSED_STARTS)
    await trio.sleep(WAIT_S * PRESSED_SHARE)
    await let_in(door)

    await trio.sleep(calm_s)

    assert int(longest_s / FIRST_START_S) == door.admission.room


async def test_queue_is_shortest_while_more_are_refused_than_start(
    door: Door, autojump_clock: trio.testing.MockClock
) -> None:
    """It becomes longer again at half as many refused, so that it does not change all the time."""
    line_up(door, CALM_STARTS + BURST // 2)
    await trio.sleep(WAIT_S * PRESSED_SHARE)
    await let_in(door)
    longest_s = []
    for refused in (0, PRESSED_STARTS, PRESSED_STARTS + 1, PRESSED_STARTS // 2 + 1, PRESSED_STARTS // 2):
        door.admission.note_shed(refused)
        await trio.sleep(DEMAND_EVERY_S)
        await let_in(door)
        longest_s.append(door.admission._join_s)

    assert [PRESSED_JOIN_S, PRESSED_JOIN_S, FLOODED_JOIN_S, FLOODED_JOIN_S, PRESSED_JOIN_S] == longest_s


async def test_queue_for_places_stays_long(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """It moves as slowly as providers answer: the short one would hold nobody."""
    door = await open_door(nursery, limit=1)
    async with trio.open_nursery() as clients:
        clients.start_soon(door.come, 0, WAIT_S * PRESSED_SHARE + 0.2)
        await trio.testing.wait_all_tasks_blocked()
        clients.start_soon(door.come, 1)
        await trio.sleep(WAIT_S * PRESSED_SHARE + 0.1)
        kept_s = door.admission._join_s

    assert WAIT_S * JOIN_SHARE == kept_s
