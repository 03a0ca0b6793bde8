"""Kept answers in files: what only files have. What every store does is in tests/contract/test_answer_store.py."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from pg_trio.domain.kept_answer import AnswerOwner
from pg_trio.errors import AnswerCut
from pg_trio.store import answer_writer
from pg_trio.store.answer_files import UNNAMED
from pg_trio.store.file_answers import BUSY_LIMIT_S, FileAnswerStore
from tests.support.kept import HEAD, LIMITS, NAME, OWNER, claim, find, kill, open_store, read_all, start_writer

PATIENCE_S = 10


@pytest.fixture
async def store(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[FileAnswerStore]:
    async with running(tmp_path, nursery) as store:
        yield store


@pytest.fixture
async def other(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[FileAnswerStore]:
    """Another worker's."""
    async with running(tmp_path, nursery) as store:
        yield store


class running:
    """A store whose task runs."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.store = open_store(folder)
        self._nursery = nursery
        self._scope = trio.CancelScope()

    async def _run(self) -> None:
        with self._scope:
            await self.store.run()

    async def __aenter__(self) -> FileAnswerStore:
        self._nursery.start_soon(self._run)
        await trio.testing.wait_all_tasks_blocked()
        return self.store

    async def __aexit__(self, *_: object) -> None:
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
            await self.store.aclose()


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_discarded_name_is_free(store: FileAnswerStore, other: FileAnswerStore) -> None:
    writer = await claim(store)
    reader = await find(other)
    writer.discard()

    assert None is await other.find(NAME)
    (await claim(other)).discard()
    with pytest.raises(AnswerCut):
        await read_all(reader)
    reader.close()


def test_owners_have_names_of_their_own() -> None:
    owners = [
        OWNER,
        AnswerOwner(OWNER.project, 8),
        AnswerOwner(OWNER.project, 7, "user"),
        AnswerOwner(OWNER.project, 7, ""),
        AnswerOwner(OWNER.project, 7, "user-"),
    ]
    names = [owner.name(*parts) for owner in owners for parts in (("a", "bc"), ("ab", "c"), ("a", "b", "c"))]

    assert len(names) == len(set(names))


# ── workers that are killed ──────────────────────────────────────────────────────────────────────────────────────────


async def test_sweep_removes_what_a_killed_worker_left(store: FileAnswerStore, tmp_path: Path) -> None:
    process = start_writer(tmp_path)
    kill(process)
    path = store.folder.path_of(NAME)
    await store.sweep.sweep()
    assert path.exists()
    past = path.stat().st_mtime - 301

    os.utime(path, (past, past))
    await store.sweep.sweep()

    assert not path.exists()
    assert (0, 0) == (store._usage.read().bytes, store._usage.read().answers)
    assert 1 == len(list((store.folder.path / "workers").iterdir()))


@pytest.mark.parametrize(("held_s", "is_claimed"), [(0.5, True), (5.0, False)])
async def test_claim_waits_a_second_for_a_look_at_the_killed_worker_s_answer(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, held_s: float, *, is_claimed: bool
) -> None:
    """A worker that is paused while it looks for the answer's writer holds the file, and no one can remove it."""
    killed, store = open_store(tmp_path), open_store(tmp_path)
    os.close((await claim(killed))._file)
    killed._writers.clear()
    await killed.aclose()
    looking = os.open(store.folder.path_of(NAME), os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)

    async def go_on() -> None:
        await trio.sleep(held_s)
        os.close(looking)

    nursery.start_soon(go_on)
    began_at = trio.current_time()
    got = await store.claim(NAME, HEAD, LIMITS)

    assert is_claimed == (got is not None)
    assert min(held_s, BUSY_LIMIT_S) <= trio.current_time() - began_at < min(held_s, BUSY_LIMIT_S) + 0.1
    await store.aclose()


# ── time and bounds ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_is_gone_after_its_time(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    writer = await claim(store)
    writer.add([b"x"])
    writer.end("whole", 60)
    path = store.folder.path_of(NAME)
    kept_until = path.stat().st_mtime

    late = FileAnswerStore(tmp_path, 10_000_000, 1_000, lambda: kept_until + 1)

    assert path.exists()
    assert None is await late.find(NAME)
    assert not path.exists()
    assert 0 == late._usage.read().answers
    await store.aclose()
    await late.aclose()


async def test_sweep_removes_what_is_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number in range(5):
        writer = await claim(store, OWNER.name("stream", str(number)))
        writer.end("whole", 60 if number % 2 else 3_600)
    now = store._now_s()

    late = FileAnswerStore(tmp_path, 10_000_000, 1_000, lambda: now + 61)
    await late.sweep.sweep()

    assert 3 == late._usage.read().answers
    assert 3 == sum(len(list(part.iterdir())) for part in late.folder.parts())
    await store.aclose()
    await late.aclose()


