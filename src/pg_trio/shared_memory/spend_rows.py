"""The rows of one worker's spend of an endpoint, in the shared file: one for a month (spend.py, rule 4)."""

from __future__ import annotations

import struct

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.segment import SPEND_ROW, SPEND_ROW_BESIDE, Segment

# Settled, reserved (billionths of a dollar), month.
ROW = struct.Struct("=qqIxx")


class SpendRows:
    """The offsets of one seat's two rows of an endpoint. The second row is claimed at its first use. In a full file
    there is none, and a new month takes the first row."""

    __slots__ = ("_beside", "_key", "_seat", "_segment", "first")

    def __init__(self, segment: Segment, key: bytes, seat: int) -> None:
        self._segment = segment
        self._key = key
        self._seat = seat
        self.first = segment.find_slot(SPEND_ROW, key, seat)
        # 0 until it was looked up (offset 0 is the file's header, never a slot), -1 if there is none.
        self._beside = 0

    def read(self, month: int) -> tuple[int, int]:
        """(settled, reserved) in the month."""
        settled, reserved, row_month = self._segment.read(self.first, ROW)
        if row_month == month:
            return settled, reserved
        # The first row was never used, so the second was not, either.
        found = self.find_beside(month) if row_month else None
        return (0, 0) if found is None else found[1:]

    def find_or_make(self, month: int) -> tuple[int, int, int]:
        """(offset, settled, reserved) of the month's row; a month without one gets one, and what was in that is gone.

        For the rows' writer.
        """
        settled, reserved, first_month = self._segment.read(self.first, ROW)
        if first_month == month:
            return self.first, settled, reserved
        if not first_month:
            return self.first, 0, 0
        found = self.find_beside(month)
        if found is not None:
            return found
        if self._beside > 0:
            _, _, beside_month = self._segment.read(self._beside, ROW)
            if distance(beside_month, month) >= distance(first_month, month):
                return self._beside, 0, 0
        return self.first, 0, 0

    def find_beside(self, month: int) -> tuple[int, int, int] | None:
        """(offset, settled, reserved) of the second row, if it is the month's; else None."""
        if self._beside == 0:
            try:
                self._beside = self._segment.find_slot(SPEND_ROW_BESIDE, self._key, self._seat)
            except Overloaded:
                self._beside = -1
        if self._beside < 0:
            return None
        settled, reserved, row_month = self._segment.read(self._beside, ROW)
        return (self._beside, settled, reserved) if row_month == month else None


def distance(month: int, other: int) -> int:
    """How far apart two months are."""
    return abs(month - other)
