"""The contract of a ledger, over two that never wait, one that always does, and a cluster; and what a request leaves
in it when it is cancelled at any of its steps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

from pg_trio.domain.chat import ChatRequest, Message, Usage
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import Candidate, Credential, Endpoint, Token, TokenLimits
from pg_trio.errors import RateLimited
from pg_trio.ledger.immediate import ImmediateBuckets, ImmediateLeases, ImmediateSpend
from pg_trio.ledger.protocols import MUST_WAIT, Buckets, Leases, SpendBook
from pg_trio.ledger.settling import SETTLE_LIMIT_S, give_back
from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import LocalSpend, SharedSpend
from pg_trio.shared_memory.token_bucket import LocalBuckets, SharedBuckets
from pg_trio.stages.budget import Budget
from pg_trio.stages.rate_limit import RateLimit
from tests.support.engines import RedisServer
from tests.support.postgres_ledger import open_postgres_ledger
from tests.support.redis_ledger import open_redis_ledger
from tests.support.toy_ledger import ToyEngine

ENDPOINT_KEY, TOKEN_KEY = bytes(16), b"c" + bytes(8)
MINUTE = ((10, 60.0),)
MONTH = 24_000


@frozen
class Books:
    """One implementation of each protocol."""

    buckets: Buckets
    spend: SpendBook
    leases: Leases


MakeBooks = Callable[[ExitStack, Path], Books]


@frozen
class Servers:
    redis: RedisServer
    postgres_url: str


def local_books(stack: ExitStack, folder: Path) -> Books:
    leases = ImmediateLeases(LeaseBook(LocalSpend()))
    return Books(ImmediateBuckets(LocalBuckets()), ImmediateSpend(LocalSpend()), leases)


def shared_books(stack: ExitStack, folder: Path) -> Books:
    segment = stack.enter_context(closing(open_segment(folder / "shared.mem", slots=1024)))
    spend = stack.enter_context(closing(SharedSpend(segment)))
    leases = ImmediateLeases(LeaseBook(spend))
    return Books(ImmediateBuckets(SharedBuckets(segment)), ImmediateSpend(spend), leases)


def waiting_books(stack: ExitStack, folder: Path) -> Books:
    engine = ToyEngine()
    return Books(engine.buckets, engine.spend, engine.leases)


@pytest.fixture(params=[local_books, shared_books, waiting_books, "cluster"])
def maker(request: pytest.FixtureRequest) -> MakeBooks | Servers:
    """What makes the books, or the servers that keep them."""
    if request.param == "cluster":
        return Servers(request.getfixturevalue("redis"), request.getfixturevalue("postgres_url"))
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def books(maker: MakeBooks | Servers, tmp_path: Path, nursery: trio.Nursery, stack: ExitStack) -> Books:
    if not isinstance(maker, Servers):
        return maker(stack, tmp_path)
    redis = await open_redis_ledger(nursery, maker.redis, stack, tmp_path)
    postgres = await open_postgres_ledger(nursery, maker.postgres_url, stack, tmp_path)
    return Books(redis.buckets, postgres.spend, redis.permits)


# ── the contract ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_bucket_gives_what_it_has(books: Books) -> None:
    taken = [await books.buckets.take(ENDPOINT_KEY, MINUTE, 0.0) for _ in range(11)]

    assert [None] * 10 == [one.refused for one in taken[:10]]
    # Redis's clock goes on meanwhile.
    assert pytest.approx((0, 6.0), abs=1.0) == taken[10].refused
    assert [(0, 6)] == taken[10].left()


async def test_refused_take_takes_from_no_bucket(books: Books) -> None:
    both = ((10, 60.0), (2, 3600.0))
    refused = await books.buckets.take(ENDPOINT_KEY, both, 0.0, 3)

    held = await books.buckets.peek(ENDPOINT_KEY, both, 0.0)

    assert 1 == (refused.refused or (None,))[0]
    assert [10, 2] == [one.remaining for one in held]


async def test_given_tokens_are_there_again(books: Books) -> None:
    await books.buckets.take(ENDPOINT_KEY, MINUTE, 0.0, 8)
    await books.buckets.give(ENDPOINT_KEY, MINUTE, 0.0, 5)
    await books.buckets.give(ENDPOINT_KEY, MINUTE, 0.0, -1)

    held = await books.buckets.peek(ENDPOINT_KEY, MINUTE, 0.0)

    assert [6] == [one.remaining for one in held]


async def test_reservations_never_pass_a_budget(books: Books) -> None:
    stood = [await books.spend.reserve(ENDPOINT_KEY, MONTH, 40, 100) for _ in range(3)]
    await books.spend.settle(ENDPOINT_KEY, MONTH, 40, 10)

    assert [None, None, (0, 80)] == stood
    assert (10, 40) == await books.spend.reserve(ENDPOINT_KEY, MONTH, 51, 100)
    assert await books.spend.reserve(ENDPOINT_KEY, MONTH, 50, 100) is None


async def test_spend_is_read_without_changing_it(books: Books) -> None:
    for _ in range(2):
        await books.spend.reserve(ENDPOINT_KEY, MONTH, 40, 100)
    await books.spend.settle(ENDPOINT_KEY, MONTH, 40, 10)

    read = [await books.spend.read([ENDPOINT_KEY, b"o" * 16], MONTH) for _ in range(2)]

    # What a node has leased counts as reserved, until it tells what of it is spent, which it may do between the two.
    assert all(50 <= sum(one[ENDPOINT_KEY]) <= 80 for one in read)
    assert {(0, 0)} == {one[b"o" * 16] for one in read}
    assert await books.spend.reserve(ENDPOINT_KEY, MONTH, 50, 100) is None


async def test_leases_are_bounded_and_come_back(books: Books) -> None:
    acquired = [await books.leases.acquire(TOKEN_KEY, 2) for _ in range(3)]
    out = await books.leases.count(TOKEN_KEY)
    await books.leases.release(TOKEN_KEY)

    assert ([True, True, False], 2) == (acquired, out)
    assert 1 == await books.leases.count(TOKEN_KEY)
    assert await books.leases.acquire(TOKEN_KEY, 2)


async def test_form_that_must_wait_did_nothing(books: Books) -> None:
    answers = (
        books.buckets.take_nowait(ENDPOINT_KEY, MINUTE, 0.0),
        books.spend.reserve_nowait(ENDPOINT_KEY, MONTH, 1, 1),
        books.leases.acquire_nowait(TOKEN_KEY, 1),
    )
    waits = [answer is MUST_WAIT for answer in answers]

    # What answered now has done it; what must wait has not.
    (held,) = await books.buckets.peek(ENDPOINT_KEY, MINUTE, 0.0)
    stood = await books.spend.reserve(ENDPOINT_KEY, MONTH, 1, 1)
    left = [held.remaining, await books.leases.count(TOKEN_KEY), stood]
    assert left == [10 if waits[0] else 9, 0 if waits[2] else 1, None if waits[1] else (0, 1)]


# ── a request that is cancelled ──────────────────────────────────────────────────────────────────────────────────────


class Client:
    """Is told nothing that matters here."""

    def show_limits(self, states: Sequence[LimitState]) -> None:
        pass


LIMITED = Endpoint(
    uuid=UUID(int=2),
    slug="a",
    name="a",
    candidates=(Candidate(Credential("c", "openai", "http://127.0.0.1:1"), "m"),),
    rate_limit_per_minute=10,
    monthly_budget_usd=Decimal("25"),
    estimated_cost_per_1k_tokens_usd=Decimal("1"),
)
TOKEN = Token(
    id=7,
    project_uuid=UUID(int=1),
    name="ci",
    prefix="pg_live_AAAAAAAA",
    digest=bytes(32),
    env="live",
    scopes=("chat",),
    is_active=True,
    created_at=0.0,
    limits=TokenLimits(10, 10_000, 1),
)
REQUEST = ChatRequest(messages=(Message("user", "x" * 400),), body={})
TOKEN_TOKENS = b"t" + (7).to_bytes(8, "big")
TOKEN_LEASES = b"c" + (7).to_bytes(8, "big")


def stages_over(engine: ToyEngine) -> tuple[RateLimit, Budget]:
    rate_limit = RateLimit(engine.buckets, engine.leases, lambda: 0.0, default_output_tokens=1_000)
    return rate_limit, Budget(engine.spend, lambda: 1_763_800_000.0, default_output_tokens=1_000)


async def one_request(engine: ToyEngine) -> None:
    """What the pipeline does with the ledger, for a session's turn."""
    rate_limit, budget = stages_over(engine)
    limits, spend = rate_limit.compile(LIMITED), budget.compile(LIMITED)
    assert rate_limit.take_nowait(Client(), TOKEN, limits) is None
    quota = await rate_limit.take(Client(), TOKEN, limits, REQUEST)
    async with quota:
        assert budget.reserve_nowait(spend, REQUEST) is None
        reservation = await budget.reserve(spend, REQUEST)
        async with reservation:
            await budget.add_history(spend, REQUEST, 400, reservation)
            await quota.grow(100)
            reservation.settle(Usage(90, 10))
            quota.settle(Usage(90, 10))


