"""A holder's limits in books of their own, which must be waited for: all are taken from or none, whichever refuses and
wherever the request is cancelled; one call for the buckets of the same books."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from attrs import define, field

from pg_trio.domain.chat import ChatRequest, Message
from pg_trio.domain.client_grant import ClientGrant
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import Candidate, Credential, Endpoint, Token, TokenLimits
from pg_trio.errors import RateLimited
from pg_trio.ledger.immediate import ImmediateLeases
from pg_trio.ledger.protocols import HolderBooks, Limits
from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.spend import LocalSpend
from pg_trio.stages.rate_limit import RateLimit
from tests.support.toy_ledger import ToyBuckets, ToyNetwork, ToySpend

GRANT = ClientGrant("t", 7, 2**40, frozenset({"a"}), "ada", rate_limit_per_minute=3)
REQUEST = ChatRequest(messages=(Message("user", "x" * 400),), body={})
# Of one take, there and back.
WAYS = 2


class Shown:
    """The call."""

    def show_limits(self, states: Sequence[LimitState]) -> None:
        self.left = {state.policy.name: state.remaining for state in states}


@define(eq=False)
class World:
    """A stage; `is_shared`: a holder is counted in the same books as its token, as in a cluster."""

    is_shared: bool
    network: ToyNetwork = field(factory=ToyNetwork)
    buckets: ToyBuckets = field(init=False)
    of_holders: ToyBuckets = field(init=False)
    stage: RateLimit = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.buckets = ToyBuckets(self.network)
        self.of_holders = self.buckets if self.is_shared else ToyBuckets(self.network)
        leases = ImmediateLeases(LeaseBook(LocalSpend()))
        books = HolderBooks(self.of_holders, ToySpend(self.network), leases, lambda key: True)

        async def open_holders() -> HolderBooks:
            return books

        self.stage = RateLimit(self.buckets, leases, lambda: 0.0, 100, open_holders)

    async def take(self, per_minute: int) -> None:
        """Raises RateLimited."""
        endpoint = Endpoint(
            uuid=UUID(int=2),
            slug="a",
            name="a",
            candidates=(Candidate(Credential("c", "openai", "http://127.0.0.1:1"), "m"),),
            rate_limit_per_minute=per_minute,
        )
        await self.stage.take(Shown(), token(), self.stage.compile(endpoint), REQUEST)

    def held(self, per_minute: int) -> tuple[int, int, int, int]:
        """What is left of the holder's, the token's two and the endpoint's limit."""
        number = (7).to_bytes(8, "big")
        of_holder = left(self.of_holders, GRANT.key, ((3, 60.0),))
        requests, tokens = (
            left(self.buckets, kind + number, ((limit, 60.0),)) for kind, limit in ((b"r", 9), (b"t", 999))
        )
        return of_holder, requests, tokens, left(self.buckets, UUID(int=2).bytes, ((per_minute, 60.0),))


def token() -> Token:
    return Token(
        id=7,
        project_uuid=UUID(int=1),
        name="ci",
        prefix="pg_tmp_",
        digest=bytes(32),
        env="live",
        scopes=("chat",),
        is_active=True,
        created_at=0.0,
        limits=TokenLimits(9, 999),
        grant=GRANT,
    )


def left(buckets: ToyBuckets, key: bytes, limits: Limits) -> int:
    (held,) = buckets.engine.peek(key, limits, 0.0)
    return held.remaining


@pytest.mark.parametrize(("is_shared", "calls"), [(True, 1), (False, 2)])
async def test_one_call_for_the_buckets_of_the_same_books(is_shared: bool, calls: int) -> None:
    world = World(is_shared)

    await world.take(5)

    assert WAYS * calls == world.network.ways
    # 100 tokens of the input and 100 of the answer.
    assert (2, 8, 799, 4) == world.held(5)


@pytest.mark.parametrize("is_shared", [True, False])
async def test_refused_by_the_last_takes_from_none(is_shared: bool) -> None:
    world = World(is_shared)
    await world.take(1)

    with pytest.raises(RateLimited):
        await world.take(1)

    assert (2, 8, 799, 0) == world.held(1)


@pytest.mark.parametrize("is_shared", [True, False])
async def test_refused_by_the_first_takes_from_none(is_shared: bool) -> None:
    world = World(is_shared)
    for _ in range(3):
        await world.take(9)

    with pytest.raises(RateLimited):
        await world.take(9)

    assert (0, 6, 399, 6) == world.held(9)


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("way", range(1, WAYS * 2 + 1))
async def test_cancelled_anywhere_takes_from_none(is_shared: bool, way: int) -> None:
    world = World(is_shared, ToyNetwork(cancel_at=way))

    with world.network.scope:
        await world.take(5)

    was_cancelled = world.network.scope.cancelled_caught
    assert was_cancelled == (way <= WAYS * (1 if is_shared else 2))
    assert ((3, 9, 999, 5) if was_cancelled else (2, 8, 799, 4)) == world.held(5)
