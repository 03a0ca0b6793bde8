"""The file of metrics: who takes which table, what a reader sees, and what damage does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_trio.errors import StoreError
from pg_trio.shared_memory.metric_file import (
    METRICS_NAME,
    TABLE_BYTES,
    MetricReader,
    MetricTable,
    TableFull,
    begin_metrics,
    open_table,
)

KEY = b'["request"]'


def count(table: MetricTable, amount: float, key: bytes = KEY) -> None:
    table.cells[table.add(key, 1)] += amount


def total(folder: Path, key: bytes = KEY) -> float:
    """The sum over all tables, as a reader of its own sees it."""
    reader = MetricReader(folder / METRICS_NAME)
    found = sum(values[0] for table in reader.read() for name, values in table.series if name == key)
    reader.close()
    return found


def seats(folder: Path) -> list[tuple[int, bool]]:
    reader = MetricReader(folder / METRICS_NAME)
    found = [(table.seat, table.is_live) for table in reader.read()]
    reader.close()
    return found


def test_restarted_worker_goes_on(tmp_path: Path) -> None:
    for _ in range(3):
        table = open_table(tmp_path, 1)
        count(table, 2)
        table.close()

    assert 6.0 == total(tmp_path)
    assert [(1, False)] == seats(tmp_path)


def test_two_workers_of_a_seat_have_two_tables(tmp_path: Path) -> None:
    old, new = open_table(tmp_path, 1), open_table(tmp_path, 1)
    count(old, 1)
    count(new, 2)

    assert [(1, True), (1, True)] == seats(tmp_path)
    old.close()
    third = open_table(tmp_path, 1)
    count(third, 4)

    assert old.number == third.number
    assert 7.0 == total(tmp_path)
    new.close()
    third.close()


def test_other_seats_table_is_left_alone(tmp_path: Path) -> None:
    open_table(tmp_path, 0).close()
    table = open_table(tmp_path, 1)

    assert [(0, False), (1, True)] == seats(tmp_path)
    table.close()


def test_reader_sees_new_series_and_values(tmp_path: Path) -> None:
    table, reader = open_table(tmp_path, 0), MetricReader(tmp_path / METRICS_NAME)
    assert [] == reader.read()[0].series

    count(table, 1)
    table.add(b"histogram", 3)
    table.cells[table.add(b"histogram", 3) + 1] = 5.0
    count(table, 1)

    assert [(KEY, [2.0]), (b"histogram", [0.0, 5.0, 0.0])] == reader.read()[0].series
    assert os.getpid() == reader.read()[0].pid
    reader.close()
    table.close()


def test_full_table_keeps_its_series(tmp_path: Path) -> None:
    table = open_table(tmp_path, 0)
    count(table, 1)

    with pytest.raises(TableFull):
        table.add(b"huge", TABLE_BYTES // 8)
    count(table, 1)

    assert 2.0 == total(tmp_path)
    table.close()


def test_gateway_begins_anew(tmp_path: Path) -> None:
    table = open_table(tmp_path, 0)
    count(table, 1)
    table.close()

    begin_metrics(tmp_path)
    begin_metrics(tmp_path)
    open_table(tmp_path, 0).close()

    assert 0.0 == total(tmp_path)


def test_reader_follows_the_path(tmp_path: Path) -> None:
    old, reader = open_table(tmp_path, 0), MetricReader(tmp_path / METRICS_NAME)
    count(old, 1)
    reader.read()
    begin_metrics(tmp_path)
    new = open_table(tmp_path, 0)
    count(new, 5)

    assert [(KEY, [5.0])] == reader.read()[0].series
    reader.close()
    old.close()
    new.close()


def test_first_worker_without_supervisor_begins_anew(tmp_path: Path) -> None:
    first = open_table(tmp_path, None)
    count(first, 1)
    second = open_table(tmp_path, None)
    count(second, 2)
    assert [(0, True), (1, True)] == seats(tmp_path)
    first.close()
    again = open_table(tmp_path, None)
    assert (0, 3.0) == (again.seat, total(tmp_path))
    again.close()
    second.close()

    open_table(tmp_path, None).close()

    assert 0.0 == total(tmp_path)


def test_worker_moves_to_a_new_file(tmp_path: Path) -> None:
    path, table, other = tmp_path / METRICS_NAME, open_table(tmp_path, 0), open_table(tmp_path, 1)
    for one in (table, other):
        count(one, 3)
    assert not table.renew(path)

    path.unlink()
    assert table.renew(path)
    assert other.renew(path)
    for one in (table, other):
        count(one, 1)
        count(one, 1, b"more")

    assert [(0, True), (1, True)] == seats(tmp_path)
    assert (8.0, 2.0) == (total(tmp_path), total(tmp_path, b"more"))
    table.close()
    other.close()


WRITER = """
import sys
from pathlib import Path
from pg_trio.shared_memory.metric_file import open_table
table = open_table(Path(sys.argv[1]), 3)
place = table.add(b'["request"]', 1)
number = 0
while True:
    table.cells[place] += 1.0
    number += 1
    if number % 1000 == 0:
        table.add(b"more %d" % number, 2)
    sys.stdout.buffer.raw.write(b".")
"""


def test_killed_writer_loses_at_most_one(tmp_path: Path) -> None:
    acknowledged = 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        acknowledged += len(writer.stdout.read(5000))
        writer.send_signal(signal.SIGKILL)
        acknowledged += len(writer.stdout.read())
        writer.wait()
        writer.stdout.close()

    assert acknowledged <= total(tmp_path) <= acknowledged + 3
    assert [(3, False)] == seats(tmp_path)


@settings(max_examples=60)
@given(noise=st.binary(min_size=1, max_size=200), at=st.integers(0, 400))
def test_damage_is_survived(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    folder = tmp_path_factory.mktemp("damage")
    table = open_table(folder, 0)
    for number in range(8):
        count(table, 1, b"key %d" % number)
    table.close()
    with (folder / METRICS_NAME).open("r+b") as file:
        file.seek(at)
        file.write(noise)

    reader = MetricReader(folder / METRICS_NAME)
    reader.read()
    again = open_table(folder, 0)
    count(again, 1, b"new")

    assert total(folder, b"new") >= 1.0
    again.close()
    reader.close()


def test_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / METRICS_NAME).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="file of metrics cannot be used"):
        open_table(tmp_path, 0)
    assert not (tmp_path / "elsewhere").exists()
