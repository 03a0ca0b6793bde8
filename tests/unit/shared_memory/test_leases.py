"""Places among what is under way at once: bounded for all workers, given back by the dead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import LocalSpend, SharedSpend

KEY = b"c12345678"


@pytest.fixture
def open_spend(tmp_path: Path) -> Iterator[Callable[[], SharedSpend]]:
    """Opens the file as one more worker; all are closed after the test."""
    stack = ExitStack()

    def open_one() -> SharedSpend:
        segment = stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=1024)))
        return SharedSpend(segment)

    with stack:
        yield open_one


def test_one_process_has_a_limit() -> None:
    leases = LeaseBook(LocalSpend())

    taken = [leases.acquire(KEY, 2) for _ in range(3)]
    leases.release(KEY)

    assert [True, True, False] == taken
    assert leases.acquire(KEY, 2)


def test_workers_share_a_limit(open_spend: Callable[[], SharedSpend]) -> None:
    one, other = LeaseBook(open_spend()), LeaseBook(open_spend())

    taken = [leases.acquire(KEY, 3) for leases in (one, other, one, other)]
    one.release(KEY)

    assert [True, True, True, False] == taken
    assert other.acquire(KEY, 3)
    assert 3 == one.count(KEY)


def test_keys_are_apart_and_budgets_too(open_spend: Callable[[], SharedSpend]) -> None:
    spend = open_spend()
    leases = LeaseBook(spend)
    leases.acquire(KEY, 1)

    assert leases.acquire(b"c87654321", 1)
    assert (0, 0) == spend.read(KEY, 24_300)


def test_dead_workers_leases_come_back(tmp_path: Path, open_spend: Callable[[], SharedSpend]) -> None:
    survivor = open_spend()
    dead = open_segment(tmp_path / "shared.mem")
    held = LeaseBook(SharedSpend(dead))
    leases = LeaseBook(survivor)
    assert [True, True, False] == [held.acquire(KEY, 2), leases.acquire(KEY, 2), leases.acquire(KEY, 2)]

    # Its locks go as a killed process's would: nothing is given back first.
    dead.close()
    survivor.reap()

    assert 1 == leases.count(KEY)
    assert leases.acquire(KEY, 2)
