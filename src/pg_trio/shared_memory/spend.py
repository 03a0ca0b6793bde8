"""A month's spend by endpoint: what is settled, and what requests under way have reserved. One process's own.

Money is billionths of a US dollar in integers: adding never rounds, so the sum in the log and the sum here agree.
"""

from __future__ import annotations

from collections.abc import Mapping


class LocalSpend:
    """Spend of one process, by endpoint key and month (year × 12 + month). A new month starts at nothing."""

    def __init__(self, month: int = 0, settled: Mapping[bytes, int] | None = None) -> None:
        self._rows: dict[bytes, tuple[int, int, int]] = {
            key: (month, nano_usd, 0) for key, nano_usd in (settled or {}).items()
        }

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> int | None:
        """Set `amount` aside if settled + reserved + amount stays within the budget.

        None if it did; else nothing changed, and the answer is what was settled.
        """
        settled, reserved = self.read(key, month)
        if settled + reserved + amount > budget:
            return settled
        self._rows[key] = (month, settled, reserved + amount)
        return None

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """Give a reservation back and count what was really spent. A month that is over is not counted any more."""
        row = self._rows.get(key)
        if row is None or row[0] != month:
            return
        self._rows[key] = (month, row[1] + spent, max(0, row[2] - reserved_amount))

    def read(self, key: bytes, month: int) -> tuple[int, int]:
        """(settled, reserved) of the key in that month."""
        row = self._rows.get(key)
        return (row[1], row[2]) if row is not None and row[0] == month else (0, 0)