def lent_by(engine: ToyEngine) -> tuple[int, int, int]:
    """Of a model's tokens, places at once, and reserved dollars: what is out."""
    (held,) = engine.buckets.engine.peek(TOKEN_TOKENS, ((10_000, 60.0),), 0.0)
    rows = engine.spend.engine._rows.get(LIMITED.uuid.bytes, {})
    return 10_000 - held.remaining, engine.leases.engine.count(TOKEN_LEASES), sum(row[1] for row in rows.values())


async def test_request_that_ends_well_leaves_its_usage() -> None:
    engine = ToyEngine()

    await one_request(engine)

    assert (100, 0, 0) == lent_by(engine)
    # Each of its steps waited, there and back: a take of three keys, a lease, two reservations, one more take; and back
    # again.
    assert 16 == engine.network.ways


@pytest.mark.parametrize("way", range(1, 17))
async def test_request_cancelled_anywhere_leaves_nothing(way: int) -> None:
    engine = ToyEngine()
    engine.network.cancel_at = way

    with engine.network.scope as scope:
        await one_request(engine)

    tokens, places, reserved = lent_by(engine)
    assert (0, 0) == (places, reserved)
    # Only what was settled before the cancellation came is used.
    assert tokens in (0, 100)
    assert scope.cancelled_caught or way > 10
    assert way <= engine.network.ways


