"""The counters of kept answers while another worker holds their lock: a paused one is waited for, a stopped one not.

An answer that grows meanwhile is kept on, and counted later.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from pg_trio.store import answer_usage
from pg_trio.store.answer_usage import AnswerUsage
from pg_trio.store.answer_writer import STEP_BYTES, FileAnswerWriter
from pg_trio.store.file_answers import FileAnswerStore
from tests.support.kept import HEAD, LIMITS, NAME, claim, open_store

# More than a running answer has counted before.
LONG = b"x" * (STEP_BYTES + 1)


class OtherWorker:
    """Holds the lock of the counters in that file, until it is let run."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def run(self) -> None:
        fcntl.flock(self.file, fcntl.LOCK_UN)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[OtherWorker]:
    other = OtherWorker(tmp_path / "usage")
    yield other
    os.close(other.file)


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[AnswerUsage]:
    usage = AnswerUsage(tmp_path / "usage", 100, 2)
    yield usage
    usage.close()


def test_paused_holder_is_waited_for(other: OtherWorker, usage: AnswerUsage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: other.run())

    assert usage.take(60, 1)
    assert (60, 1) == (usage.read().bytes, usage.read().answers)


def test_stopped_holder_is_waited_for_once(
    other: OtherWorker, usage: AnswerUsage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop stands meanwhile."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)

    for _ in range(3):
        with pytest.raises(answer_usage.CountersBusy):
            usage.take(60, 1)
    in_vain = len(pauses)
    other.run()
    taken = usage.take(60, 1)

    assert answer_usage.PAUSES == in_vain == len(pauses)
    assert taken


async def test_claim_waits_for_stopped_holder(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a claim, the request would run as if it had no key, and so might the next one with the same key."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    store = open_store(tmp_path)
    other = OtherWorker(store.folder.path / "usage")

    async def let_run() -> None:
        await trio.sleep(0.5)
        other.run()

    nursery.start_soon(let_run)
    writer = await claim(store)

    assert writer.is_kept
    writer.discard()
    await store.aclose()
    os.close(other.file)


async def test_claim_waits_no_longer_than_a_second(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    store = open_store(tmp_path)
    other = OtherWorker(store.folder.path / "usage")
    began_at = trio.current_time()

    got = await store.claim(NAME, HEAD, LIMITS)

    assert got is None
    assert 1.0 <= trio.current_time() - began_at < 1.1
    other.run()
    await store.aclose()
    os.close(other.file)


# ── an answer that grows meanwhile ───────────────────────────────────────────────────────────────────────────────────


async def grow_uncounted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, max_bytes: int = 10_000_000
) -> tuple[FileAnswerStore, FileAnswerWriter, OtherWorker]:
    """An answer that has grown beyond what counts for it while another worker holds the counters."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    store = open_store(folder, max_bytes)
    writer = await claim(store)
    other = OtherWorker(store.folder.path / "usage")
    assert writer.add([LONG])
    assert writer.is_kept
    assert STEP_BYTES == store._usage.read().bytes
    return store, writer, other


async def test_next_part_counts_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, writer, other = await grow_uncounted(tmp_path, monkeypatch)
    other.run()

    assert writer.add([b"x"])

    assert 2 * STEP_BYTES == store._usage.read().bytes
    writer.discard()
    assert (0, 0) == (store._usage.read().bytes, store._usage.read().answers)
    await store.aclose()
    os.close(other.file)


async def test_end_counts_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, writer, other = await grow_uncounted(tmp_path, monkeypatch)
    other.run()

    writer.end("whole", 60)

    assert store.folder.path_of(NAME).stat().st_size == store._usage.read().bytes > STEP_BYTES
    await store.aclose()
    os.close(other.file)


async def test_sweep_counts_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, writer, other = await grow_uncounted(tmp_path, monkeypatch)
    writer.end("whole", 60)
    other.run()

    await store.sweep.sweep()

    assert store.folder.path_of(NAME).stat().st_size == store._usage.read().bytes > STEP_BYTES
    await store.aclose()
    os.close(other.file)


async def test_full_store_is_noticed_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, writer, other = await grow_uncounted(tmp_path, monkeypatch, max_bytes=STEP_BYTES + 1)
    other.run()

    assert not writer.add([b"x"])

    assert STEP_BYTES == store._usage.read().bytes
    writer.discard()
    await store.aclose()
    os.close(other.file)
