"""The worker's collector: it collects where the loop rests, and where too much has come together."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from weakref import ref

import pytest
import trio
import trio.testing

from pg_trio.server.garbage import MIDDLE_AFTER, MOST, YOUNG, IdleCollector


class Knot:
    """An object that refers to itself: only a collection ends it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def live(count: int) -> list[list[object]]:
    """So many more objects that the collector looks at."""
    return [[] for _ in range(count)]


def test_rest_collects_what_came_together() -> None:
    knot = ref(Knot())
    more = live(YOUNG)

    IdleCollector().before_io_wait(timeout=1.0)

    assert knot() is None
    assert YOUNG == len(more)


def test_rest_is_not_disturbed_for_little() -> None:
    knot = ref(Knot())

    IdleCollector().before_io_wait(timeout=1.0)

    assert knot() is not None


def test_busy_loop_is_not_stopped() -> None:
    knot = ref(Knot())
    more = live(YOUNG)

    IdleCollector().before_io_wait(timeout=0)

    assert knot() is not None
    assert YOUNG == len(more)


def test_busy_loop_is_stopped_for_too_much() -> None:
    knot = ref(Knot())
    more = live(MOST)

    IdleCollector().before_io_wait(timeout=0)

    assert knot() is None
    assert MOST == len(more)


def test_middle_aged_are_collected_in_turn() -> None:
    knot = Knot()
    gc.collect(0)  # now it is of the next generation
    aged = ref(knot)
    del knot
    collector = IdleCollector()

    rounds = 0
    while aged() is not None:
        more = live(2 * YOUNG)
        collector.before_io_wait(timeout=1.0)
        rounds += 1
        assert rounds <= MIDDLE_AFTER + 1
        del more

    assert rounds > 1


async def test_worker_s_loop_collects_at_rest() -> None:
    collector = IdleCollector.start()
    assert not gc.isenabled()
    trio.lowlevel.add_instrument(collector)
    knot = ref(Knot())
    more = live(YOUNG)

    for _ in range(3):
        # Tasks are ready to run: the loop never rests.
        await trio.lowlevel.checkpoint()
    assert knot() is not None
    await trio.testing.wait_all_tasks_blocked(0.001)

    trio.lowlevel.remove_instrument(collector)
    assert knot() is None
    assert YOUNG == len(more)
