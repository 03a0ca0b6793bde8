"""Token buckets: the arithmetic, one process's buckets, and the buckets that all workers share.

A bucket of capacity n over a window starts full and refills evenly, one token every window / n. It is one number, the
time at which it will be full again (the generic cell rate algorithm, ITU-T I.371). Taking a token moves that time by
one token's time; the passing of time refills the bucket. So a caller with a slightly old clock reading is refused
rather than served twice. A changed limit keeps the share that is left: half full stays half full.

All times are integer nanoseconds. A token's time is rounded up, so the limit is never exceeded.

Taken tokens can be given back, all or a part; giving a negative amount takes more, down to empty.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

from attrs import frozen

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.guard import SlotGuard
from pg_trio.shared_memory.segment import BUCKET, BUCKET_SPARE, COPY_AT, SELECTOR, Segment

# (capacity, window in seconds) of each bucket of a key.
Limits = tuple[tuple[int, float], ...]
# (Whole tokens, seconds until the next one, rounded up) of each bucket of a key.
Left = list[tuple[int, int]]

NANO = 1_000_000_000
# A slot has room for two buckets: the minute's and the hour's.
MAX_BUCKETS = 2
MAX_WINDOW_S = 0xFFFF
# 10,000 keys, some 500 bytes each. With more, their places in the file are looked up again.
PLACES_KEPT = 10_000

# Time of being full again (ns, two buckets), windows (s, two buckets), the guard generation that wrote it.
_VALUE = struct.Struct("=qqHHBx")


@frozen
class Rate:
    """One limit, in nanoseconds: the time of one token, and the time in which an empty bucket refills."""

    window_s: int
    token_ns: int
    full_ns: int

    @classmethod
    def of(cls, capacity: int, window_s: float) -> Rate:
        """The rate of a limit. A capacity of 0 admits nothing, ever."""
        if not 1 <= window_s <= MAX_WINDOW_S or window_s != int(window_s):
            raise ValueError(f"a window is 1 to {MAX_WINDOW_S} whole seconds, not {window_s}")
        window_ns = int(window_s) * NANO
        token_ns = -(-window_ns // capacity) if capacity else window_ns
        return cls(int(window_s), token_ns, token_ns * capacity)


@frozen
class BucketState:
    """A bucket's state at a moment: whole tokens, and seconds until the next one and until it is full."""

    remaining: int
    next_s: float
    full_s: float


class BucketsTaken:
    """The result of a take. `refused` is None, or (index, wait in seconds) of the bucket with the longest wait; then
    nothing was taken."""

    __slots__ = ("_left", "refused")

    def __init__(self, refused: tuple[int, float] | None, left: Left) -> None:
        self.refused = refused
        self._left = left

    def left(self) -> Left:
        """What was left of each bucket after the take."""
        return self._left


