"""What a session's load, a turn's commit and a batch of log rows cost in files of every size.

Each size has a file of its own, and the sizes are measured in turn, round after round: what else the machine does
meanwhile befalls all of them. Sessions are drawn at random from the whole file, the worst case. Acts follow one another
without a pause. A figure is the median of the rounds' p50s, or of their p99s. What a round writes would make a small
file a larger one for the next, so each round has a small file as it was first.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from attrs import frozen

from pg_trio.config.settings import GatewaySettings
from pg_trio.store import log_file, session_file
from pg_trio.store.database import SerialConnection
from pg_trio.store.log_file import open_log, write_rows
from pg_trio.store.sessions import SessionStore
from scripts.bench._state.growth_files import ENDPOINTS, TURNS, fill_log, fill_sessions, id_of, make_rows, make_turn

SESSION_SIZES = [1_000, 10_000, 100_000, 1_000_000]
LOG_SIZES = [*SESSION_SIZES, 10_000_000]
QUICK_SIZES = 2
# What a worker with 1,000 requests a second has after `log_batch_ms`.
ROWS_AT_ONCE = 50
ROUNDS, TIMES, LOG_TIMES = 5, 1_000, 300
QUICK_ROUNDS, QUICK_TIMES = 3, 200
# 64 MB: of a larger file, a round's writes are a small part.
COPIED_BYTES = 64_000_000
# Nothing is purged meanwhile.
KEEP_S = 1e12

Act = Callable[[], Awaitable[object]]
Open = Callable[[], AbstractAsyncContextManager["_Site"]]
OpenSite = Callable[[Path, int], AbstractAsyncContextManager["_Site"]]


@frozen
class Growth:
    """One act at one size of the file."""

    act: str
    what: str
    size: int
    file_mb: float
    p50_ms: float
    p99_ms: float


@frozen
class _Site:
    """An open file and what is done to it."""

    what: str
    size: int
    file: Path
    acts: dict[str, Act]


async def measure_growth(folder: Path, quick: bool) -> list[Growth]:
    """Every act at every size: act by act, smallest first."""
    sessions = SESSION_SIZES[: QUICK_SIZES if quick else None]
    rows = LOG_SIZES[: QUICK_SIZES if quick else None]
    rounds, times = (QUICK_ROUNDS, QUICK_TIMES) if quick else (ROUNDS, TIMES)
    for size in sessions:
        fill_sessions(folder / f"sessions-{size}", size)
    for size in rows:
        fill_log(folder / f"log-{size}", size)
    # What the system has not written yet would be what the first commits wait for.
    os.sync()
    opens: list[Open] = [partial(_opened, _open_sessions, folder / f"sessions-{size}", size) for size in sessions]
    found = await _measure(opens, rounds, times)
    opens = [partial(_opened, _open_log, folder / f"log-{size}", size) for size in rows]
    return found + await _measure(opens, rounds, min(times, LOG_TIMES))


async def _measure(opens: Sequence[Open], rounds: int, times: int) -> list[Growth]:
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    sites: dict[int, tuple[str, float]] = {}
    for _ in range(rounds):
        for opened in opens:
            async with opened() as site:
                sites[site.size] = (site.what, site.file.stat().st_size / 1e6)
                for name, act in site.acts.items():
                    found.setdefault((name, site.size), []).append(await _time(act, times))
    return [
        Growth(name, what, size, size_mb, *map(statistics.median, zip(*figures, strict=True)))
        for name in dict.fromkeys(name for name, _ in found)
        for size, (what, size_mb) in sites.items()
        for figures in [found[name, size]]
    ]


async def _time(act: Act, times: int) -> tuple[float, float]:
    took_ms = []
    for _ in range(times):
        started = time.perf_counter()
        await act()
        took_ms.append((time.perf_counter() - started) * 1000)
    centiles = statistics.quantiles(took_ms, n=100)
    return centiles[49], centiles[98]


def _is_large(data_dir: Path) -> bool:
    return sum(file.stat().st_size for file in data_dir.iterdir()) > COPIED_BYTES


@asynccontextmanager
async def _opened(open_site: OpenSite, data_dir: Path, size: int) -> AsyncIterator[_Site]:
    if _is_large(data_dir):
        async with open_site(data_dir, size) as site:
            yield site
        return
    with TemporaryDirectory(dir=data_dir.parent) as folder:
        copy = shutil.copytree(data_dir, Path(folder) / data_dir.name)
        os.sync()
        async with open_site(copy, size) as site:
            yield site


@asynccontextmanager
async def _open_sessions(data_dir: Path, size: int) -> AsyncIterator[_Site]:
    settings = GatewaySettings(data_dir=data_dir)
    keep_s = dict.fromkeys(ENDPOINTS, KEEP_S)
    turns = count(TURNS)

    async def load() -> None:
        await store.load(id_of(random.randrange(size)))

    async def commit() -> None:
        await store.append(make_turn(random.randrange(size), next(turns)))

    async with await SessionStore.open(settings, keep_s) as store, trio.open_nursery() as tasks:
        tasks.start_soon(store.write)
        tasks.start_soon(store.upkeep.run)
        acts: dict[str, Act] = {"load a session": load, "commit a turn": commit}
        yield _Site("sessions", size, data_dir / session_file.FILE_NAME, acts)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _open_log(data_dir: Path, size: int) -> AsyncIterator[_Site]:
    # As LogStore writes them, without its wait for more rows.
    connection = SerialConnection(data_dir, open_log(data_dir, 1))
    starts = count(size, ROWS_AT_ONCE)

    async def write() -> None:
        start = next(starts)
        await connection.run(partial(write_rows, list(make_rows(range(start, start + ROWS_AT_ONCE)))))

    yield _Site("log rows", size, data_dir / log_file.FILE_NAME, {f"log {ROWS_AT_ONCE} rows": write})
    await connection.aclose()
