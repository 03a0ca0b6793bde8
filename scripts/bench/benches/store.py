"""Microseconds that the stores cost on this machine: finding tokens in memory and in the file, recording log rows,
writing them in batches. Median, best and worst of seven rounds; files are in a temporary directory (TMPDIR).
"""

from __future__ import annotations

import sqlite3
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

import trio

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.log_row import LogRow
from pg_trio.store.log import LogStore
from pg_trio.store.log_file import open_log, write_rows
from pg_trio.store.token_file import hash_token
from pg_trio.store.tokens import TokenStore
from scripts.bench.harness.cli import say
from scripts.bench.harness.gateway import insert_tokens, name_token
from scripts.bench.harness.store_files import make_row
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.timing import time_each

ROUNDS_A_ROW = 7
HITS = 20_000
MISSES = 500
BATCH_ROWS = 250
Act = Callable[[], Awaitable[object]]
Row = tuple[str, str, str, str]


def run(options: Namespace) -> Iterator[Report]:
    """Tokens at each size of the file, then the log."""
    sizes = [10, 1_000, 10_000] if options.quick else [10, 1_000, 100_000, 1_000_000]
    with tempfile.TemporaryDirectory() as folder:
        rows = trio.run(measure, Path(folder), sizes)
    yield Report([Table(("what", "µs", "best", "worst"), rows)])


async def measure(data_dir: Path, sizes: list[int]) -> list[Row]:
    rows = []
    for measured in (measure_tokens(data_dir, sizes), measure_log(data_dir)):
        async for row in measured:
            say("  ".join(row))
            rows.append(row)
    return rows


async def measure_tokens(data_dir: Path, sizes: list[int]) -> AsyncIterator[Row]:
    """A token that is found, and one that is not, at each size of the file."""
    settings = GatewaySettings(data_dir=data_dir, token_cache_entries=10_000_000)
    for start, size in zip([0, *sizes], sizes, strict=False):
        insert_tokens(data_dir, range(start, size))
        async with await TokenStore.open(settings) as store:
            known = hash_token(name_token(0))
            await store.find(known)
            if start == 0:
                yield await time_row("find, remembered", HITS, partial(store.find, known))
            if size > ROUNDS_A_ROW * MISSES:
                unseen = map(name_token, range(1, size))
                yield await time_row(f"find, in a file of {size:,}", MISSES, partial(_find_next, store, unseen))
            unknown = map(name_token, range(10_000_000, 20_000_000))
            yield await time_row(f"find, not in a file of {size:,}", MISSES, partial(_find_next, store, unknown))


async def measure_log(data_dir: Path) -> AsyncIterator[Row]:
    """What recording a row costs the request, and what writing it costs the thread."""
    settings = GatewaySettings(data_dir=data_dir, log_queue_rows=ROUNDS_A_ROW * BATCH_ROWS)
    rows = [make_row() for _ in range(BATCH_ROWS)]
    store = await LogStore.open(settings)
    upcoming = iter(rows * ROUNDS_A_ROW)

    async def record() -> None:
        store.record(next(upcoming))

    yield await time_row("log, record a row", BATCH_ROWS, record)
    await store.aclose()
    with closing(open_log(data_dir, 1)) as connection:

        async def write() -> None:
            write_rows(rows, connection)

        yield await time_row(f"log, write a row in a batch of {BATCH_ROWS}", 1, write, share=BATCH_ROWS)
        beside = partial(_write_beside_busy_loop, rows, connection)
        what = f"log, the same beside a busy loop ({BATCH_ROWS} rows)"
        yield await time_row(what, 1, beside, share=BATCH_ROWS)


async def time_row(what: str, times: int, act: Act, share: int = 1) -> Row:
    """Median, best and worst round: microseconds an act, and that over `share`."""
    rounds_us = [sum(await time_each(act, times)) * 1000 / times / share for _ in range(ROUNDS_A_ROW)]
    return what, f"{median(rounds_us):.2f}", f"{min(rounds_us):.2f}", f"{max(rounds_us):.2f}"


async def _find_next(store: TokenStore, names: Iterator[str]) -> None:
    await store.find(hash_token(next(names)))


async def _write_beside_busy_loop(rows: list[LogRow], connection: sqlite3.Connection) -> None:
    """One batch on a thread, as the store writes it, while the loop works and makes system calls without a pause."""
    written = trio.Event()

    async def write() -> None:
        await trio.to_thread.run_sync(write_rows, rows, connection)
        written.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while not written.is_set():
            sum(range(3_000))
            await trio.lowlevel.checkpoint()
