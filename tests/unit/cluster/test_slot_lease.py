"""A node's lease of slots between its workers: what is given back is not in use, in any order of their steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.slot_lease import (
    ALONE_S,
    ASK_AGAIN_S,
    BUSY_S,
    MISSED_S,
    NOTHING,
    USABLE_S,
    SlotLease,
    SlotMessage,
    SlotReply,
    held_after,
)
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.slot_grants import SlotGrants

KEY, LIMIT = bytes(20), 10
REPLY_S = 0.05


@define
class Counts:
    """LeaseCounter of a node's workers. `before` and `after`: what another worker does around one acquisition."""

    out: Counter[bytes] = field(factory=Counter)
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None

    def acquire(self, key: bytes, limit: int) -> bool:
        before, self.before = self.before, None
        if before is not None:
            before()
        if self.out[key] >= limit:
            return False
        self.out[key] += 1
        after, self.after = self.after, None
        if after is not None:
            after()
        return True

    def release(self, key: bytes) -> None:
        self.out[key] -= 1

    def count(self, key: bytes) -> int:
        return self.out[key]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def lease(stack: ExitStack, tmp_path: Path) -> SlotLease:
    segment = stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=64)))
    return SlotLease(
        KEY,
        LIMIT,
        Node("gw-1", "1", live_nodes=3),
        Counts(),
        SlotGrants(segment).find(KEY),
        False,
        wall_clock=lambda: 1.0,
    )


def tell(lease: SlotLease, now: float) -> SlotMessage:
    message = lease.draw(now, None, REPLY_S)
    assert message is not None
    return message


def grant(lease: SlotLease, granted: int, now: float, keep: int = LIMIT) -> None:
    lease.hear(tell(lease, now), now, SlotReply(granted, keep, 0, keep < LIMIT))


def test_granted_slots_are_used_and_no_more(lease: SlotLease) -> None:
    grant(lease, 3, 100.0)

    assert [True, True, True, False] == [lease.acquire(100.1, False) for _ in range(4)]


def test_slots_that_others_need_are_not_used(lease: SlotLease) -> None:
    grant(lease, 3, 100.0, keep=1)

    assert [True, False] == [lease.acquire(100.1, False) for _ in range(2)]
    assert lease.must_give_back()
    assert (1, 1) == ((told := tell(lease, 100.2)).held, told.used)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_slot_taken_while_it_is_given_back(lease: SlotLease, moment: str) -> None:
    grant(lease, 3, 100.0)
    told: list[SlotMessage] = []
    # Another worker, long idle, gives everything back between two steps of this one.
    setattr(lease.counted, moment, lambda: told.append(tell(lease, 101.0 + BUSY_S)))

    is_taken = lease.acquire(100.1, False)

    # It is told of, or it is not taken.
    assert is_taken == lease.counted.count(KEY) <= told[0].held
    assert lease.usable(101.0 + BUSY_S, False) == told[0].held


def test_idle_slot_is_given_back_at_once_if_another_node_needs_it(lease: SlotLease) -> None:
    grant(lease, 3, 100.0)
    lease.acquire(100.1, False)
    assert not lease.must_give_back()

    lease.hear(tell(lease, 100.2), 100.2, SlotReply(3, LIMIT, 0, 1))

    assert lease.must_give_back()
    assert 1 == tell(lease, 100.3).held
    # Its own queue may use it.
    lease.waiting = 1
    assert not lease.must_give_back()


def test_late_reply_does_not_count(lease: SlotLease) -> None:
    late = tell(lease, 100.0)
    newer = tell(lease, 100.0 + 2 * REPLY_S)
    lease.hear(newer, 100.1, SlotReply(2, LIMIT, 0, 0))

    lease.hear(late, 100.0, SlotReply(9, LIMIT, 0, 0))

    assert newer.number > late.number
    assert 2 == lease.usable(100.2, False)


def test_one_worker_of_a_node_asks_at_a_time(lease: SlotLease) -> None:
    message = tell(lease, 100.0)

    assert lease.draw(100.0 + REPLY_S / 2, None, REPLY_S) is None
    lease.forget(message)
    assert lease.draw(100.0 + REPLY_S / 2, None, REPLY_S) is not None


def test_refused_worker_asks_again_later(lease: SlotLease) -> None:
    lease.acquire(100.0, False)
    grant(lease, 0, 100.0)

    assert [False, True] == [lease.may_ask(100.0), lease.may_ask(100.0 + ASK_AGAIN_S)]


def test_old_lease_is_not_used(lease: SlotLease) -> None:
    grant(lease, 3, 100.0)

    assert [3, 0, 0] == [lease.usable(100.0 + age, False) for age in (USABLE_S - 0.1, USABLE_S, 1e6)]


def test_share_while_redis_is_away(lease: SlotLease) -> None:
    grant(lease, 9, 100.0)

    # What another worker heard counts a moment longer.
    assert [9, 3] == [lease.usable(100.0 + age, True) for age in (0.0, ALONE_S + 0.01)]


def test_refusing_gateway_has_no_share(lease: SlotLease) -> None:
    lease.refuses = True

    assert 0 == lease.usable(100.0, True)


def test_full_file_leaves_the_share(lease: SlotLease) -> None:
    lease.record = None

    assert 3 == lease.usable(100.0, False)
    assert not lease.may_ask(100.0)


def test_refused_request_is_a_need_for_a_moment(lease: SlotLease) -> None:
    lease.acquire(100.0, False)

    assert [1, 0] == [tell(lease, 100.0 + after).need for after in (0.1, MISSED_S)]


def test_waiting_requests_are_a_need(lease: SlotLease) -> None:
    lease.waiting = 5
    # This worker's queue and those of two others.
    for _ in range(3):
        lease.counted.acquire(KEY + b"!", 3)

    assert 7 == tell(lease, 100.0).need


def test_after_an_absence_no_more_than_the_share_is_asked_for(lease: SlotLease) -> None:
    lease.waiting, lease.used_at = 50, 100.0

    message = lease.draw(100.0, 3, REPLY_S)

    assert message is not None
    assert (3, 3) == (message.need, message.want)


counts = st.integers(0, 40)


@given(granted=counts, keep=counts, used=counts, want=counts, is_short=st.booleans())
def test_node_holds_on_to_what_it_uses(granted: int, keep: int, used: int, want: int, is_short: bool) -> None:
    held = held_after(NOTHING._replace(granted=granted, keep=keep, is_short=is_short), used, want)

    assert min(used, granted) <= held <= granted
    # Idle slots that others need go at once, others by halves.
    assert held <= max(used, keep)
    assert held <= max(used, want) + (0 if is_short else granted // 2)
