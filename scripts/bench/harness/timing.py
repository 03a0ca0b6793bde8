"""Microseconds of a call in this process, over many rounds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median

from attrs import frozen

Act = Callable[[], Awaitable[object]]


@frozen(slots=True)
class Rounds:
    """Microseconds a call: `wall_us` by the clock and `cpu_us` of the processor, a value for each round."""

    wall_us: list[float]
    cpu_us: list[float]

    def cells(self) -> tuple[str, str, str]:
        """Best and median by the clock, and the median CPU time."""
        return f"{min(self.wall_us):.2f}", f"{median(self.wall_us):.2f}", f"{median(self.cpu_us):.2f}"


def time_rounds(call: Callable[[], object], *, times: int = 1, least: int = 1, seconds: float = 0.0) -> Rounds:
    """Rounds of so many calls each: at least `least` rounds, and until `seconds` are over."""
    rounds, end = Rounds([], []), time.perf_counter() + seconds
    while len(rounds.wall_us) < least or time.perf_counter() < end:
        started, cpu_started = time.perf_counter(), time.process_time()
        for _ in range(times):
            call()
        rounds.wall_us.append((time.perf_counter() - started) / times * 1e6)
        rounds.cpu_us.append((time.process_time() - cpu_started) / times * 1e6)
    return rounds


async def time_each(act: Act, times: int) -> list[float]:
    """Milliseconds of each of so many calls, one after the other."""
    took_ms = []
    for _ in range(times):
        started = time.perf_counter()
        await act()
        took_ms.append((time.perf_counter() - started) * 1000)
    return took_ms
