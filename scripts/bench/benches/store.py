"""Microseconds that the stores cost on this machine: finding tokens in memory and in the file, recording log rows,
writing them in batches. Median, best and worst of seven rounds; files are in a temporary directory (TMPDIR).
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

import trio

from pg_trio.config.settings import GatewaySettings
from pg_trio.store.log import LogStore
from pg_trio.store.log_file import open_log, write_rows
from pg_trio.store.token_file import hash_token
from pg_trio.store.tokens import TokenStore
from scripts.bench.harness.cli import Options, Reports, say
from scripts.bench.harness.gateway import insert_tokens, name_token
from scripts.bench.harness.store_files import make_row
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.timing import Act, time_each

ROUNDS_A_ROW, HITS, MISSES, BATCH_ROWS = 7, 20_000, 500, 250
# What a row is of, the act, how often it is done a round, and how many rows it does at once.
Measured = tuple[str, Act, int, int]


def run(options: Options) -> Reports:
    sizes = [10, 1_000, 10_000] if options.quick else [10, 1_000, 100_000, 1_000_000]
    with tempfile.TemporaryDirectory() as folder:
        rows = trio.run(measure, Path(folder), sizes)
    yield Report([Table(("what", "µs", "best", "worst"), rows)])


async def measure(data_dir: Path, sizes: list[int]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for source in (token_acts(data_dir, sizes), log_acts(data_dir)):
        async for what, act, times, share in source:
            rounds_us = [sum(await time_each(act, times)) * 1000 / times / share for _ in range(ROUNDS_A_ROW)]
            rows.append((what, *(f"{us:.2f}" for us in (median(rounds_us), min(rounds_us), max(rounds_us)))))
            say("  ".join(rows[-1]))
    return rows


async def token_acts(data_dir: Path, sizes: list[int]) -> AsyncIterator[Measured]:
    """A token that is found, and one that is not, at each size of the file."""
    settings = GatewaySettings(data_dir=data_dir, token_cache_entries=10_000_000)
    for start, size in zip([0, *sizes], sizes, strict=False):
        insert_tokens(data_dir, range(start, size))
        async with await TokenStore.open(settings) as store:

            def find_each(numbers: range, store: TokenStore = store) -> Act:
                names = map(name_token, numbers)
                return lambda: store.find(hash_token(next(names)))

            if start == 0:
                known = partial(store.find, hash_token(name_token(0)))
                await known()
                yield "find, remembered", known, HITS, 1
            if size > ROUNDS_A_ROW * MISSES:
                yield f"find, in a file of {size:,}", find_each(range(1, size)), MISSES, 1
            yield f"find, not in a file of {size:,}", find_each(range(10_000_000, 20_000_000)), MISSES, 1


async def log_acts(data_dir: Path) -> AsyncIterator[Measured]:
    """What recording a row costs the request, and what writing it costs the thread."""
    settings = GatewaySettings(data_dir=data_dir, log_queue_rows=ROUNDS_A_ROW * BATCH_ROWS)
    rows = [make_row() for _ in range(BATCH_ROWS)]
    store, upcoming = await LogStore.open(settings), iter(rows * ROUNDS_A_ROW)

    async def record() -> None:
        store.record(next(upcoming))

    yield "log, record a row", record, BATCH_ROWS, 1
    await store.aclose()
    with closing(open_log(data_dir, 1)) as connection:

        async def write() -> None:
            write_rows(rows, connection)

        async def write_beside_busy_loop() -> None:
            """On a thread, as the store writes, while the loop works and makes system calls without a pause."""
            async with trio.open_nursery() as nursery:

                async def write_and_stop() -> None:
                    await trio.to_thread.run_sync(write_rows, rows, connection)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(write_and_stop)
                while True:
                    sum(range(3_000))
                    await trio.lowlevel.checkpoint()

        yield f"log, write a row in a batch of {BATCH_ROWS}", write, 1, BATCH_ROWS
        yield f"log, the same beside a busy loop ({BATCH_ROWS} rows)", write_beside_busy_loop, 1, BATCH_ROWS
