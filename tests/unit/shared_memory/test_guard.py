"""Guards: who holds a key, and what happens when they stand still. Each open segment is an owner of its own."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pg_trio.errors import Overloaded
from pg_trio.shared_memory import byte_lock
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.guard import SlotGuard
from pg_trio.shared_memory.segment import BUCKET, BUCKET_SPARE, SPEND_GUARD, SPEND_GUARD_SPARE, Segment
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend, SpendAccount
from pg_trio.shared_memory.token_bucket import SharedBuckets

BUCKET_KINDS = (BUCKET, BUCKET_SPARE)
SPEND_KINDS = (SPEND_GUARD, SPEND_GUARD_SPARE)
LIMITS = ((5, 60.0),)

OpenOwner = Callable[[], Segment]


@pytest.fixture
def open_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenOwner]:
    """Opens the segment once more, without waiting for a holder, because every holder is a stopped one here."""
    monkeypatch.setattr(byte_lock, "LOCK_LIMIT_S", 0.0)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=1024)))


def test_undisturbed_holder_is_told_so(open_owner: OpenOwner) -> None:
    guard = SlotGuard(open_owner(), BUCKET_KINDS, b"k")

    generation = guard.enter()

    assert (0, True) == (generation, guard.leave(generation))


def test_stopped_holder_is_passed_and_told(open_owner: OpenOwner) -> None:
    stopped = SlotGuard(open_owner(), BUCKET_KINDS, b"k")
    segment = open_owner()
    other = SlotGuard(segment, BUCKET_KINDS, b"k")
    held = stopped.enter()

    generation = other.enter()
    undisturbed = other.leave(generation)

    assert (1, True, 1) == (generation, undisturbed, segment.counters.takeovers)
    assert not stopped.leave(held)
    assert 1 == stopped.enter()


def test_generation_is_looked_at_again_once_held(open_owner: OpenOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    # Between its reading of the generation and its lock, another worker increments the generation, and is done.
    late, stopped, other = (SlotGuard(open_owner(), BUCKET_KINDS, b"k") for _ in range(3))
    acquire_nowait = ByteLock.acquire_nowait

    def turn_and_acquire(lock: ByteLock) -> bool:
        monkeypatch.undo()
        held = stopped.enter()
        monkeypatch.setattr(byte_lock, "LOCK_LIMIT_S", 0.0)
        other.leave(other.enter())
        stopped.leave(held)
        return acquire_nowait(lock)

    monkeypatch.setattr(ByteLock, "acquire_nowait", turn_and_acquire)

    assert 1 == late.enter()


def test_generation_is_looked_at_again_after_waiting(open_owner: OpenOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    # The holder resumes during the wait, but another worker has taken the key over by then.
    late, stopped, other = (SlotGuard(open_owner(), BUCKET_KINDS, b"k") for _ in range(3))
    held = stopped.enter()
    acquire = ByteLock.acquire_within_limit

    def turn_and_acquire(lock: ByteLock) -> bool:
        monkeypatch.setattr(ByteLock, "acquire_within_limit", acquire)
        other.leave(other.enter())
        stopped.leave(held)
        return acquire(lock)

    monkeypatch.setattr(ByteLock, "acquire_within_limit", turn_and_acquire)

    assert 1 == late.enter()


def test_generation_is_never_turned_back(open_owner: OpenOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    # Who has waited in vain finds the other place free, but because two others came and went meanwhile.
    late, stopped, other, third = (SlotGuard(open_owner(), BUCKET_KINDS, b"k") for _ in range(4))
    held = stopped.enter()
    acquire, waits = ByteLock.acquire_within_limit, 0

    def turn_twice_and_acquire(lock: ByteLock) -> bool:
        nonlocal waits
        waits += 1
        if waits == 2:
            monkeypatch.setattr(ByteLock, "acquire_within_limit", acquire)
            held_odd = other.enter()
            stopped.leave(held)
            third.leave(third.enter())
            other.leave(held_odd)
        return acquire(lock)

    monkeypatch.setattr(ByteLock, "acquire_within_limit", turn_twice_and_acquire)

    assert 2 == late.enter()


def test_two_stopped_holders_give_up_clearly(open_owner: OpenOwner) -> None:
    first, second = (SlotGuard(open_owner(), BUCKET_KINDS, b"k") for _ in range(2))
    segment = open_owner()
    third = SlotGuard(segment, BUCKET_KINDS, b"k")
    first.enter()
    second.enter()

    with pytest.raises(Overloaded):
        third.enter()

    assert 1 == segment.counters.stuck


def test_key_given_up_recovers_by_itself(open_owner: OpenOwner) -> None:
    first, second, third = (SlotGuard(open_owner(), BUCKET_KINDS, b"k") for _ in range(3))
    held = [first.enter(), second.enter()]
    for _ in range(2):
        with pytest.raises(Overloaded):
            third.enter()

    second.leave(held[1])

    assert 1 == third.enter()


def test_place_given_up_can_be_taken_over_again(open_owner: OpenOwner) -> None:
    first, second, third = (SlotGuard(open_owner(), BUCKET_KINDS, b"k") for _ in range(3))
    first.leave(first.enter())
    held = first.enter()
    second.enter()
    first.leave(held)

    assert 2 == third.enter()


def test_generation_turns_round(open_owner: OpenOwner) -> None:
    # Holders stand still 600 times, each in the place that the generation names; every take must still count.
    owners = [open_owner() for _ in range(2)]
    guards = [SlotGuard(owner, BUCKET_KINDS, b"k") for owner in owners]
    buckets = [SharedBuckets(owner) for owner in owners]
    limits = ((1000, 3600.0),)

    for number in range(600):
        stopped, taker = number % 2, 1 - number % 2
        held = guards[stopped].enter()
        buckets[taker].take(b"k", limits, now=0.0)
        guards[stopped].leave(held)

    assert [400, 400] == [each.peek(b"k", limits, now=0.0)[0].remaining for each in buckets]


def test_place_never_written_is_never_read(open_owner: OpenOwner) -> None:
    # Every odd generation's holder stops before it writes, until generations have turned round.
    first_owner, second_owner = open_owner(), open_owner()
    first, second = (SlotGuard(owner, BUCKET_KINDS, b"k") for owner in (first_owner, second_owner))
    buckets, limits = SharedBuckets(first_owner), ((1000, 3600.0),)

    for _ in range(200):
        held = first.enter()
        held_odd = second.enter()
        first.leave(held)
        buckets.take(b"k", limits, now=0.0)
        second.leave(held_odd)

    assert 800 == buckets.peek(b"k", limits, now=0.0)[0].remaining


def test_takes_go_on_from_stopped_holders_value(open_owner: OpenOwner) -> None:
    stopped = open_owner()
    taker = SharedBuckets(open_owner())
    for _ in range(3):
        taker.take(b"k", LIMITS, now=0.0)
    SlotGuard(stopped, BUCKET_KINDS, b"k").enter()

    taken = [taker.take(b"k", LIMITS, now=0.0).refused for _ in range(3)]

    assert [None, None, (0, 12.0)] == taken


def test_who_gives_back_lets_go(open_owner: OpenOwner) -> None:
    segment = open_owner()
    giver, taker = SharedBuckets(open_owner()), SharedBuckets(segment)

    giver.give(b"k", LIMITS, now=0.0, amount=-5)
    refused = taker.take(b"k", LIMITS, now=0.0).refused

    assert ((0, 12.0), 0) == (refused, segment.counters.takeovers)


def test_take_by_stopped_holder_counts_after_takeover(open_owner: OpenOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    # The holder "stops" after it has written and before it lets go: another takes over and takes 4 of 5 meanwhile.
    slow, quick = SharedBuckets(open_owner()), SharedBuckets(open_owner())
    leave = SlotGuard.leave
    meanwhile: list[tuple[int, float] | None] = []

    def stop_and_leave(guard: SlotGuard, generation: int) -> bool:
        monkeypatch.setattr(SlotGuard, "leave", leave)
        meanwhile.extend(quick.take(b"k", LIMITS, now=0.0).refused for _ in range(4))
        return leave(guard, generation)

    monkeypatch.setattr(SlotGuard, "leave", stop_and_leave)

    taken = slow.take(b"k", LIMITS, now=0.0).refused

    # The quick one saw the slow one's token as taken; the slow one could not know that and asked again, in vain.
    assert ([None] * 4, (0, 12.0)) == (meanwhile, taken)


def test_reservation_unseen_by_other_is_undone(open_owner: OpenOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    # The holder "stops" between looking at the sum and writing its row: both would fit alone, together they do not.
    slow, quick = SharedSpend(open_owner()), SharedSpend(open_owner())
    write = SpendAccount.write
    meanwhile: list[tuple[int, int] | None] = []

    def stop_and_write(account: SpendAccount, memory: mmap.mmap) -> None:
        monkeypatch.setattr(SpendAccount, "write", write)
        meanwhile.append(quick.reserve(b"k", 1, 60, budget=100))
        write(account, memory)

    monkeypatch.setattr(SpendAccount, "write", stop_and_write)

    refused = slow.reserve(b"k", 1, 60, budget=100)

    assert ([None], (0, 60)) == (meanwhile, refused)
    assert (0, 60) == slow.read(b"k", 1)
