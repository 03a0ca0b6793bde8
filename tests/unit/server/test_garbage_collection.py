"""The worker's collector: it collects where the loop rests, and where too much has come together."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from weakref import ref

import pytest
import trio
import trio.testing

from pg_trio.server.garbage import ALL_EVERY_S, MIDDLE_AFTER, MOST, YOUNG, IdleCollector, collect_at_rest


class Knot:
    """An object that refers to itself: only a collection ends it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _own_collector() -> Iterator[None]:
    """Nothing is collected but by what is tested."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    yield
    gc.set_threshold(*thresholds)
    gc.enable()
    gc.unfreeze()


@pytest.fixture
def collector() -> IdleCollector:
    return IdleCollector(now=0.0)


def live(count: int) -> list[list[object]]:
    """So many more objects that the collector looks at."""
    return [[] for _ in range(count)]


def tie(generation: int) -> ref[Knot]:
    """An unreachable reference cycle, as old as if it had survived this many collections."""
    knot = Knot()
    for younger in range(generation):
        gc.collect(younger)
    return ref(knot)


async def test_rest_collects_what_came_together(collector: IdleCollector, mock_clock: trio.testing.MockClock) -> None:
    knot = tie(0)
    more = live(YOUNG)

    collector.before_io_wait(timeout=1.0)

    assert knot() is None
    assert YOUNG == len(more)


async def test_rest_is_not_disturbed_for_little(collector: IdleCollector) -> None:
    knot = tie(0)

    collector.before_io_wait(timeout=1.0)

    assert knot() is not None


async def test_busy_loop_is_not_stopped(collector: IdleCollector) -> None:
    knot = tie(0)
    more = live(YOUNG)

    collector.before_io_wait(timeout=0)

    assert knot() is not None
    assert YOUNG == len(more)


async def test_middle_aged_are_collected_in_turn(collector: IdleCollector, mock_clock: trio.testing.MockClock) -> None:
    aged = tie(1)

    rounds = 0
    while aged() is not None and rounds < 100:
        more = live(2 * YOUNG)
        collector.before_io_wait(timeout=1.0)
        rounds += 1
        del more

    assert MIDDLE_AFTER == rounds


async def test_old_are_collected_by_the_hour(collector: IdleCollector, mock_clock: trio.testing.MockClock) -> None:
    old = tie(2)
    for _ in range(3 * MIDDLE_AFTER):
        more = live(2 * YOUNG)
        collector.before_io_wait(timeout=1.0)
        del more
    assert old() is not None

    mock_clock.jump(ALL_EVERY_S)
    more = live(2 * YOUNG)
    collector.before_io_wait(timeout=1.0)

    assert old() is None
    assert 2 * YOUNG == len(more)


async def test_loop_collects_at_rest_only() -> None:
    gc.enable()
    collect_at_rest()
    knot = tie(0)
    more = live(YOUNG)

    for _ in range(3):
        # Tasks are ready to run: the loop never rests.
        await trio.lowlevel.checkpoint()
    assert knot() is not None
    await trio.testing.wait_all_tasks_blocked(0.001)

    assert knot() is None
    assert YOUNG == len(more)


async def test_too_much_is_collected_without_rest() -> None:
    gc.enable()
    collect_at_rest()
    knot = tie(0)

    more = live(MOST)

    assert knot() is None
    assert MOST == len(more)


async def test_what_lives_at_the_start_is_left_alone() -> None:
    knot = tie(0)
    kept = live(1)

    collect_at_rest()

    assert knot() is None
    assert gc.get_freeze_count() > len(kept)
