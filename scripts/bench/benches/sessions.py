"""Milliseconds that sessions cost as their file grows: reading one of 20 messages (9 KB), storing a turn alone, and
storing 32 turns that are ready at once. Files are made in a temporary directory and removed.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import trio

from pg_trio.config.settings import GatewaySettings
from pg_trio.store.session_file import FILE_NAME
from pg_trio.store.sessions import SessionStore
from scripts.bench.harness.cli import Options, Parser, Reports, say
from scripts.bench.harness.client import run_crowd
from scripts.bench.harness.store_files import ENDPOINTS, Talk, fill_sessions, id_of
from scripts.bench.harness.tables import Report, Table, spread
from scripts.bench.harness.timing import Act, time_each

TIMES, AT_ONCE = 1_000, 32
TALK = Talk(turns=10, asked=250, answered=650)


def add_options(parser: Parser) -> None:
    parser.add_argument("--directory", type=Path, help="where the file is made: the disk that is measured")
    parser.add_argument("--large", action="store_true", help="up to a million sessions: a file of 13 GB")


def run(options: Options) -> Reports:
    sizes = [1_000, 10_000] if options.quick else [1_000, 10_000, 100_000]
    sizes += [1_000_000] if options.large else []
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        rows = trio.run(measure, Path(folder), sizes)
    yield Report([Table(("sessions", "file MB", "what", "p50 ms", "p99 ms", "worst"), rows)])


async def measure(data_dir: Path, sizes: list[int]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for filled, size in zip([0, *sizes], sizes, strict=False):
        say(f"filling to {size:,} sessions …")
        fill_sessions(data_dir, range(filled, size), TALK)
        os.sync()  # The first commits would wait for what the system has not written yet.
        file_mb = (data_dir / FILE_NAME).stat().st_size / 1e6
        async with open_acts(data_dir, size, TALK) as acts:
            for what, act in acts.items():
                rows.append((f"{size:,}", f"{file_mb:,.0f}", what, *spread(await time_each(act, TIMES), digits=2)))
                say("  ".join(rows[-1]))
    return rows


@asynccontextmanager
async def open_acts(data_dir: Path, size: int, talk: Talk) -> AsyncIterator[dict[str, Act]]:
    """What is done to a file of so many sessions, each drawn at random from all: the worst case. Nothing is purged."""
    known, turns = random.Random(size), count(talk.turns)

    async def load() -> None:
        await store.load(id_of(known.randrange(size)))

    async def append(_: int = 0) -> None:
        await store.append(talk.turn(known.randrange(size), next(turns)))

    settings = GatewaySettings(data_dir=data_dir)
    async with await SessionStore.open(settings, dict.fromkeys(ENDPOINTS, 1e12)) as store, trio.open_nursery() as tasks:
        tasks.start_soon(store.write)
        tasks.start_soon(store.upkeep.run)
        append_many = {f"commit {AT_ONCE} turns at once": lambda: run_crowd(AT_ONCE, append)}
        yield {"load a session": load, "commit a turn": append, **append_many}
        tasks.cancel_scope.cancel()
