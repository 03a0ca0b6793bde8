"""Breakers that workers share: two boards over one file are two workers. Time is a number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BreakerBoard, BreakerOpen
from pg_trio.shared_memory.breaker_records import SharedBreakers
from pg_trio.shared_memory.segment import HEADER_BYTES, SLOT_BYTES, Segment
from pg_trio.shared_memory.segment_file import open_segment

Key = tuple[str, str]
Board = BreakerBoard[Key]
# (credential, model)
A, A2, B = ("one", "a"), ("one", "other"), ("two", "b")
# As much as the shared clock is ahead of each worker's own; times below are the shared clock's.
AHEAD_S = (0.0, 5_000.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.mem"


class Worker:
    """A board over the file, whose own clock is behind the shared one."""

    def __init__(self, segment: Segment, ahead_s: float, identities: dict[str, bytes]) -> None:
        self.segment = segment
        self.records = SharedBreakers(segment, ahead_s, identities)
        self.board: Board = BreakerBoard(lambda key: key, lambda key: key[0], BreakerRules(), self.records)
        self._ahead_s = ahead_s

    def order(self, *keys: Key, now: float) -> list[Key]:
        return list(self.board.order(keys, now - self._ahead_s))

    def fail(self, key: Key, now: float, fault: Fault = Fault.TARGET, *, times: int = 3) -> None:
        for _ in range(times):
            self.board.begin(key, now - self._ahead_s).failed(fault, now - self._ahead_s)

    def succeed(self, key: Key, now: float, *, times: int = 1) -> None:
        for _ in range(times):
            self.order(key, now=now)
            self.board.begin(key, now - self._ahead_s).succeeded(now - self._ahead_s)

    def lines(self, now: float) -> list[str]:
        return self.board.as_lines(now - self._ahead_s)


Hire = Callable[..., Worker]


@pytest.fixture
def hire(path: Path) -> Iterator[Hire]:
    """Starts a worker."""
    with ExitStack() as stack:

        def start(ahead_s: float = 0.0, identities: dict[str, bytes] | None = None, slots: int = 1024) -> Worker:
            segment = stack.enter_context(closing(open_segment(path, slots=slots)))
            return Worker(segment, ahead_s, identities or {})

        yield start


@pytest.fixture
def workers(hire: Hire) -> list[Worker]:
    """Two workers whose clocks began at different times."""
    return [hire(ahead_s) for ahead_s in AHEAD_S]


def test_opened_by_one_is_open_for_all(workers: list[Worker]) -> None:
    first, second = workers
    assert [A, B] == second.order(A, B, now=10_000.0)

    first.fail(A, 10_000.0)

    assert [[B, A], [B, A]] == [worker.order(A, B, now=10_059.9) for worker in workers]
    assert [[A, B], [A, B]] == [worker.order(A, B, now=10_060.1) for worker in workers]


def test_key_refused_to_one_is_refused_to_all(workers: list[Worker]) -> None:
    first, second = workers
    assert [A2, B] == second.order(A2, B, now=10_000.0)

    first.fail(A, 10_000.0, Fault.CREDENTIAL, times=2)

    assert [B] == second.order(A2, B, now=10_001.0)


def test_probe_that_another_sent_costs_no_other_place(workers: list[Worker]) -> None:
    first, second = workers
    for fault in (Fault.TARGET, Fault.CREDENTIAL):
        first.fail(A, 10_000.0, fault)
    assert [[A, B], [A2, B]] == [first.order(A, B, now=10_060.1), second.order(A2, B, now=10_060.1)]

    # The key's probe goes to the other model; this worker finds out only when it has the place at its own.
    key_probe = second.board.begin(A2, 10_060.1 - AHEAD_S[1])
    with pytest.raises(BreakerOpen):
        first.board.begin(A, 10_060.1)
    key_probe.succeeded(10_060.2 - AHEAD_S[1])

    assert [A, B] == first.order(A, B, now=10_060.3)
    assert first.board.begin(A, 10_060.3).is_probe


def test_failures_of_all_workers_count_together(workers: list[Worker]) -> None:
    first, second = workers

    first.fail(A, 10_000.0, times=1)
    second.fail(A, 10_000.0, times=1)
    first.fail(A, 10_000.0, times=1)

    assert [[B, A], [B, A]] == [worker.order(A, B, now=10_001.0) for worker in workers]


def test_success_of_another_ends_row(workers: list[Worker]) -> None:
    first, second = workers
    second.succeed(A, 10_000.0, times=10)

    first.fail(A, 10_000.0, times=2)
    second.succeed(A, 10_001.0)
    first.fail(A, 10_002.0, times=2)

    # Four of fifteen failed, no three in a row; all calls are counted, whoever made them.
    assert [A, B] == first.order(A, B, now=10_003.0)
    assert "target one/a: closed, 4 failed and 0 slow of 15" == first.lines(10_003.0)[0]


def test_successes_from_before_a_change_are_not_told(workers: list[Worker]) -> None:
    first, second = workers
    second.succeed(A, 10_000.0, times=7)
    first.fail(A, 10_000.0, Fault.ASIDE, times=1)
    first.succeed(A, 10_002.1)

    second.order(A, now=10_003.0)
    second.fail(A, 10_003.0, times=1)

    assert "target one/a: closed, 1 failed and 0 slow of 2" == second.lines(10_003.0)[0]


def test_successes_are_told_by_the_eighth_while_there_are_failures(workers: list[Worker]) -> None:
    """A share of failures that others see is at most so many successes off."""
    first, second = workers
    first.fail(A, 10_000.0, times=1)
    first.succeed(A, 10_000.0)

    counted = []
    for successes in (8, 1):
        first.succeed(A, 10_001.0, times=successes)
        second.order(A, now=10_002.0)
        counted.append(second.lines(10_002.0)[0])

    line = "target one/a: closed, 1 failed and 0 slow of "
    assert [line + "2", line + "11"] == counted


def test_refused_key_is_known_to_all(workers: list[Worker]) -> None:
    first, second = workers

    first.fail(A, 10_000.0, Fault.CREDENTIAL, times=2)

    assert [B] == second.order(A, A2, B, now=10_001.0)


def test_one_probe_among_all(workers: list[Worker]) -> None:
    first, second = workers
    first.fail(A, 10_000.0)
    # Both have seen that a probe is due before either sends it.
    assert [[A, B], [A, B]] == [worker.order(A, B, now=10_061.0) for worker in workers]

    permit = first.board.begin(A, 10_061.0)

    assert permit.is_probe
    with pytest.raises(BreakerOpen):
        second.board.begin(A, 10_061.0 - AHEAD_S[1])
    assert [B, A] == second.order(A, B, now=10_061.0)


def test_probe_of_one_closes_for_all(workers: list[Worker]) -> None:
    first, second = workers
    first.fail(A, 10_000.0)

    first.board.begin(A, 10_061.0).succeeded(10_062.0)

    assert [A, B] == second.order(A, B, now=10_062.0)
    assert "target one/a: closed, 0 failed and 0 slow of 1" == second.lines(10_062.0)[0]


def test_probe_of_dead_worker_ends_with_its_lease(hire: Hire, workers: list[Worker]) -> None:
    workers[0].fail(A, 10_000.0)
    dying = hire()
    assert dying.board.begin(A, 10_061.0).is_probe
    dying.segment.close()

    due = [worker.order(A, B, now=now) for worker in workers for now in (10_120.0, 10_121.1)]

    assert [[B, A], [A, B]] * 2 == due


def test_success_with_closed_breaker_writes_nothing(workers: list[Worker]) -> None:
    first, second = workers
    first.succeed(A, 10_000.0)
    second.succeed(A, 10_000.0)
    before = bytes(first.segment.memory)

    first.succeed(A, 10_001.0, times=100)
    second.succeed(A, 10_001.0, times=100)

    assert before == bytes(first.segment.memory)


def test_more_calls_than_a_slot_counts_keep_their_share(workers: list[Worker]) -> None:
    permits = [workers[0].board.begin(A, 10_000.0) for _ in range(120_000)]

    for number, permit in enumerate(permits):
        if number % 3 == 2:
            permit.failed(Fault.TARGET, 10_000.0)
        else:
            permit.succeeded(10_000.0)

    # A third fails, which opens nothing: no three in a row, and less than half.
    assert [[A, B]] * 2 == [worker.order(A, B, now=10_001.0) for worker in workers]


def test_writer_that_died_leaves_what_it_wrote(workers: list[Worker]) -> None:
    first, second = workers
    second.order(A, B, now=9_999.0)
    first.fail(A, 10_000.0, times=2)
    first.fail(A, 10_000.0, times=1)

    # As if it had died after the record and before it could say that it is whole.
    first.segment.memory[first.records._changes_at] -= 1

    assert 1 == second.records.changes() & 1
    assert [B, A] == second.order(A, B, now=10_001.0)
    second.fail(B, 10_002.0, times=1)
    assert 0 == second.records.changes() & 1


def test_holder_that_stands_still_stops_nobody(hire: Hire, caplog: pytest.LogCaptureFixture) -> None:
    first, second = hire(), hire()
    assert first.records.hold()

    with caplog.at_level(logging.WARNING, "pg_trio.shared_memory"):
        second.fail(A, 10_000.0)

    # It goes by what it knows itself, and says so once.
    assert [B, A] == second.order(A, B, now=10_001.0)
    assert [A, B] == first.order(A, B, now=10_001.0)
    assert 3 == second.segment.counters.stuck
    assert 1 == sum("holds the breakers and stands still" in message for message in caplog.messages)
    first.records.release()
    second.fail(B, 10_002.0)
    assert [A, B] == first.order(A, B, now=10_003.0)


def test_holder_that_is_paused_may_be_sending_the_probe(workers: list[Worker]) -> None:
    first, second = workers
    first.fail(A, 10_000.0)
    assert [[A, B], [A, B]] == [worker.order(A, B, now=10_061.0) for worker in workers]
    assert first.records.hold()

    with pytest.raises(BreakerOpen) as refused:
        second.board.begin(A, 10_061.0 - AHEAD_S[1])
    first.records.release()

    assert 1.0 == refused.value.retry_after_s
    assert first.board.begin(A, 10_061.0).is_probe
    with pytest.raises(BreakerOpen):
        second.board.begin(A, 10_061.0 - AHEAD_S[1])


def test_holder_that_is_stopped_keeps_no_probe_from_others(workers: list[Worker]) -> None:
    first, second = workers
    first.fail(A, 10_000.0)
    assert first.records.hold()

    for now in (10_061.0, 10_061.9):
        assert [A, B] == second.order(A, B, now=now)
        with pytest.raises(BreakerOpen):
            second.board.begin(A, now - AHEAD_S[1])

    probe = second.board.begin(A, 10_062.0 - AHEAD_S[1])
    assert probe.is_probe
    probe.succeeded(10_062.1 - AHEAD_S[1])
    assert [A, B] == second.order(A, B, now=10_062.2)


def test_new_key_is_not_held_to_old_one(hire: Hire) -> None:
    before, after = hire(identities={"one": b"old"}), hire(identities={"one": b"new"})

    before.fail(A, 10_000.0, Fault.CREDENTIAL, times=2)

    assert [B] == before.order(A, B, now=10_001.0)
    assert [A, B] == after.order(A, B, now=10_001.0)


def test_full_file_leaves_each_its_own(hire: Hire) -> None:
    first, second = hire(slots=4), hire()

    first.fail(A, 10_000.0)
    first.fail(B, 10_000.0)

    # The second target found no room.
    assert [B, A] == second.order(A, B, now=10_001.0)


@pytest.mark.parametrize("filler", [0x00, 0x7F, 0xFF])
def test_damaged_record_makes_no_error(hire: Hire, filler: int) -> None:
    first, second = hire(), hire()
    first.fail(A, 10_000.0)
    memory = first.segment.memory
    for offset in range(HEADER_BYTES, len(memory), SLOT_BYTES):
        if memory[offset]:
            memory[offset + 20 : offset + SLOT_BYTES] = bytes([filler]) * (SLOT_BYTES - 20)

    assert {A, B} >= set(second.order(A, B, now=10_001.0)) >= {B}
    second.fail(A, 10_002.0)
    assert [[B, A], [B, A]] == [worker.order(A, B, now=10_003.0) for worker in (first, second)]
