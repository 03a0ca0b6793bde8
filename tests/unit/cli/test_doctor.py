"""What `pg-trio doctor` shows while it reads a large file."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest

from pg_trio.cli.doctor import WorkingLine
from pg_trio.store import health
from pg_trio.store.databases import DATABASES


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_is_shown_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    now_s = [100.0]
    line = WorkingLine(lambda: now_s[0])
    for now_s[0] in (101.0, 101.9, 102.0, 102.5, 103.1):
        line.tell("log.db")
    line.clear()

    assert "\rlog.db: being read for 2 s\rlog.db: being read for 3 s\r\x1b[K" == terminal.getvalue()


def test_short_work_and_pipes_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for output, times in ((Terminal(), (101.0, 101.9)), (StringIO(), (101.0, 109.0))):
        monkeypatch.setattr(sys, "stderr", output)
        now_s = [100.0]
        line = WorkingLine(lambda now_s=now_s: now_s[0])  # type: ignore[misc]
        for now_s[0] in times:
            line.tell("log.db")
        line.clear()
        assert "" == output.getvalue()


def test_database_tells_that_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WORKING_STEPS", 10)
    database, told = DATABASES[0], list[str]()
    database.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / database.file_name)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()

    health.check_database(tmp_path, database, told.append)

    assert {database.file_name} == set(told)
