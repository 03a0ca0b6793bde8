"""What a new ledger begins with: the spend of the months that may be asked for, as the log knows it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo

from pg_trio.stages.budget import month_of, month_start
from pg_trio.stores.protocols import LogBook

# A day: so long after a month's start its clock may still be set back over it. (The time server's steps are of minutes,
# a wrong time zone's of hours.) Summing a month takes a second where it has ten million rows.
SET_BACK_S = 86_400.0


async def sum_months(log: LogBook, now_s: float, zone: tzinfo) -> dict[int, dict[bytes, int]]:
    """This month's spend by endpoint; and the next one's if the log has any (the clock was set back), or the last one's
    where that may be the month again (SET_BACK_S). Raises StoreError if the log cannot be read."""

    async def sum_since(at: float) -> dict[bytes, int]:
        return {uuid.bytes: nano_usd for uuid, nano_usd in (await log.spend_since(at)).items()}

    start = month_start(now_s, zone)
    # 32 days after a month's start is in the next one.
    end = month_start(start + 32 * 86_400, zone)
    since_start, later = await sum_since(start), await sum_since(end)
    sums = {month_of(now_s, zone): subtract(since_start, later)}
    if later:
        sums[month_of(end, zone)] = later
    elif now_s - start < SET_BACK_S:
        last = month_start(start - 1, zone)
        sums[month_of(last, zone)] = subtract(await sum_since(last), since_start)
    return sums


def subtract(spent: Mapping[bytes, int], later: Mapping[bytes, int]) -> dict[bytes, int]:
    """What was spent, without what was spent later."""
    return {key: nano_usd - later.get(key, 0) for key, nano_usd in spent.items()}
