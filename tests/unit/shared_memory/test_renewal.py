"""Moving to another shared file: what moves with a worker, and what noise in the old one may do until then."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pg_trio.errors import Overloaded, StoreError
from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BreakerBoard
from pg_trio.racing.latency import LatencyBoard, LatencyRules
from pg_trio.shared_memory.breaker_records import SharedBreakers
from pg_trio.shared_memory.latency_counts import SharedLatencies
from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.renewal import SharedFile
from pg_trio.shared_memory.segment import HEADER_BYTES, Segment
from pg_trio.shared_memory.segment_file import KEPT_ASIDE, open_segment
from pg_trio.shared_memory.spend import SharedSpend, fill_spend
from pg_trio.shared_memory.token_bucket import SharedBuckets

LIMITS = ((10, 60.0), (100, 3600.0))
MONTH = 5


class Worker:
    """Everything that a worker keeps in the file."""

    def __init__(self, path: Path) -> None:
        segment = open_segment(path, slots=4096)
        self.spend = SharedSpend(segment)
        self.leases = LeaseBook(self.spend)
        self.buckets = SharedBuckets(segment)
        counts, records = SharedLatencies(segment, 0.0, {}), SharedBreakers(segment, 0.0, {})
        self.latency = LatencyBoard(counts.find).estimate_of(("sim", "m"), LatencyRules(min_samples=1))
        self.board: BreakerBoard[str] = BreakerBoard(lambda name: name, lambda name: name, BreakerRules(), records)
        self.file = SharedFile(segment, [self.spend, self.buckets, counts, records])

    def close(self) -> None:
        self.file.close()

    def renew(self, fill: Callable[[Segment], object] = lambda _: None) -> None:
        self.file.renew(fill)

    def work(self, now: float) -> None:
        """Do a bit of everything."""
        steps: list[Callable[[], object]] = [
            lambda: self.spend.reserve(b"k", MONTH, 10, budget=100),
            lambda: self.spend.settle(b"k", MONTH, 10, spent=7),
            lambda: self.leases.acquire(b"lease", 5),
            lambda: self.leases.release(b"lease"),
            lambda: self.buckets.take(b"k", LIMITS, now),
            lambda: self.buckets.take(b"new", LIMITS, now),
            lambda: self.buckets.give(b"k", LIMITS, now, 1),
            lambda: self.buckets.give(b"k", LIMITS, now, -1),
            lambda: self.buckets.peek(b"k", LIMITS, now),
            lambda: self.board.order(["one", "other"], now),
            lambda: self.board.begin("one", now).failed(Fault.TARGET, now),
            lambda: self.board.begin("other", now).succeeded(now),
            lambda: self.board.as_lines(now),
            lambda: self.latency.record(0.1, now),
            lambda: self.latency.estimate_s(now),
            self.spend.reap,
        ]
        for step in steps:
            try:
                step()
            except Overloaded:
                continue


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.mem"


@pytest.fixture
def open_worker(path: Path) -> Iterator[Callable[[], Worker]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Worker(path)))


def spoil(path: Path, seed: int = 1, first: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(first)
        file.write(random.Random(seed).randbytes(path.stat().st_size - first))


def test_sound_file_needs_nothing(open_worker: Callable[[], Worker]) -> None:
    worker = open_worker()
    worker.work(100.0)

    assert not worker.file.needs_renewal()


@pytest.mark.parametrize("first", [0, HEADER_BYTES, 100_000])
def test_noise_is_noticed(open_worker: Callable[[], Worker], path: Path, first: int) -> None:
    worker = open_worker()

    spoil(path, first=first)

    assert worker.file.needs_renewal()


def test_shortened_file_is_noticed(open_worker: Callable[[], Worker], path: Path) -> None:
    worker = open_worker()
    with path.open("r+b") as file:
        file.truncate(100)

    assert worker.file.needs_renewal()


@pytest.mark.parametrize("first", [0, HEADER_BYTES])
def test_workers_meet_in_the_new_file(open_worker: Callable[[], Worker], path: Path, first: int) -> None:
    one, other = open_worker(), open_worker()
    one.spend.reserve(b"k", MONTH, 40, budget=100)
    one.leases.acquire(b"lease", 1)
    spoil(path, first=first)

    one.renew(lambda segment: fill_spend(segment, MONTH, {b"k": 30}))
    other.renew()

    # The log's spend, and what is reserved by who is still under way.
    assert [(30, 40)] * 2 == [worker.spend.read(b"k", MONTH) for worker in (one, other)]
    assert not other.leases.acquire(b"lease", 1)
    one.spend.settle(b"k", MONTH, 40, spent=25)
    one.leases.release(b"lease")
    assert (55, 0) == other.spend.read(b"k", MONTH)
    assert other.leases.acquire(b"lease", 1)
    assert [False, False] == [worker.file.needs_renewal() for worker in (one, other)]
    assert 1 == len(list(path.parent.glob("shared.mem.bad-*")))


def test_breakers_and_buckets_are_shared_again(open_worker: Callable[[], Worker], path: Path) -> None:
    one, other = open_worker(), open_worker()
    for worker in (one, other):
        worker.work(100.0)
    path.unlink()
    for worker in (one, other):
        worker.renew()

    for _ in range(3):
        one.board.begin("one", 200.0).failed(Fault.TARGET, 200.0)
    taken = [worker.buckets.take(b"k", LIMITS, 200.0).refused for worker in (one, other) * 6]

    assert ["other", "one"] == other.board.order(["one", "other"], 200.0)
    assert 10 == taken.count(None)


def test_settled_reservation_does_not_move(open_worker: Callable[[], Worker], path: Path) -> None:
    worker = open_worker()
    worker.spend.reserve(b"k", MONTH, 40, budget=100)
    worker.spend.reserve(b"k", MONTH, 20, budget=100)
    worker.spend.settle(b"k", MONTH, 60, spent=25)
    path.unlink()

    worker.renew()

    assert (0, 0) == worker.spend.read(b"k", MONTH)


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("first", [0, HEADER_BYTES])
def test_noise_only_refuses(open_worker: Callable[[], Worker], path: Path, seed: int, first: int) -> None:
    worker = open_worker()
    worker.work(100.0)

    spoil(path, seed, first)

    worker.work(101.0)
    worker.renew()
    worker.work(102.0)
    assert not worker.file.needs_renewal()


class Stubborn:
    """A part that can be moved only while it is told so."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.may_move = False

    def rebind(self, segment: Segment) -> None:
        if not self.may_move:
            raise Overloaded(1)
        self.segment = segment


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
@pytest.mark.parametrize("is_replaced_again", [False, True])
def test_part_that_cannot_move_costs_one_file(
    open_worker: Callable[[], Worker], path: Path, is_replaced_again: bool
) -> None:
    worker, other = open_worker(), open_worker()
    worker.spend.reserve(b"k", MONTH, 40, budget=100)
    stubborn, before = Stubborn(worker.file.segment), open_files()
    worker.file.parts.append(stubborn)
    path.unlink()

    while_stuck = []
    for _ in range(5):
        assert worker.file.needs_renewal()
        with pytest.raises(StoreError, match=r"shared\.mem"):
            worker.renew()
        while_stuck.append(open_files())
    other.renew()
    reserved = other.spend.read(b"k", MONTH)
    if is_replaced_again:
        path.unlink()
    stubborn.may_move = True
    worker.renew()

    # A file takes two descriptors: its own, and that of its map.
    assert ([before + 2] * 5, (0, 40), before) == (while_stuck, reserved, open_files())
    assert stubborn.segment is worker.file.segment
    assert not worker.file.needs_renewal()


def test_few_are_kept_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(KEPT_ASIDE + 3):
        monkeypatch.setattr("time.time", lambda number=number: 1_000_000.0 + number)
        path.write_bytes(b"%d" % number)
        open_segment(path, slots=16).close()

    kept = sorted(path.parent.glob("shared.mem.bad-*"))
    assert [b"3", b"4", b"5"] == [file.read_bytes() for file in kept]
