"""The hedge budget that all workers share: the same bound as in one process, for any mix of counting and taking
workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.hedge_counts import SharedHedges
from pg_trio.shared_memory.segment_file import open_segment

Hire = Callable[..., SharedHedges]


@pytest.fixture
def hire(tmp_path: Path) -> Iterator[Hire]:
    """Opens the file as one more worker; all are closed after the test."""
    stack = ExitStack()

    def open_one(share: float = 0.05, reserve: float = 5.0, min_per_s: float = 0.0, slots: int = 64) -> SharedHedges:
        segment = stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=slots)))
        return SharedHedges(segment, share, reserve, min_per_s, ahead_s=1000.0)

    with stack:
        yield open_one


def withdrawals(hedges: SharedHedges, now: float = 0.0) -> int:
    """How many there are at this moment."""
    return sum(hedges.withdraw(now) for _ in range(100))


def test_workers_share_one_reserve(hire: Hire) -> None:
    one, other = hire(), hire()

    taken = [one.withdraw(0.0), other.withdraw(0.0), withdrawals(one), withdrawals(other)]

    assert [True, True, 3, 0] == taken


def test_requests_of_all_earn_hedges(hire: Hire) -> None:
    one, other = hire(), hire()
    withdrawals(one)

    for _ in range(20):
        one.deposit()
    for _ in range(19):
        other.deposit()

    # The first worker's twenty have earned a whole one, which is told; the other's nineteen are its own so far.
    assert [1.0, 1.95] == [round(one.balance(), 9), round(other.balance(), 9)]
    assert [1, 0] == [withdrawals(one), withdrawals(other)]
    # Wanting one, it has told them: 0.95 of all, and 0.05 of its own.
    other.deposit()
    assert [0, 1] == [withdrawals(one), withdrawals(other)]


def test_no_more_is_saved_than_the_reserve(hire: Hire) -> None:
    one, other = hire(), hire()

    for hedges in (one, other):
        for _ in range(1000):
            hedges.deposit()

    assert [5, 0] == [withdrawals(one), withdrawals(other)]


def test_time_earns_one_at_most(hire: Hire) -> None:
    one, other = hire(min_per_s=0.1), hire(min_per_s=0.1)
    withdrawals(one)

    assert [0, 1, 0, 1] == [
        withdrawals(one, 9.9),
        withdrawals(other, 10.0),
        withdrawals(one, 19.9),
        withdrawals(other, 500.0),
    ]


def test_holder_that_stands_still_is_passed(hire: Hire, tmp_path: Path) -> None:
    hedges = hire()
    with closing(open_segment(tmp_path / "shared.mem", slots=64)) as stopped:
        assert ByteLock(stopped.descriptor, hedges._guard.offsets[0]).acquire_nowait()

        assert 5 == withdrawals(hedges)


def test_where_nothing_can_be_held_no_hedge_is_sent(hire: Hire, tmp_path: Path) -> None:
    hedges = hire()
    with closing(open_segment(tmp_path / "shared.mem", slots=64)) as stopped:
        for offset in hedges._guard.offsets:
            assert ByteLock(stopped.descriptor, offset).acquire_nowait()

        assert not hedges.withdraw(0.0)
        for _ in range(1000):
            hedges.deposit()

    assert 5 == withdrawals(hedges)


def test_full_file_is_said(hire: Hire) -> None:
    with pytest.raises(Overloaded):
        hire(slots=1)
