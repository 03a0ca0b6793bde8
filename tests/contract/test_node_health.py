"""The contract of what a race knows and rations (ledger/node_health.py), over what one process keeps, what all workers
share, and a toy that exchanges its records with other nodes. No step of any of them waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from pg_trio.cluster.redis.told_latencies import HeardTimes, ToldCounts
from pg_trio.ledger.node_health import BreakerRecords, Hedges, LatencyCounts, LeaseCounter, RetryBuckets
from pg_trio.racing.breaker import Record
from pg_trio.racing.hedge_budget import HedgeBudget, HedgeRules
from pg_trio.racing.latency import BUCKETS, OwnCounts
from pg_trio.racing.retry_budget import OwnBuckets
from pg_trio.racing.stored_breaker import LocalRecords
from pg_trio.shared_memory.breaker_records import SharedBreakers
from pg_trio.shared_memory.hedge_counts import SharedHedges
from pg_trio.shared_memory.latency_counts import SharedLatencies
from pg_trio.shared_memory.leases import CallLeases, LeaseBook
from pg_trio.shared_memory.retry_buckets import SharedRetryBuckets
from pg_trio.shared_memory.segment import Segment
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import LocalSpend, SharedSpend
from pg_trio.shared_memory.token_bucket import SharedBuckets
from tests.support.toy_ledger import ToyHub, ToyRecords

RULES = HedgeRules(share=0.5, reserve=2.0, min_per_s=0.0)
NAME = ("target", "openai-main", "gpt")
OPEN = Record(
    generation=3,
    why=1,
    in_row=0,
    level=1,
    changed_at=50.0,
    open_for_s=60.0,
    probe_for_s=0.0,
    window_began_at=40.0,
    calls=5,
    failed=3,
    slow=1,
    older_calls=2,
    older_failed=1,
    older_slow=0,
)


@define
class Kept:
    """One implementation of each protocol. `pass_on` lets another user of the same records see what was written."""

    breakers: BreakerRecords
    others_breakers: BreakerRecords
    counts: LatencyCounts
    hedges: Hedges
    retries: RetryBuckets
    leases: LeaseCounter
    pass_on: Callable[[], None] = field(default=lambda: None)


def kept_alone(stack: ExitStack, folder: Path) -> Kept:
    records = LocalRecords()
    leases = CallLeases(LeaseBook(LocalSpend()))
    return Kept(records, records, OwnCounts(60.0), HedgeBudget(RULES, 0.0), OwnBuckets(), leases)


def kept_by_workers(stack: ExitStack, folder: Path) -> Kept:
    segment: Segment = stack.enter_context(closing(open_segment(folder / "shared.mem", slots=4096)))
    spend = stack.enter_context(closing(SharedSpend(segment)))
    counts = SharedLatencies(segment, 0.0, {}).find(("answer", *NAME), BUCKETS, 60.0)
    assert counts is not None
    return Kept(
        SharedBreakers(segment, 0.0, {}),
        SharedBreakers(segment, 0.0, {}),
        counts,
        SharedHedges(segment, RULES.share, RULES.reserve, RULES.min_per_s, 0.0),
        SharedRetryBuckets(SharedBuckets(segment), 0.0),
        CallLeases(LeaseBook(spend)),
    )


def kept_by_nodes(stack: ExitStack, folder: Path) -> Kept:
    hub = ToyHub()
    here, there = ToyRecords(hub), ToyRecords(hub)

    def exchange() -> None:
        here.tell_and_hear()
        there.tell_and_hear()

    alone = kept_alone(stack, folder)
    # Told to nodes that have not told anything.
    counts = ToldCounts(alone.counts, HeardTimes("key", 60.0), alone.counts.add)
    return Kept(here, there, counts, alone.hedges, alone.retries, alone.leases, exchange)


@pytest.fixture(params=[kept_alone, kept_by_workers, kept_by_nodes])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    with ExitStack() as stack:
        yield request.param(stack, tmp_path)


def find(records: BreakerRecords, name: tuple[str, ...] = NAME) -> int:
    place = records.find(name)
    assert place is not None
    return place


def write(records: BreakerRecords, place: int, record: Record) -> None:
    assert records.hold()
    records.write(place, record)
    records.release()


def test_record_is_read_as_it_was_written(kept: Kept) -> None:
    place, other = find(kept.breakers), find(kept.breakers, ("credential", "openai-main"))

    write(kept.breakers, place, OPEN)

    assert pytest.approx(OPEN) == Record(*kept.breakers.read(place))
    assert 0 == Record(*kept.breakers.read(other)).why


def test_changes_are_even_at_rest(kept: Kept) -> None:
    place = find(kept.breakers)
    before = kept.breakers.changes()

    write(kept.breakers, place, OPEN)

    assert [0, 0] == [before % 2, kept.breakers.changes() % 2]


def test_others_see_a_state_that_changed(kept: Kept) -> None:
    place, theirs = find(kept.breakers), find(kept.others_breakers)
    if kept.others_breakers is kept.breakers:
        return
    seen = kept.others_breakers.changes()

    write(kept.breakers, place, OPEN)
    kept.pass_on()

    heard = Record(*kept.others_breakers.read(theirs))
    assert kept.others_breakers.changes() != seen
    assert pytest.approx((OPEN.why, OPEN.changed_at, OPEN.open_for_s)) == (
        heard.why,
        heard.changed_at,
        heard.open_for_s,
    )


def test_counts_are_added(kept: Kept) -> None:
    for bucket in (3, 3, 70):
        kept.counts.add(bucket, 1.0)

    counts = kept.counts.read(2.0)

    assert (2, 1, 3) == (counts[3], counts[70], sum(counts))


def test_hedges_are_a_share_beyond_the_reserve(kept: Kept) -> None:
    first = [kept.hedges.withdraw(1.0) for _ in range(3)]
    kept.hedges.deposit()
    kept.hedges.deposit()

    assert ([True, True, False], [True, False]) == (first, [kept.hedges.withdraw(1.0) for _ in range(2)])


def test_retries_are_so_many_a_second(kept: Kept) -> None:
    taken = [kept.retries.take("openai-main", 10, 5.0) for _ in range(11)]

    assert [True] * 10 + [False] == taken
    assert kept.retries.take("another", 10, 5.0)
    assert kept.retries.take("openai-main", 10, 5.2)


def test_slots_are_counted(kept: Kept) -> None:
    acquired = [kept.leases.acquire(b"key", 2) for _ in range(3)]
    kept.leases.release(b"key")

    assert ([True, True, False], 1) == (acquired, kept.leases.count(b"key"))


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_only_heard_is_not_told() -> None:
    hub = ToyHub()
    here, there = ToyRecords(hub), ToyRecords(hub)
    places = find(here), find(there)
    write(here, places[0], OPEN)
    for node in (here, there, here, there):
        node.tell_and_hear()

    hub.told.clear()
    there.tell_and_hear()

    assert {} == hub.told
    assert (0, 1) == (here.heard, there.heard)


async def test_nodes_exchange_by_a_task_of_their_own(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    hub = ToyHub()
    here, there = ToyRecords(hub), ToyRecords(hub)
    place, theirs = find(here), find(there)
    for node in (here, there):
        nursery.start_soon(node.exchange)

    write(here, place, OPEN)
    await trio.sleep(1)

    assert 1 == Record(*there.read(theirs)).why