async def test_longer_answer_is_not_kept(store: FileAnswerStore, other: FileAnswerStore) -> None:
    writer = await claim(store, limit=10)
    reader = await find(other)

    assert writer.add([b"12345"])
    assert not writer.add([b"678901"])
    assert not writer.add([b"7"])

    # It runs, so its name is taken.
    assert "outgrown" == (await find(other)).ended
    assert [b"12345"] == await reader.receive()
    with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut, match="outgrown"):
        await reader.receive()
    writer.end("whole", 60)
    assert None is await other.find(NAME)
    reader.close()


async def test_bytes_are_bounded_and_come_back(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_bytes=200_000)
    writer = await claim(store)

    assert writer.add([b"x" * 100_000])
    assert not writer.add([b"x" * 100_000])

    writer.discard()
    assert (0, 0) == (store._usage.read().bytes, store._usage.read().answers)
    await store.aclose()


async def test_crowded_store_lets_the_oldest_go(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_answers=10)
    names = [OWNER.name("stream", str(number)) for number in range(10)]
    for number, name in enumerate(names):
        (await claim(store, name)).end("whole", 100 + number)

    await store.sweep.sweep()

    found = [await store.find(name) for name in names]
    assert [False] + [True] * 9 == [answer is not None for answer in found]
    for answer in found:
        if answer is not None:
            answer.close()
    await store.aclose()


async def test_full_disk_only_ends_the_keeping(
    store: FileAnswerStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = await claim(store)
    assert writer.add([b"x"])
    answer = await find(store)

    def full(file: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answer_writer, "write_all", full)
    assert not writer.add([b"y"])
    writer.end("whole", 60)

    assert "No space left on device" in caplog.text
    assert None is await store.find(NAME)
    assert [b"x"] == await answer.receive()
    with pytest.raises(AnswerCut):
        await answer.receive()
    answer.close()


# ── what is on the disk ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_files_are_the_users_alone(store: FileAnswerStore) -> None:
    old = os.umask(0)
    try:
        await claim(store)
    finally:
        os.umask(old)

    for path in [store.folder.path, *store.folder.path.rglob("*")]:
        assert 0 == stat.S_IMODE(path.stat().st_mode) & 0o077, path


@pytest.mark.parametrize("at", [0, 9, 20, 43, 44, 47, 52, 60, -3, -1])
async def test_damaged_file_is_never_an_answer(store: FileAnswerStore, at: int) -> None:
    writer = await claim(store)
    writer.add([b"first", b"second"])
    writer.end("whole", 60)
    path = store.folder.path_of(NAME)
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, (2e9 * 2, 2e9 * 2))

    answer = await store.find(NAME)

    if answer is not None:
        with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut):
            await read_all(answer)
        answer.close()


@pytest.mark.parametrize("size", [0, 1, 43, 44, 45, 60, 200, 230])
async def test_short_file_is_never_an_answer(store: FileAnswerStore, size: int) -> None:
    writer = await claim(store)
    writer.add([b"first" * 10, b"second" * 10])
    writer.end("whole", 60)
    os.truncate(store.folder.path_of(NAME), size)

    answer = await store.find(NAME)

    if answer is not None:
        with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut):
            await read_all(answer)
        answer.close()


async def test_link_is_not_followed(store: FileAnswerStore, tmp_path: Path) -> None:
    path = store.folder.path_of(NAME)
    (tmp_path / "secret").write_bytes(b"x")
    path.symlink_to(tmp_path / "secret")

    assert None is await store.find(NAME)
    assert None is await store.claim(NAME, HEAD, LIMITS)


# ── readers and their worker ─────────────────────────────────────────────────────────────────────────────────────────


async def test_cancelled_reader_leaves_nothing(store: FileAnswerStore, nursery: trio.Nursery) -> None:
    await claim(store)
    answer = await find(store)

    with trio.move_on_after(0.05) as scope, answer.attach():
        await answer.receive()

    assert scope.cancelled_caught
    assert ({}, {}) == (store._hub._waiting, store._hub._attached)
    answer.close()


@pytest.mark.parametrize("holds_it", [True, False])
async def test_sweep_between_making_and_locking_costs_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds_it: bool
) -> None:
    """It looks for the new file's writer at this moment, or has removed the file because it has none."""
    store, flock = open_store(tmp_path), fcntl.flock
    disturbed: list[Path] = []

    def sweep_first(file: int, operation: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        if path.name.startswith(UNNAMED) and not disturbed:
            disturbed.append(path)
            if holds_it:
                raise BlockingIOError
            path.unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    writer = await claim(store)

    assert 1 == len(disturbed)
    assert store.folder.path_of(NAME).exists()
    writer.discard()
    await store.aclose()
