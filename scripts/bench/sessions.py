"""What sessions cost as their file grows, in milliseconds: reading one of 20 messages (1 KB each turn), storing a turn
alone, and storing 32 turns that are ready at once. Files are made in a temporary directory and removed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import trio

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.chat import Message
from pg_trio.domain.session import Turn
from pg_trio.store.session_file import TurnRow, open_sessions, write_turns
from pg_trio.store.sessions import SessionStore

TIMES = 1_000
AT_ONCE = 32
TURNS = 10
ENDPOINT = UUID(int=1)
BATCH = 2_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="scripts/bench/sessions", description=__doc__)
    parser.add_argument("--directory", type=Path, help="where the file is made: the disk that is measured")
    parser.add_argument("--quick", action="store_true", help="up to 10,000 sessions: seconds in place of minutes")
    parser.add_argument("--large", action="store_true", help="up to a million: a file of 13 GB")
    arguments = parser.parse_args()
    sizes = [1_000, 10_000] if arguments.quick else [1_000, 10_000, 100_000]
    sizes += [1_000_000] if arguments.large else []
    print(f"{'sessions':>9}{'file MB':>9}   {'what':<28}{'p50 ms':>9}{'p99 ms':>9}{'worst':>9}")
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        trio.run(measure, Path(directory), sizes)


async def measure(data_dir: Path, sizes: list[int]) -> None:
    """All three at each size of the file."""
    for filled, size in zip([0, *sizes], sizes, strict=False):
        fill(data_dir, range(filled, size))
        settings = GatewaySettings(data_dir=data_dir)
        async with await SessionStore.open(settings, {}) as store, trio.open_nursery() as tasks:
            tasks.start_soon(store.write)
            await measure_store(store, size, (data_dir / "sessions.db").stat().st_size)
            tasks.cancel_scope.cancel()


async def measure_store(store: SessionStore, size: int, file_bytes: int) -> None:
    """The three lines of one size."""
    known = random.Random(size)

    async def read() -> None:
        await store.load(id_of(known.randrange(size)))

    async def store_one() -> None:
        await store.append(make_turn(known.randrange(size)))

    async def store_many() -> None:
        await store_at_once(store, size, known)

    await print_line(size, file_bytes, "read a session", read)
    await print_line(size, file_bytes, "store a turn", store_one)
    await print_line(size, file_bytes, f"store {AT_ONCE} turns at once", store_many)


async def store_at_once(store: SessionStore, size: int, known: random.Random) -> None:
    """As many turns as there are requests that are ready, each of another session."""
    async with trio.open_nursery() as requests:
        for _ in range(AT_ONCE):
            requests.start_soon(store.append, make_turn(known.randrange(size)))


async def print_line(size: int, file_bytes: int, what: str, act: Callable[[], Awaitable[object]]) -> None:
    """One line of the table."""
    took_ms = []
    for _ in range(TIMES):
        started = time.perf_counter()
        await act()
        took_ms.append((time.perf_counter() - started) * 1000)
    centiles = statistics.quantiles(took_ms, n=100)
    figures = f"{centiles[49]:>9.2f}{centiles[98]:>9.2f}{max(took_ms):>9.2f}"
    print(f"{size:>9,}{file_bytes / 1e6:>9,.0f}   {what:<28}{figures}", flush=True)


def fill(data_dir: Path, numbers: range) -> None:
    """So many more sessions in the file. Their turns come round by round, as those of conversations do."""
    with closing(open_sessions(data_dir, 1)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for batch in batches(numbers):
            for turn in range(TURNS):
                write_turns([TurnRow.of(make_turn(number, is_first=turn == 0)) for number in batch], connection)
    # What the system has not written yet would be what the first commits wait for.
    os.sync()


def batches(numbers: range) -> list[range]:
    """The numbers in parts."""
    return [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]


def id_of(number: int) -> UUID:
    """An id as random as a session's."""
    return UUID(bytes=hashlib.sha256(str(number).encode()).digest()[:16])


def make_turn(number: int, *, is_first: bool = False) -> Turn:
    """A turn of a common size."""
    messages = (Message("user", "x" * 250), Message("assistant", "y" * 650))
    return Turn(id_of(number), is_first, ENDPOINT, 1, 1_000_000.0, messages, 250)


if __name__ == "__main__":
    main()
