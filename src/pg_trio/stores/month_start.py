"""The initial spend of a new ledger: the log's sums of the months that may still be needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import tzinfo

from pg_trio.stages.budget import month_of, month_start

# A day: how long after a month's start the clock may still be set back into the month before. (A time server corrects
# by minutes, a wrong time zone is off by hours.) Summing a month of ten million rows takes a second.
SET_BACK_S = 86_400.0


async def sum_months(
    sum_since: Callable[[float], Awaitable[Mapping[bytes, int]]], now_s: float, zone: tzinfo
) -> dict[int, dict[bytes, int]]:
    """This month's spend by key, of what `sum_since` gives for a time (Unix seconds). The next month is added if there
    is spend in it (the clock was set back). The previous one is added if the clock may still return to it (SET_BACK_S).

    Raises StoreError if the log cannot be read.
    """
    start = month_start(now_s, zone)
    # 32 days after a month's start is in the next month.
    end = month_start(start + 32 * 86_400, zone)
    since_start, later = await sum_since(start), await sum_since(end)
    sums = {month_of(now_s, zone): subtract(since_start, later)}
    if later:
        sums[month_of(end, zone)] = dict(later)
    elif now_s - start < SET_BACK_S:
        last = month_start(start - 1, zone)
        sums[month_of(last, zone)] = subtract(await sum_since(last), since_start)
    return sums


def subtract(spent: Mapping[bytes, int], later: Mapping[bytes, int]) -> dict[bytes, int]:
    """`spent` minus `later`, for each key."""
    return {key: nano_usd - later.get(key, 0) for key, nano_usd in spent.items()}
