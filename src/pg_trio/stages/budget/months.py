"""The months of budgets, in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo


class Months:
    """The month of a time in a zone, cached: the calendar is used once a month, not once a request."""

    __slots__ = ("_end", "_month", "_start", "_zone")

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._start = self._end = 0.0
        self._month = 0

    def find(self, unix_s: float) -> int:
        """Year × 12 + (month - 1) of the time."""
        if not self._start <= unix_s < self._end:
            self._month = month_of(unix_s, self._zone)
            self._start = month_start(unix_s, self._zone)
            # 32 days after the start of any month is in the next month.
            self._end = month_start(self._start + 32 * 86_400, self._zone)
        return self._month


def month_of(unix_s: float, zone: tzinfo = UTC) -> int:
    """The month of a time in the zone, as year × 12 + (month - 1)."""
    at = datetime.fromtimestamp(unix_s, zone)
    return at.year * 12 + at.month - 1


def month_start(unix_s: float, zone: tzinfo = UTC) -> float:
    """Unix seconds at which the zone's month of a time began: its first midnight, if clocks show midnight twice."""
    at = datetime.fromtimestamp(unix_s, zone)
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()