def take_tokens(
    full_at: Sequence[int], rates: Sequence[Rate], now_ns: int, amount: int = 1
) -> tuple[Sequence[int], BucketsTaken]:
    """Take `amount` tokens from each bucket, or none from any: (times of being full again, the result).

    If nothing was taken, the times have no meaning.
    """
    taken: list[int] = []
    left: Left = []
    longest_ns, longest = 0, 0
    for moment, rate in zip(full_at, rates):  # noqa: B905 # as many of each, always; the check costs steps
        token_ns, empty_at = rate.token_ns, now_ns + rate.full_ns
        # More than empty: a clock was ahead, or the capacity was lowered. It is right again after one window.
        after = (now_ns if moment < now_ns else min(moment, empty_at)) + token_ns * amount
        room_ns = empty_at - after
        if room_ns < longest_ns:
            longest_ns, longest = room_ns, len(taken)
        taken.append(after)
        remaining, begun_ns = divmod(room_ns, token_ns)
        left.append((remaining, -((begun_ns - token_ns) // NANO)))
    if not longest_ns:
        return taken, BucketsTaken(None, left)
    return taken, BucketsTaken((longest, -longest_ns / NANO), left_of(full_at, rates, now_ns))


def take_of_two(
    full_at: Sequence[int], rates: Sequence[Rate], now_ns: int, amount: int = 1
) -> tuple[Sequence[int], BucketsTaken]:
    """The same for two buckets, which nearly all endpoints with limits have: without a loop, in two thirds of the
    time."""
    minute, hour = rates
    minute_ns, hour_ns = minute.token_ns, hour.token_ns
    minute_at, hour_at = full_at
    minute_at = (now_ns if minute_at < now_ns else minute_at) + minute_ns * amount
    hour_at = (now_ns if hour_at < now_ns else hour_at) + hour_ns * amount
    minute_room_ns, hour_room_ns = now_ns + minute.full_ns - minute_at, now_ns + hour.full_ns - hour_at
    if minute_room_ns < 0 or hour_room_ns < 0:
        return take_tokens(full_at, rates, now_ns, amount)
    minutes, hours = minute_room_ns // minute_ns, hour_room_ns // hour_ns
    left = [
        (minutes, -((minute_room_ns - (minutes + 1) * minute_ns) // NANO)),
        (hours, -((hour_room_ns - (hours + 1) * hour_ns) // NANO)),
    ]
    return (minute_at, hour_at), BucketsTaken(None, left)


def left_of(full_at: Sequence[int], rates: Sequence[Rate], now_ns: int) -> Left:
    """What is left in each bucket now."""
    left = []
    for moment, rate in zip(bound_times(full_at, rates, now_ns), rates, strict=True):
        remaining, begun_ns = divmod(rate.full_ns - moment + now_ns, rate.token_ns)
        left.append((remaining, -((begun_ns - rate.token_ns) // NANO)))
    return left


def bound_times(full_at: Sequence[int], rates: Sequence[Rate], now_ns: int) -> list[int]:
    """The times of being full again, as seen now: a bucket that is full has been so for no time, and one that is
    empty, or over-full of debt (see take_tokens), needs the time of an empty one."""
    return [min(max(moment, now_ns), now_ns + rate.full_ns) for moment, rate in zip(full_at, rates, strict=True)]


def give_tokens(full_at: Sequence[int], rates: Sequence[Rate], now_ns: int, amount: int) -> list[int]:
    """The times at which the buckets are full again after adding `amount` tokens; a negative amount takes, down to
    empty."""
    if amount >= 0:
        # A time in the past means full, so no more tokens come back than fit.
        return [max(moment - rate.token_ns * amount, 0) for moment, rate in zip(full_at, rates, strict=True)]
    return [
        min(max(moment, now_ns) - rate.token_ns * amount, now_ns + rate.full_ns)
        for moment, rate in zip(full_at, rates, strict=True)
    ]


def look(moment: int, rate: Rate, now_ns: int) -> BucketState:
    """The state of the bucket that will be full again at `moment`."""
    missing_ns = min(max(0, moment - now_ns), rate.full_ns)
    remaining = (rate.full_ns - missing_ns) // rate.token_ns
    next_ns = missing_ns % rate.token_ns or (rate.token_ns if missing_ns else 0)
    return BucketState(remaining, next_ns / NANO, missing_ns / NANO)


@lru_cache(maxsize=10_000)
def rates_of(limits: Limits) -> tuple[Rate, ...]:
    """The rates of a key's limits."""
    if not 1 <= len(limits) <= MAX_BUCKETS:
        raise ValueError(f"a key has 1 to {MAX_BUCKETS} buckets, not {len(limits)}")
    return tuple(Rate.of(capacity, window_s) for capacity, window_s in limits)


class LocalBuckets:
    """One process's buckets, by key and window. Synchronous, so under Trio a take is atomic without a lock."""

    def __init__(self) -> None:
        self._full_at: dict[tuple[bytes, int], int] = {}

    def take(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> BucketsTaken:
        """Take `amount` tokens from each bucket of the key, or none from any."""
        rates, now_ns = rates_of(limits), round(now * NANO)
        full_at = [self._full_at.get((key, rate.window_s), 0) for rate in rates]
        after, taken = take_tokens(full_at, rates, now_ns, amount)
        if taken.refused is None:
            self._keep(key, rates, after)
        return taken

    def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """Put `amount` tokens back into each bucket of the key; a negative amount takes, down to empty."""
        rates = rates_of(limits)
        full_at = [self._full_at.get((key, rate.window_s), 0) for rate in rates]
        self._keep(key, rates, give_tokens(full_at, rates, round(now * NANO), amount))

    def forget(self, key: bytes, limits: Limits) -> None:
        """Have no memory of these buckets any more: they are full."""
        for rate in rates_of(limits):
            self._full_at.pop((key, rate.window_s), None)

    def _keep(self, key: bytes, rates: Sequence[Rate], full_at: Sequence[int]) -> None:
        for rate, moment in zip(rates, full_at, strict=True):
            self._full_at[key, rate.window_s] = moment

    def peek(self, key: bytes, limits: Limits, now: float) -> list[BucketState]:
        """The state of each bucket of the key, in the order of `limits`."""
        now_ns = round(now * NANO)
        return [look(self._full_at.get((key, rate.window_s), 0), rate, now_ns) for rate in rates_of(limits)]


@frozen(slots=True, eq=False)
class _Place:
    """Where a key's buckets are, and their last limits.

    `count`: how many buckets. `windows`: the second is 0 where there is one bucket. `tail`: what is written behind the
    buckets' times, but for the generation.
    """

    guard: SlotGuard
    limits: Limits
    rates: tuple[Rate, ...]
    take: Callable[[Sequence[int], Sequence[Rate], int, int], tuple[Sequence[int], BucketsTaken]]
    count: int
    windows: tuple[int, int]
    tail: tuple[int, ...]

    @classmethod
    def of(cls, guard: SlotGuard, limits: Limits) -> _Place:
        rates = rates_of(limits)
        if len(rates) == MAX_BUCKETS:
            windows = tail = (rates[0].window_s, rates[1].window_s)
            return cls(guard, limits, rates, take_of_two, MAX_BUCKETS, windows, tail)
        return cls(guard, limits, rates, take_tokens, 1, (rates[0].window_s, 0), (0, rates[0].window_s, 0))


class SharedBuckets:
    """Buckets that all workers share. `now` is `time.monotonic()`, which is one clock for all processes of a machine.

    If a worker was stopped during a take and another took the key over, the first takes again. At most one token is
    lost, and none is given twice.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._places: dict[bytes, _Place] = {}

    def rebind(self, segment: Segment) -> None:
        """Move the buckets to another file; see renewal.py."""
        self._segment = segment
        self._places.clear()

    def take(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> BucketsTaken:
        """See LocalBuckets.take. Raises Overloaded if the key has no slot or cannot be held."""
        place = self._places.get(key)
        if place is None or place.limits is not limits:
            place = self._find(key, limits)
        guard, memory, now_ns = place.guard, self._segment.memory, round(now * NANO)
        while True:
            generation = guard.enter()
            offset = guard.offsets[generation & 1]
            # Read and written in place: only the key's holder writes here, so the valid copy stays what it is.
            selector = memory[offset + SELECTOR]
            value = _VALUE.unpack_from(memory, offset + COPY_AT[selector & 1])
            full_at: Sequence[int] = value[: place.count]
            if value[4] != generation or value[2:4] != place.windows:
                full_at = self._full_at(place, offset, generation)
            after, taken = place.take(full_at, place.rates, now_ns, amount)
            if taken.refused is None:
                selector = (selector + 1) & 0xFF
                _VALUE.pack_into(memory, offset + COPY_AT[selector & 1], *after, *place.tail, generation)
                memory[offset + SELECTOR] = selector
            # If nothing was taken, it does not matter who else has taken.
            if guard.leave(generation) or taken.refused is not None:
                return taken

    def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """See LocalBuckets.give. Never fails. If the key cannot be held, the tokens return by refilling.

        It is done once, even if another worker took the key over meanwhile: tokens may be lost, none is given twice.
        """
        try:
            place = self._find(key, limits)
            generation = place.guard.enter()
        except Overloaded:
            return
        offset = place.guard.offsets[generation & 1]
        full_at = give_tokens(self._full_at(place, offset, generation), place.rates, round(now * NANO), amount)
        self._segment.write(offset, _VALUE, *full_at, *place.tail, generation)
        place.guard.leave(generation)

    def peek(self, key: bytes, limits: Limits, now: float) -> list[BucketState]:
        """See LocalBuckets.peek. Takes no lock. Raises Overloaded if the key has no slot."""
        place, now_ns = self._find(key, limits), round(now * NANO)
        generation = place.guard.generation
        full_at = self._full_at(place, place.guard.offsets[generation & 1], generation)
        return [look(moment, rate, now_ns) for moment, rate in zip(full_at, place.rates, strict=True)]

    def _find(self, key: bytes, limits: Limits) -> _Place:
        place = self._places.get(key)
        # Compared by identity: a plan's limits are one object.
        if place is None or place.limits is not limits:
            if place is None and len(self._places) >= PLACES_KEPT:
                self._places.clear()
            guard = SlotGuard(self._segment, (BUCKET, BUCKET_SPARE), key) if place is None else place.guard
            place = self._places[key] = _Place.of(guard, limits)
        return place

    def _full_at(self, place: _Place, offset: int, generation: int) -> Sequence[int]:
        """The time at which each bucket is full again, by its window; 0 (full) for a bucket that was not limited
        before. `offset` is the generation's place."""
        value = self._segment.read(offset, _VALUE)
        if value[-1] != generation:
            value = self._newest(place.guard, generation)
        # Nearly always the windows are the ones that were written, so no dictionary is needed.
        if value[2:4] == place.windows:
            return value[: place.count]
        by_window = {value[2]: value[0], value[3]: value[1]}
        return [by_window.get(rate.window_s, 0) for rate in place.rates]

    def _newest(self, guard: SlotGuard, generation: int) -> tuple[int, ...]:
        """The newer value of the key's two places, because the current generation may not have written one yet."""
        values = [self._segment.read(offset, _VALUE) for offset in guard.offsets]
        # The second place starts with generation 0, which is even, and only the first place writes even generations.
        written = [value for place, value in enumerate(values) if value[-1] & 1 == place]
        # No valid value: another program overwrote the file.
        return min(written or values, key=lambda value: (generation - value[-1]) & 0xFF)
