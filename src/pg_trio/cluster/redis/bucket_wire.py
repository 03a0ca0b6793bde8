"""Buckets on the way to Redis and back: arguments of the scripts, and their replies as what was taken."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from attrs import frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.keys import MARK, bucket_key
from pg_trio.cluster.redis.resp import Argument, Reply
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.ledger.protocols import Limits
from pg_trio.shared_memory.token_bucket import NANO, BucketsTaken, Rate, left_of, rates_of

TAKE, GIVE = read_script("take"), read_script("give")

MICRO_NS = 1000
# A bucket may owe what refills in this time: so long it may refuse everything (take.lua). Limits are to be exact again
# within 5 s of Redis's return.
MOST_OWED_S = 3.0


@frozen(slots=True, eq=False)
class BucketGroup:
    """The buckets of one key, as Redis knows them. `hold_back_s`: so much of what refills in this time is never taken
    at once (bucket_leases.py)."""

    keys: tuple[str, ...]
    rates: tuple[Rate, ...]
    full_ns: tuple[int, ...]

    @classmethod
    def of(cls, key: bytes, limits: Limits, hold_back_s: float = 0.0) -> BucketGroup:
        """The group of a key with these limits."""
        rates = rates_of(limits)
        held_ns = int(hold_back_s * NANO)
        full_ns = tuple(rate.full_ns - min(held_ns, rate.full_ns) for rate in rates)
        return cls(tuple(bucket_key(key, rate.window_s) for rate in rates), rates, full_ns)

    def fit(self, amount: int) -> int:
        """The tokens to take for an amount. One that a full bucket has is taken, also where a part is held back."""
        pairs = list(zip(self.full_ns, self.rates, strict=True))
        if amount > min(rate.full_ns // rate.token_ns for _, rate in pairs):
            return amount
        return min(amount, *(full // rate.token_ns for full, rate in pairs))


@frozen(slots=True)
class Wanted:
    """Tokens that are wanted of a group, at least and at most."""

    group: BucketGroup
    least: int
    most: int


@frozen(slots=True)
class TakeReply:
    """What Redis said. `granted`: tokens by group; `missing_ns`: of each bucket, group by group, afterwards."""

    is_refused: bool
    granted: tuple[int, ...]
    missing_ns: tuple[tuple[int, ...], ...]


def take_arguments(wanted: Sequence[Wanted], mark: bytes) -> tuple[list[Argument], list[Argument]]:
    """Keys and arguments of the script `take`. `mark`: see RedisData."""
    keys: list[Argument] = []
    arguments: list[Argument] = []
    for number, one in enumerate(wanted, 1):
        keys += one.group.keys
        for rate, full_ns in zip(one.group.rates, one.group.full_ns, strict=True):
            arguments += (_micro(rate.token_ns), _micro(full_ns), one.least, one.most, number)
    return [*keys, MARK], [*arguments, mark]


def give_arguments(given: Sequence[tuple[BucketGroup, int]]) -> tuple[list[Argument], list[Argument]]:
    """Keys and arguments of the script `give`."""
    keys: list[Argument] = []
    arguments: list[Argument] = []
    for group, tokens in given:
        keys += group.keys
        for rate, full_ns in zip(group.rates, group.full_ns, strict=True):
            arguments += (_micro(rate.token_ns), _micro(full_ns), tokens)
    return keys, arguments


def owed_arguments(
    owed: Sequence[tuple[BucketGroup, Sequence[int]]], *, may_owe: bool
) -> tuple[list[Argument], list[Argument]]:
    """Keys and arguments of the script `give`, which takes so many tokens of each bucket. `may_owe`: also of an empty
    one."""
    keys: list[Argument] = []
    arguments: list[Argument] = []
    owed_ns = int(MOST_OWED_S * NANO) if may_owe else 0
    for group, tokens in owed:
        keys += group.keys
        for rate, full_ns, amount in zip(group.rates, group.full_ns, tokens, strict=True):
            arguments += (_micro(rate.token_ns), _micro(full_ns + min(owed_ns, full_ns)), -amount)
    return keys, arguments


def read_take(reply: Sequence[Reply], wanted: Sequence[Wanted]) -> TakeReply:
    """The reply of the script `take`. Raises EngineAway if it is none."""
    numbers = [number for number in reply if isinstance(number, int)]
    buckets = sum(len(one.group.keys) for one in wanted)
    if len(numbers) != len(reply) or len(numbers) != 1 + len(wanted) + buckets:
        raise EngineAway("Redis answered a script with something else")
    at = 1 + len(wanted)
    missing = []
    for one in wanted:
        missing.append(tuple(numbers[at : at + len(one.group.keys)]))
        at += len(one.group.keys)
    return TakeReply(bool(numbers[0]), tuple(numbers[1 : 1 + len(wanted)]), tuple(missing))


def state_taken(group: BucketGroup, missing_ns: Sequence[int], now_ns: int, refused_amount: int = 0) -> BucketsTaken:
    """What a request learns of a group: a take, or the refusal of `refused_amount` tokens."""
    # What is owed as well makes a wait longer, but none is left either way.
    full_at = [now_ns + min(missing, rate.full_ns) for missing, rate in zip(missing_ns, group.rates, strict=True)]
    refused = find_refusal(group, missing_ns, refused_amount) if refused_amount else None
    return BucketsTaken(refused, left_of(full_at, group.rates, now_ns))


def find_refusal(group: BucketGroup, missing_ns: Sequence[int], amount: int) -> tuple[int, float] | None:
    """(Index, wait in seconds) of the bucket with the longest wait for so many tokens; None if they are there."""
    waits = [
        missing + rate.token_ns * amount - full_ns
        for missing, rate, full_ns in zip(missing_ns, group.rates, group.full_ns, strict=True)
    ]
    longest_ns = max(waits)
    return (waits.index(longest_ns), longest_ns / NANO) if longest_ns > 0 else None


@lru_cache(maxsize=10_000)
def _micro(nanoseconds: int) -> str:
    """Microseconds as the scripts read them."""
    whole, rest = divmod(nanoseconds, MICRO_NS)
    return f"{whole}.{rest:03d}"
