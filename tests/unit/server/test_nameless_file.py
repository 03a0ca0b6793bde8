"""Where the configuration's text is while a worker is started."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pg_trio.server.nameless_file import open_nameless_file


def forbid(*_: object) -> int:
    raise PermissionError(1, "Operation not permitted")


def test_needs_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))

    with open_nameless_file(tmp_path / "none") as file:
        file.write(b"text")
        file.seek(0)

        assert b"text" == file.read()


def test_is_in_folder_without_memory_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.setattr(os, "memfd_create", forbid, raising=False)

    with open_nameless_file(tmp_path) as file:
        file.write(b"text")
        file.seek(0)

        assert b"text" == file.read()
    assert [] == list(tmp_path.iterdir())
