"""How long candidates take, told to the other nodes and heard from them (ledger/node_health.py has the rules).

Rules:
1. A request counts in this node's own histograms only. One task of each worker exchanges them with Redis, every
   EXCHANGE_S at most; nothing is sent where nothing is new.
2. Told are a node's own counts of the last one to two half windows, whole, so that a message that is lost or late does
   no harm: each change of the first few, then once they have changed by a tenth or are TELL_AGAIN old. What was heard
   is not told.
3. Own samples win. With ENOUGH of its own, a node uses these alone. With fewer, what others told fills up to ENOUGH, as
   if they had seen so many; a node without calls of its own goes by the others.
4. What was told counts for half a window, by Redis's clock. Then the estimate is the node's own again.
5. While Redis is away, each node has its own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.keys import digest_of, latencies_key
from pg_trio.cluster.redis.resp import Argument, Reply
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.ledger.node_health import FindCounts, LatencyCounts

logger = logging.getLogger("pg_trio.cluster")

LATENCIES = read_script("latencies")
# As for breakers.
EXCHANGE_S = 0.2
# A candidate of which this node knows too little is asked for again after this time. One of which it knows enough is
# looked at again after this time.
ASK_AGAIN_S, LOOK_AGAIN_S = 1.0, 5.0
# After a call, its candidate is looked at for so long.
FOLLOW_S = 5.0
# In half windows.
TELL_AGAIN = 0.25
# Of one message: it takes Redis 1 ms. The others are in the next one.
MOST_TOLD, MOST_ASKED = 50, 100
# Candidates that no endpoint has used here yet. Further ones are heard of when they are used.
MOST_EXPECTED = 1000
# So many samples are an estimate (racing.latency.LatencyRules.min_samples).
ENOUGH = 20
# What is told has no more: with larger numbers it says the same.
MOST_SAMPLES = 1000
# Parts of a sample, for what others have told.
PARTS = 1000
PAIRS = 2


@define(slots=True, eq=False)
class HeardTimes:
    """How long a candidate took at other nodes. `own`: this node's counts; None until an endpoint uses it."""

    key: str
    half_s: float
    own: LatencyCounts | None = None
    ask_at: float = -math.inf
    # The (bucket, count) of each node, and until when each one's count.
    _told: Sequence[tuple[float, Sequence[tuple[int, int]]]] = ()
    _counts: Sequence[int] = ()

    def hear(self, told: Sequence[tuple[float, Sequence[tuple[int, int]]]], now: float) -> None:
        """What other nodes have told: the age of each one's news, and its (bucket, count)."""
        self._told = [(now + self.half_s - age_s, pairs) for age_s, pairs in told]
        self._counts = ()

    def counts(self, size: int, now: float) -> Sequence[int]:
        """The counts of all others; empty if there are none."""
        fresh = [told for told in self._told if now < told[0]]
        if len(fresh) < len(self._told) or (fresh and not self._counts):
            self._told, counts = fresh, [0] * size
            for bucket, count in [pair for _, pairs in fresh for pair in pairs if pair[0] < size]:
                counts[bucket] += count
            self._counts = counts if any(counts) else ()
        return self._counts

    def is_needed(self, now: float) -> bool:
        """Whether this node has seen too little itself."""
        return self.own is None or sum(self.own.read(now)) < ENOUGH


@define(slots=True, eq=False)
class ToldCounts:
    """See LatencyCounts: this node's own counts, filled up with those of other nodes."""

    own: LatencyCounts
    heard: HeardTimes
    # The own counts' method: a request pays for no step of this class.
    add: Callable[[int, float], None]
    # There was a call then, whose time is counted when it ends.
    read_at: float = -math.inf
    # How many samples were told, and when.
    told: int = 0
    told_at: float = -math.inf

    def read(self, now: float) -> Sequence[int]:
        """See LatencyCounts."""
        self.read_at = now
        own = self.own.read(now)
        if sum(own) >= ENOUGH:
            return own
        heard = self.heard.counts(len(own), now)
        return fill_up(own, heard) if heard else own

    def news(self, now: float) -> str | None:
        """What is to be told of it; None if that was told already."""
        counts = self.own.read(now)
        samples = sum(counts)
        change = abs(samples - self.told)
        is_old = samples > 0 and now >= self.told_at + TELL_AGAIN * self.heard.half_s
        if not is_old and (not change or (self.told >= ENOUGH and change * 10 <= self.told)):
            return None
        self.told, self.told_at = samples, now
        return write_counts(counts, samples)


