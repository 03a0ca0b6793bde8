"""What a session's load, a turn's commit and a batch of log rows cost in files of every size.

Each size has a file of its own, and the sizes are measured in turn, round after round: what else the machine does
meanwhile slows all of them. Acts follow one another without a pause. A figure is the median of the rounds' p50s, or of
their p99s. What a round writes would make a small file a larger one for the next round, so each round has a small file
as it was at first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from attrs import frozen

from pg_trio.store.database import SerialConnection
from pg_trio.store.log_file import open_log, write_rows
from scripts.bench.benches.sessions import open_acts
from scripts.bench.harness.cli import say
from scripts.bench.harness.store_files import Talk, fill_log, fill_sessions, make_rows
from scripts.bench.harness.tables import quantile
from scripts.bench.harness.timing import Act, time_each

# Short messages, so that a million sessions are some gigabytes.
TALK = Talk(turns=4, asked=60, answered=300)
SESSION_SIZES = [1_000, 10_000, 100_000, 1_000_000]
LOG_SIZES = [*SESSION_SIZES, 10_000_000]
# What a worker with 1,000 requests a second has to write after `log_batch_ms`.
ROWS_AT_ONCE = 50
# Of a file larger than 64 MB, a round's writes are a small part: it is not copied.
COPIED_BYTES = 64_000_000
OpenActs = Callable[[Path, int], AbstractAsyncContextManager[Mapping[str, Act]]]


@frozen
class Growth:
    """One act at one size of the file."""

    act: str
    what: str
    size: int
    file_mb: float
    p50_ms: float
    p99_ms: float


async def measure_growth(folder: Path, quick: bool) -> list[Growth]:
    """Every act at every size: act by act, smallest first."""
    rounds, times, log_times, sizes = (3, 200, 200, 2) if quick else (5, 1_000, 300, None)
    sessions = {size: folder / f"sessions-{size}" for size in SESSION_SIZES[:sizes]}
    logs = {size: folder / f"log-{size}" for size in LOG_SIZES[:sizes]}
    for size, data_dir in sessions.items():
        say(f"filling {size:,} sessions …")
        fill_sessions(data_dir, range(size), TALK)
    for size, data_dir in logs.items():
        say(f"filling {size:,} log rows …")
        fill_log(data_dir, size)
    # The first commits would wait for what the system has not written yet.
    os.sync()
    found = await _measure("sessions", _open_sessions, sessions, (rounds, times))
    return found + await _measure("log rows", _open_log, logs, (rounds, log_times))


async def _measure(what: str, open_acts: OpenActs, folders: Mapping[int, Path], shape: tuple[int, int]) -> list[Growth]:
    rounds, times = shape
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    sizes_mb = {size: _measure_bytes(data_dir) / 1e6 for size, data_dir in folders.items()}
    for number in range(rounds):
        say(f"{what}, round {number + 1} …")
        for size, data_dir in folders.items():
            async with _open_copy(open_acts, data_dir, size) as acts:
                for name, act in acts.items():
                    took_ms = await time_each(act, times)
                    own = found.setdefault(name, {}).setdefault(size, [])
                    own.append((quantile(took_ms, 0.5), quantile(took_ms, 0.99)))
    return [
        Growth(name, what, size, sizes_mb[size], *map(median, zip(*shares, strict=True)))
        for name, by_size in found.items()
        for size, shares in by_size.items()
    ]


def _measure_bytes(data_dir: Path) -> int:
    return sum(file.stat().st_size for file in data_dir.glob("*.db"))


@asynccontextmanager
async def _open_copy(open_acts: OpenActs, data_dir: Path, size: int) -> AsyncIterator[Mapping[str, Act]]:
    with TemporaryDirectory(dir=data_dir.parent) as folder:
        if _measure_bytes(data_dir) <= COPIED_BYTES:
            data_dir = shutil.copytree(data_dir, Path(folder) / data_dir.name)
            os.sync()
        async with open_acts(data_dir, size) as acts:
            yield acts


@asynccontextmanager
async def _open_sessions(data_dir: Path, size: int) -> AsyncIterator[Mapping[str, Act]]:
    async with open_acts(data_dir, size, TALK) as acts:
        yield {name: act for name, act in acts.items() if "at once" not in name}


@asynccontextmanager
async def _open_log(data_dir: Path, size: int) -> AsyncIterator[Mapping[str, Act]]:
    # As LogStore writes them, without its wait for more rows.
    connection, starts = SerialConnection(data_dir, open_log(data_dir, 1)), count(size, ROWS_AT_ONCE)

    async def write() -> None:
        start = next(starts)
        await connection.run(partial(write_rows, list(make_rows(range(start, start + ROWS_AT_ONCE)))))

    yield {f"log {ROWS_AT_ONCE} rows": write}
    await connection.aclose()
