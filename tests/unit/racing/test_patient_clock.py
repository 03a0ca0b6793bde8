from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter

import pytest
import trio

from pg_trio.racing import patient_clock
from pg_trio.racing.patient_clock import GRACE_PASSES, Passes, PatientClock
from pg_trio.racing.pauses import SHORTEST_S

PAUSE_S = 5.0
LIMIT_S = 1.0


class Pausing:
    """A clock of the machine that can jump, as it does for a process that is stopped."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def __call__(self) -> float:
        return perf_counter() + self.skipped_s


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Pausing:
    machine = Pausing()
    monkeypatch.setattr(patient_clock, "perf_counter", machine)
    return machine


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def run(work: Callable[[], Awaitable[None]], clock: trio.abc.Clock | None = None) -> None:
    async def watched() -> None:
        trio.lowlevel.add_instrument(Passes(lambda: None))
        await work()

    trio.run(watched, clock=PatientClock() if clock is None else clock)


@pytest.mark.parametrize("pause_s", [SHORTEST_S * 2, PAUSE_S])
def test_what_has_come_is_read_before_its_limit_ends_it(
    machine: Pausing, pair: tuple[socket.socket, socket.socket], pause_s: float
) -> None:
    ours, theirs = pair
    read: list[bytes] = []

    async def receive() -> None:
        with trio.move_on_after(SHORTEST_S * 1.5):
            await trio.lowlevel.wait_readable(ours)
            # Nearly all who read have a checkpoint more, or are woken by another task that reads.
            await trio.lowlevel.checkpoint()
            read.append(ours.recv(100))

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"answer")
            machine.skipped_s += pause_s

    run(work)

    assert [b"answer"] == read


def test_limits_end_soon_after_a_pause_what_has_nothing_to_read(
    machine: Pausing, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, _ = pair
    passes: list[str] = []
    passes_at_end: list[int] = []

    async def receive() -> None:
        with trio.move_on_after(LIMIT_S):
            await trio.lowlevel.wait_readable(ours)
        passes_at_end.append(len(passes))

    async def work() -> None:
        trio.lowlevel.add_instrument(Passes(lambda: passes.append("pass")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            passes.clear()
            machine.skipped_s += PAUSE_S

    trio.run(work, clock=PatientClock())

    assert [GRACE_PASSES + 1] == passes_at_end


def test_tasks_are_told_the_true_time(machine: Pausing, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    waited_s: list[float] = []

    async def receive() -> None:
        since = trio.current_time()
        await trio.lowlevel.wait_readable(ours)
        waited_s.append(trio.current_time() - since)
        # A new limit counts from now.
        with trio.move_on_after(LIMIT_S) as limit:
            for _ in range(2 * GRACE_PASSES):
                await trio.lowlevel.checkpoint()
        assert not limit.cancelled_caught

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"answer")
            machine.skipped_s += PAUSE_S

    run(work)

    assert PAUSE_S <= waited_s[0] < PAUSE_S + LIMIT_S


def test_process_that_is_always_late_keeps_its_limits(machine: Pausing) -> None:
    """Each pass takes longer than it should: after some of them, limits end all the same."""
    late = 0

    async def be_late() -> None:
        nonlocal late
        while True:
            machine.skipped_s += SHORTEST_S * 2
            late += 1
            await trio.lowlevel.checkpoint()

    async def work() -> None:
        with trio.move_on_after(LIMIT_S):
            await be_late()

    run(work)

    assert late <= LIMIT_S / SHORTEST_S + GRACE_PASSES + 2


def test_other_clocks_are_left_alone(machine: Pausing) -> None:
    async def work() -> None:
        machine.skipped_s += PAUSE_S
        with trio.move_on_after(0) as limit:
            await trio.sleep_forever()
        assert limit.cancelled_caught

    run(work, trio.testing.MockClock())