def fill_up(own: Sequence[int], heard: Sequence[int]) -> Sequence[int]:
    """Own counts, and what others have seen as so many samples as are missing. In parts of a sample, if need be."""
    count, others = sum(own), sum(heard)
    missing = ENOUGH - count
    if others <= missing:
        return [mine + theirs for mine, theirs in zip(own, heard, strict=True)]
    weight = missing * PARTS
    return [mine * PARTS + -(-theirs * weight // others) for mine, theirs in zip(own, heard, strict=True)]


def write_counts(counts: Sequence[int], samples: int) -> str:
    """Counts as "bucket:count …", of MOST_SAMPLES or few more."""
    over = -(-samples // MOST_SAMPLES) or 1
    return " ".join([f"{bucket}:{-(-count // over)}" for bucket, count in enumerate(counts) if count])


def read_counts(text: str) -> Sequence[tuple[int, int]]:
    """What `write_counts` wrote. Raises ValueError."""
    pairs = [part.split(":", 1) for part in text.split()]
    return [(int(bucket), int(count)) for bucket, count in pairs]


@define(eq=False)
class ToldLatencies:
    """Finds the histograms of candidates, and exchanges them. `identities`: by credential, what it is beside its name.
    `clock`: the one of the estimates."""

    find_own: FindCounts
    client: RedisClient
    node: Node
    identities: Mapping[str, bytes]
    clock: Callable[[], float] = trio.current_time
    _found: list[ToldCounts] = field(factory=list)
    _heard: dict[str, HeardTimes] = field(factory=dict)

    def expect(self, names: Iterable[tuple[str, ...]], half_s: float) -> None:
        """Hear of these candidates before an endpoint uses them, of MOST_EXPECTED at most."""
        for name in islice(names, MOST_EXPECTED):
            self._hear_of(name, half_s)

    def find(self, name: tuple[str, ...], buckets: int, half_s: float) -> LatencyCounts | None:
        """See FindCounts: of (kind, percentile, credential, model)."""
        own = self.find_own(name, buckets, half_s)
        if own is None:
            return None
        heard = self._hear_of(name, half_s)
        heard.own = own
        found = ToldCounts(own, heard, own.add)
        self._found.append(found)
        return found

    def _hear_of(self, name: tuple[str, ...], half_s: float) -> HeardTimes:
        digest = digest_of(name, self.identities.get(name[2], b""))
        return self._heard.setdefault(digest, HeardTimes(latencies_key(digest), half_s))

    async def run(self) -> None:
        """Exchange until cancelled."""
        while True:
            await trio.sleep(EXCHANGE_S)
            try:
                await self.exchange()
            except EngineAway as away:
                logger.debug("latencies were not exchanged: %s", away)

    async def exchange(self) -> None:
        """Tell and hear, once. Raises EngineAway."""
        now = self.clock()
        told, asked = self._news(now), self._unknown(now)
        if not told and not asked:
            return
        of_told = [one.heard for one, _ in told]
        keys = [one.key for one in (*of_told, *asked)]
        keep_ms = round(max([one.half_s for one in (*of_told, *asked)]) * 1000)
        arguments: list[Argument] = [self.node.id, len(told), keep_ms, *[text for _, text in told]]
        try:
            reply = await self.client.run_script(LATENCIES, keys, arguments)
        except EngineAway:
            for one, _ in told:
                one.told_at, one.read_at = -math.inf, now
            raise
        now = self.clock()
        for times, heard in zip(asked, reply, strict=False):
            times.hear(read_heard(heard), now)

    def _news(self, now: float) -> list[tuple[ToldCounts, str]]:
        """What is to be told. The rest of too much is told next time."""
        told: list[tuple[ToldCounts, str]] = []
        for one in self._found:
            if now < one.read_at + FOLLOW_S and len(told) < MOST_TOLD:
                text = one.news(now)
                if text is not None:
                    told.append((one, text))
        return told

    def _unknown(self, now: float) -> list[HeardTimes]:
        """Candidates of which this node has seen too little. Those first that were not looked at for longest."""
        due = sorted([one for one in self._heard.values() if now >= one.ask_at], key=lambda one: one.ask_at)
        asked = []
        for one in due[:MOST_ASKED]:
            is_needed = one.is_needed(now)
            one.ask_at = now + (ASK_AGAIN_S if is_needed else LOOK_AGAIN_S)
            if is_needed:
                asked.append(one)
        return asked


def read_heard(reply: Reply) -> list[tuple[float, Sequence[tuple[int, int]]]]:
    """(Age in seconds, counts) of each node. What is not of this release's form is left out."""
    parts = reply if isinstance(reply, list) else []
    heard = []
    for start in range(0, len(parts) - 1, PAIRS):
        age, counts = parts[start : start + PAIRS]
        if isinstance(age, bytes) and isinstance(counts, bytes):
            try:
                heard.append((int(age) / 1000, read_counts(counts.decode())))
            except ValueError:
                continue
    return heard
