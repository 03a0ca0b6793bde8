"""The file of all workers' metrics: one table for each worker, with one writer, read by any worker without a lock.

Rules:
1. A worker takes a table of its seat and holds it by a kernel lock on the table's first byte. A restarted worker takes
   the table that its predecessor left, so no counter falls.
2. During a reload the old and the new worker of a seat run at the same time. The new one then takes a second table of
   the seat, which the next worker of the seat may take again. A counter is the sum over all tables.
3. A series is appended to its table once and never moved or freed. It is written first, then counted in `used`, so a
   reader sees whole series only. A value is one aligned float of 8 bytes, which is read and written in one piece.
4. If a table is full, further label sets are counted in one series (`add` raises TableFull; see observe/metrics.py).
   A worker whose own kinds of series have no room in the table that it finds takes another table of its seat.
5. If the file was removed or replaced, each worker moves to the new one within a second, with its counts (`renew`).
6. The supervisor removes the file when it starts: the figures of a gateway begin with its life. Stock servers have no
   supervisor; there, a worker that finds no other worker makes the file anew.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attrs import define, field, frozen

from pg_trio.errors import StoreError
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.segment_file import taking_turns

logger = logging.getLogger("pg_trio.shared_memory")

# Its name in a data directory.
METRICS_NAME = "metrics.mem"
# 4 MiB: some 12,000 histograms of 30 buckets; a thousand endpoints need half of it.
TABLE_BYTES = 4 * 1024 * 1024
# More than two sets of 1,024 workers.
MAX_TABLES = 4096

# A table: 8 bytes for the lock, magic with the version, seat + 1 (0: never taken), pid, bytes used; then series.
_MAGIC = b"PGTRIOM1"
_MAGIC_AT, _SEAT_AT, _PID_AT, _USED_AT, _SERIES_AT = 8, 16, 24, 32, 64
_WORD = struct.Struct("@Q")
# A series: its bytes, and those of its key; the key, zeros up to a multiple of 8, and the values.
_SERIES = struct.Struct("@II")
_VALUE_BYTES = 8
_F_OFD_GETLK = 36
_FLOCK = struct.Struct("hhqqi4x")


class TableFull(Exception):
    """No room for another series."""


@frozen(slots=True)
class Series:
    """A series of a table: its key, and the place of its first value and their number, counted in values."""

    key: bytes
    place: int
    size: int


class MetricTable:
    """The table that this worker holds. `cells` are its values; only their holder writes them."""

    def __init__(self, descriptor: int, number: int, seat: int) -> None:
        self.number = number
        self.seat = seat
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, TABLE_BYTES, offset=number * TABLE_BYTES)
        self._prepare(seat)
        self.cells: memoryview[float] = memoryview(self._memory).cast("d")
        self._places = {series.key: series for series in read_series(self._memory)}

    def add(self, key: bytes, size: int) -> int:
        """The place of the series' first value; a series that is not there yet starts with zeros. Raises TableFull."""
        found = self._places.get(key)
        if found is not None and found.size == size:
            return found.place
        used: int = _WORD.unpack_from(self._memory, _USED_AT)[0]
        values_at = used + _SERIES.size + -(-len(key) // 8) * 8
        end = values_at + size * _VALUE_BYTES
        if end > TABLE_BYTES:
            raise TableFull
        self._memory[used + _SERIES.size : used + _SERIES.size + len(key)] = key
        self._memory[values_at:end] = bytes(end - values_at)
        _SERIES.pack_into(self._memory, used, end - used, len(key))
        _WORD.pack_into(self._memory, _USED_AT, end)
        self._places[key] = Series(key, values_at // _VALUE_BYTES, size)
        return values_at // _VALUE_BYTES

    def renew(self, path: Path) -> bool:
        """Move to the file that the path names, if it is another one by now. True if it moved: `cells` are new ones.

        Every value stays at its place. Raises StoreError; then the table is where it was.
        """
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(self._descriptor)):
                return False
        try:
            with taking_turns(path):
                descriptor, number = _take_table(path, self.seat, must_be_new=True)
        except OSError as error:
            raise StoreError(_explain(path, error)) from error
        memory = mmap.mmap(descriptor, TABLE_BYTES, offset=number * TABLE_BYTES)
        memory[_MAGIC_AT:] = self._memory[_MAGIC_AT:]
        self.close()
        self._descriptor, self._memory, self.number = descriptor, memory, number
        self.cells = memoryview(memory).cast("d")
        return True

    def close(self) -> None:
        """Let go of the table. Its counts stay."""
        if not self._memory.closed:
            self.cells.release()
            self._memory.close()
            os.close(self._descriptor)

    def _prepare(self, seat: int) -> None:
        memory = self._memory
        if memory[_MAGIC_AT:_SEAT_AT] != _MAGIC:
            memory[_MAGIC_AT:_SERIES_AT] = bytes(_SERIES_AT - _MAGIC_AT)
            memory[_MAGIC_AT:_SEAT_AT] = _MAGIC
        end = _SERIES_AT
        for series in read_series(memory):
            end = (series.place + series.size) * _VALUE_BYTES
        # Behind a damaged series, no reader would find another one.
        _WORD.pack_into(memory, _USED_AT, end)
        _WORD.pack_into(memory, _SEAT_AT, seat + 1)
        _WORD.pack_into(memory, _PID_AT, os.getpid())


def read_series(memory: mmap.mmap, start: int = _SERIES_AT) -> Iterator[Series]:
    """The series from `start` (bytes) on. Stops at a malformed one."""
    (used,) = _WORD.unpack_from(memory, _USED_AT)
    used = min(used, TABLE_BYTES)
    while start + _SERIES.size <= used:
        size, key_bytes = _SERIES.unpack_from(memory, start)
        key_at = start + _SERIES.size
        values_at = key_at + -(-key_bytes // 8) * 8
        end = start + size
        if size % _VALUE_BYTES or not values_at <= end <= used:
            return
        key = memory[key_at : key_at + key_bytes]
        yield Series(key, values_at // _VALUE_BYTES, (end - values_at) // _VALUE_BYTES)
        start = end


def begin_metrics(data_dir: Path) -> None:
    """Remove the figures of an earlier gateway, before the first worker of this one starts."""
    try:
        (data_dir / METRICS_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{data_dir / METRICS_NAME}: cannot be removed ({error.strerror}).") from error


def open_table(data_dir: Path, seat: int | None) -> MetricTable:
    """Take a table of the seat. Without a seat (no supervisor), of the first seat that no worker has.

    Raises StoreError if the file cannot be made or used.
    """
    path = data_dir / METRICS_NAME
    try:
        with taking_turns(path):
            if seat is None and not _is_used(path):
                path.unlink(missing_ok=True)
            descriptor, number = _take_table(path, seat)
            return MetricTable(descriptor, number, _seat_of(descriptor, number) if seat is None else seat)
    except OSError as error:
        raise StoreError(_explain(path, error)) from error


def _explain(path: Path, error: OSError) -> str:
    return (
        f"{path}: the file of metrics cannot be used ({error.strerror}); the gateway's user must own data_dir, and its"
        " disk must have some space."
    )


def _take_table(path: Path, seat: int | None, *, must_be_new: bool = False) -> tuple[int, int]:
    """The file, opened, and the number of the table whose lock is held there. Raises OSError, StoreError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        number = _choose_table(descriptor, seat, must_be_new=must_be_new)
        # A hole in a mapped file on a full disk would end the process with a SIGBUS during a request.
        os.posix_fallocate(descriptor, number * TABLE_BYTES, TABLE_BYTES)
        return descriptor, number
    except BaseException:
        os.close(descriptor)
        raise


def _choose_table(descriptor: int, seat: int | None, *, must_be_new: bool) -> int:
    """The number of a table that no worker has: the seat's, or the first unused one. Its lock is held."""
    count = 0 if must_be_new else count_tables(descriptor)
    seats = [_read_seat(descriptor, number) for number in range(count)]
    mine = [number for number in range(count) if seat is None or seats[number] == seat]
    unused = [number for number in range(count) if seats[number] is None]
    choices: list[int] = [*mine, *unused, *range(count, MAX_TABLES)]
    for number in choices:
        if must_be_new and _read_seat(descriptor, number) is not None:
            continue
        if ByteLock(descriptor, number * TABLE_BYTES).acquire_nowait():
            return number
    raise StoreError(f"{MAX_TABLES} workers have the metrics' file open already; stop some of them.")


def _seat_of(descriptor: int, number: int) -> int:
    """The seat of a table that a worker without a seat has taken."""
    seat = _read_seat(descriptor, number)
    return number if seat is None else seat


def _read_seat(descriptor: int, number: int) -> int | None:
    head = os.pread(descriptor, _PID_AT, number * TABLE_BYTES)
    if len(head) < _PID_AT or head[_MAGIC_AT:_SEAT_AT] != _MAGIC:
        return None
    (seat,) = _WORD.unpack_from(head, _SEAT_AT)
    return int(seat) - 1 if seat else None


def count_tables(descriptor: int) -> int:
    """How many whole tables the file has."""
    return min(os.fstat(descriptor).st_size // TABLE_BYTES, MAX_TABLES)


def _is_used(path: Path) -> bool:
    """Whether a worker holds a table of the file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return any(is_held(descriptor, number) for number in range(count_tables(descriptor)))
    finally:
        os.close(descriptor)


if sys.platform == "linux":

    def is_held(descriptor: int, number: int) -> bool:
        """Whether another open file holds the table: its worker lives."""
        request = _FLOCK.pack(fcntl.F_WRLCK, 0, number * TABLE_BYTES, 1, 0)
        return bool(_FLOCK.unpack(fcntl.fcntl(descriptor, _F_OFD_GETLK, request))[0] != fcntl.F_UNLCK)

else:

    def is_held(descriptor: int, number: int) -> bool:
        """Whether another process holds the table: its worker lives."""
        lock = ByteLock(descriptor, number * TABLE_BYTES)
        is_free = lock.acquire_nowait()
        if is_free:
            lock.release()
        return not is_free


@define(eq=False)
class TableReading:
    """A table as a reader sees it: whose it is, whether its worker lives, and its series with their values."""

    seat: int
    pid: int
    is_live: bool
    series: list[tuple[bytes, list[float]]]


@define(eq=False)
class _Mapped:
    """A table that the reader has mapped, and the series that it has found there so far."""

    memory: mmap.mmap
    cells: memoryview[float]
    series: list[Series] = field(factory=list)
    end: int = _SERIES_AT

    def read(self) -> list[tuple[bytes, list[float]]]:
        for one in read_series(self.memory, self.end):
            self.series.append(one)
            self.end = (one.place + one.size) * _VALUE_BYTES
        cells = self.cells
        return [(one.key, list(cells[one.place : one.place + one.size])) for one in self.series]


class MetricReader:
    """Reads the tables of all workers. One thread at a time uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._mapped: dict[int, _Mapped] = {}

    def read(self) -> list[TableReading]:
        """Every table that a worker has ever taken. Raises OSError."""
        self._reopen()
        readings = []
        for number in range(count_tables(self._descriptor)):
            seat = _read_seat(self._descriptor, number)
            if seat is not None:
                mapped = self._mapped.get(number) or self._map(number)
                (pid,) = _WORD.unpack_from(mapped.memory, _PID_AT)
                readings.append(TableReading(seat, pid, is_held(self._descriptor, number), mapped.read()))
        return readings

    def close(self) -> None:
        """Let go of the file."""
        for mapped in self._mapped.values():
            mapped.cells.release()
            mapped.memory.close()
        self._mapped.clear()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _reopen(self) -> None:
        """Open the file, or the one that has taken its place."""
        if self._descriptor >= 0 and os.path.samestat(os.stat(self._path), os.fstat(self._descriptor)):
            return
        self.close()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW)

    def _map(self, number: int) -> _Mapped:
        memory = mmap.mmap(self._descriptor, TABLE_BYTES, offset=number * TABLE_BYTES, access=mmap.ACCESS_READ)
        mapped = self._mapped[number] = _Mapped(memory, memoryview(memory).cast("d"))
        return mapped
