"""The file that counts by the holders of client tokens: opened late, never over its room, new where a month begins."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from attrs import evolve

from pg_trio.config.settings import GatewaySettings, Settings
from pg_trio.domain.client_grant import holder_key
from pg_trio.errors import Overloaded, StoreError
from pg_trio.ledger.protocols import HolderBooks
from pg_trio.stages.budget import month_of
from pg_trio.stores.holder_file import FILE_NAME, WATCH_EVERY_S, HolderFile
from pg_trio.stores.store_protocols import LogBook

MINUTE = ((1, 60.0),)
PATIENCE_S = 10


def this_month() -> int:
    """Looked up each time: a test run may begin in another one."""
    return month_of(time.time())


def key_of(number: int) -> bytes:
    return holder_key(1, f"s:user-{number}")


class Log:
    """Sums of holders; what is in it when it is asked."""

    def __init__(self, spent: Mapping[bytes, int] | None = None) -> None:
        self.spent = dict(spent or {})
        self.is_broken = False

    async def holder_spend_since(self, at: float, tokens_at: float) -> Mapping[bytes, int]:
        if self.is_broken:
            raise StoreError("broken")
        return self.spent if at <= time.time() else {}


def make_file(folder: Path, log: Log, **limits: Any) -> HolderFile:
    gateway = GatewaySettings(data_dir=folder, client_subjects=100, **limits)
    return HolderFile(evolve(Settings(), gateway=gateway), cast(LogBook, log))


@pytest.fixture
async def holders(tmp_path: Path) -> AsyncIterator[HolderFile]:
    file = make_file(tmp_path, Log())
    yield file
    file.close()


def use(books: HolderBooks, number: int) -> None:
    books.buckets.take_nowait(key_of(number), MINUTE, 0.0)
    books.leases.acquire_nowait(b"c" + key_of(number), 1)
    books.spend.reserve_nowait(key_of(number), this_month(), 1, 10)


def fill(books: HolderBooks) -> int:
    """Use holders until one finds no slot. Returns how many did."""
    for number in range(1_000):
        try:
            use(books, number)
        except Overloaded:
            return number
    raise AssertionError("it never fills")


async def test_file_is_made_at_the_first_use(holders: HolderFile, tmp_path: Path) -> None:
    before = (tmp_path / FILE_NAME).exists()

    books = await holders.open()

    assert [False, True] == [before, (tmp_path / FILE_NAME).exists()]
    assert books is await holders.open()


async def test_promised_subjects_have_room(holders: HolderFile) -> None:
    books = await holders.open()

    for number in range(100):
        assert books.has_room(key_of(number))
        use(books, number)


async def test_full_file_takes_no_new_holder(holders: HolderFile, monkeypatch: pytest.MonkeyPatch) -> None:
    books = await holders.open()
    used = fill(books)
    now = time.monotonic()
    monkeypatch.setattr("pg_trio.stores.holder_file.time.monotonic", lambda: now + 2)

    rooms = [books.has_room(key_of(number)) for number in (0, 50, 5_000)]

    assert used >= 100
    assert [True, True, False] == rooms
    # What counts goes on counting.
    assert (0, 1) == books.spend.reserve_nowait(key_of(0), this_month(), 10, 10)
    assert books.leases.acquire_nowait(b"c" + key_of(0), 1) is False


async def test_new_file_begins_with_the_logs_spend(tmp_path: Path) -> None:
    file = make_file(tmp_path, Log({key_of(1): 7}))

    books = await file.open()

    assert (7, 0) == books.spend.reserve_nowait(key_of(1), this_month(), 5, 10)
    file.close()


async def test_more_spend_than_room_keeps_the_largest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = make_file(tmp_path, Log({key_of(number): number for number in range(1, 3_001)}))

    books = await file.open()

    assert (3_000, 0) == books.spend.reserve_nowait(key_of(3_000), this_month(), 1, 3_000)
    assert "raise gateway.client_subjects" in caplog.text
    file.close()


async def test_unreadable_log_is_a_503_and_tried_again(tmp_path: Path) -> None:
    log = Log()
    log.is_broken = True
    file = make_file(tmp_path, log)

    with pytest.raises(Overloaded):
        await file.open()
    log.is_broken = False

    assert (await file.open()).has_room(key_of(1))
    file.close()


@pytest.mark.parametrize(("used", "moves"), [(90, True), (10, False)])
async def test_new_month_replaces_a_file_that_was_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.abc.Clock, used: int, moves: bool
) -> None:
    log = Log()
    file, other = make_file(tmp_path, log), make_file(tmp_path, log)
    books, books_of_other = await file.open(), await other.open()
    for number in range(used):
        use(books, number)
    before = (tmp_path / FILE_NAME).stat().st_ino
    later = time.time() + 32 * 86_400
    monkeypatch.setattr("pg_trio.stores.holder_file.time.time", lambda: later)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.watch)
        nursery.start_soon(other.watch)
        await trio.sleep(2.5 * WATCH_EVERY_S)
        nursery.cancel_scope.cancel()

    assert moves == (before != (tmp_path / FILE_NAME).stat().st_ino)
    # What is under way is counted by the other worker, too.
    assert 1 == books_of_other.leases.count_nowait(b"c" + key_of(0))
    assert books_of_other.leases.acquire_nowait(b"c" + key_of(0), 1) is False
    other.close()
    file.close()