@pytest.mark.parametrize("way", range(1, 5))
async def test_take_cancelled_anywhere_takes_nothing(way: int) -> None:
    engine = ToyEngine()
    engine.network.cancel_at = way
    rate_limit, _ = stages_over(engine)

    with engine.network.scope as scope:
        await rate_limit.take(Client(), TOKEN, rate_limit.compile(LIMITED), REQUEST)

    requests = engine.buckets.engine.peek(LIMITED.uuid.bytes, ((10, 60.0),), 0.0)
    assert scope.cancelled_caught
    assert (0, 0, 0) == lent_by(engine)
    assert [10] == [one.remaining for one in requests]


async def test_refused_request_gives_back_what_it_took() -> None:
    engine = ToyEngine()
    rate_limit, _ = stages_over(engine)
    narrow = rate_limit.compile(LIMITED)
    engine.buckets.engine.take(LIMITED.uuid.bytes, ((10, 60.0),), 0.0, 10)

    with pytest.raises(RateLimited):
        await rate_limit.take(Client(), TOKEN, narrow, REQUEST)

    assert (0, 0, 0) == lent_by(engine)


# ── the bound of giving back ─────────────────────────────────────────────────────────────────────────────────────────


async def test_giving_back_is_shielded(autojump_clock: MockClock) -> None:
    given: list[float] = []

    async def give() -> None:
        await trio.sleep(3)
        given.append(trio.current_time())

    with trio.move_on_after(1):
        await give_back(give)

    assert [3.0] == given


async def test_giving_back_is_bounded(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)

    await give_back(trio.sleep_forever)

    assert SETTLE_LIMIT_S == trio.current_time()
    assert ["the ledger did not take back what a request had set aside within 5 s"] == caplog.messages
