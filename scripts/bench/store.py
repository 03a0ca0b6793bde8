"""What the stores cost on this machine, in microseconds: finding tokens in memory and in the file, recording log rows,
writing them in batches. Median of several rounds; files are made in a temporary directory and removed.
"""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import trio

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.store.log import LogStore
from pg_trio.store.log_file import open_log, write_rows
from pg_trio.store.token_file import open_tokens
from pg_trio.store.tokens import TokenStore
from pg_trio.store.transaction import transaction

ROUNDS = 7
HITS = 20_000
MISSES = 500
BATCH_ROWS = 250
PROJECT = uuid4()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="scripts/bench/store", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 10,000 tokens: seconds in place of a minute")
    sizes = [10, 1_000, 10_000] if parser.parse_args().quick else [10, 1_000, 100_000, 1_000_000]
    print(f"{'what':<46}{'µs':>9}{'best':>9}{'worst':>9}")
    with tempfile.TemporaryDirectory() as directory:
        trio.run(measure_tokens, Path(directory), sizes)
        trio.run(measure_log, Path(directory))


async def measure_tokens(data_dir: Path, sizes: list[int]) -> None:
    """Cost of a hit and of a miss at each size of the file."""
    settings = GatewaySettings(data_dir=data_dir, token_cache_entries=10_000_000)
    for start, size in zip([0, *sizes], sizes, strict=False):
        add_tokens(data_dir, range(start, size))
        async with await TokenStore.open(settings) as store:
            digest = digest_of(0)
            await store.find(digest)
            if start == 0:
                await report("find, remembered", HITS, partial(store.find, digest))
            unseen = iter(range(1, size))
            if size > ROUNDS * MISSES:
                await report(f"find, in a file of {size:,}", MISSES, partial(find_next, store, unseen))
            unknown = iter(range(10_000_000, 20_000_000))
            await report(
                f"find, not in a file of {size:,}",
                MISSES,
                partial(find_next, store, unknown),
            )


async def measure_log(data_dir: Path) -> None:
    """Cost of recording a row for the request, and of writing it for the thread."""
    settings = GatewaySettings(data_dir=data_dir, log_queue_rows=ROUNDS * BATCH_ROWS)
    rows = [make_row() for _ in range(BATCH_ROWS)]
    store = await LogStore.open(settings)
    upcoming = iter(rows * ROUNDS)

    async def record() -> None:
        store.record(next(upcoming))

    await report("log, record a row", BATCH_ROWS, record)
    await store.aclose()
    with closing(open_log(data_dir, 1)) as connection:

        async def write() -> None:
            write_rows(rows, connection)

        await report(f"log, write a row in a batch of {BATCH_ROWS}", 1, write, share=BATCH_ROWS)
        what = f"log, the same beside a busy loop ({BATCH_ROWS} rows)"
        await report(what, 1, lambda: write_beside_busy_loop(rows, connection), share=BATCH_ROWS)


async def report(what: str, times: int, act: Callable[[], Awaitable[object]], share: int = 1) -> None:
    """One line: median, best and worst round, per act and `share`."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(times):
            await act()
        rounds.append((time.perf_counter() - started) / times / share * 1e6)
    print(f"{what:<46}{statistics.median(rounds):>9.2f}{min(rounds):>9.2f}{max(rounds):>9.2f}", flush=True)


async def find_next(store: TokenStore, numbers: Iterator[int]) -> None:
    """A look-up that the store has not seen yet."""
    await store.find(digest_of(next(numbers)))


async def write_beside_busy_loop(rows: list[LogRow], connection: sqlite3.Connection) -> None:
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


def add_tokens(data_dir: Path, numbers: range) -> None:
    """So many more tokens in the file, in one transaction."""
    with closing(open_tokens(data_dir, 1)) as connection, transaction(connection):
        connection.executemany(
            "INSERT INTO tokens (project_uuid, name, prefix, digest, env, scopes, created_at)"
            " VALUES (?, 'bench', 'pg_live_AAAAAAAA', ?, 'live', 'chat models', 0.0)",
            ((PROJECT.bytes, digest_of(number)) for number in numbers),
        )


def digest_of(number: int) -> bytes:
    """A digest as random as a token's."""
    return hashlib.sha256(str(number).encode()).digest()


def make_row() -> LogRow:
    """A row as a successful call leaves it."""
    return LogRow(
        request_id=uuid4(),
        at=time.time(),
        status=200,
        latency_ms=412.5,
        project_uuid=PROJECT,
        endpoint_uuid=UUID(int=1),
        endpoint_slug="summarize",
        token_id=1,
        provider="openai",
        model="gpt-4o-mini",
        prompt_tokens=380,
        completion_tokens=87,
        cost_nano_usd=120_000,
        stages='{"rate_limit":0.010,"budget":0.020,"guardrails":0.100,"prompt":0.010,"provider_call":410.250}',
        attempts=(AttemptRow("openai", "gpt-4o-mini", "main", 0.5, 410.0, "won"),),
    )


if __name__ == "__main__":
    main()
