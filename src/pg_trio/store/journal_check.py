"""Checks a database's -wal file for damage. SQLite reads it up to the first damaged page and ignores the rest silently.

Only for a file that no process has open, because an open one changes during the check. Format:
sqlite.org/walformat.html, 2026-11.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from pathlib import Path

logger = logging.getLogger("pg_trio.store")

# Magic (its lowest bit: big-endian sums), version, page size, sequence, two salts, two sums.
_HEADER = struct.Struct(">8I")
_HEADER_SUMMED = 24
# Page number, size of the database after a commit, two salts, two sums; the first 8 bytes are summed, then the page.
_FRAME = struct.Struct(">6I")
_FRAME_SUMMED = 8
_MAGIC = 0x377F0682
# 1,000 pages: at this number SQLite moves them into the database itself. Summing that many takes 0.2 s.
MAX_FRAMES = 1_000
MASK = 0xFFFFFFFF


def tell_damaged_journal(database: Path) -> None:
    """If the database's -wal file is damaged, log an error and keep a copy beside it."""
    journal = Path(f"{database}-wal")
    try:
        descriptor = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as file:
        damage = find_damage(file.read(_HEADER.size + MAX_FRAMES * (_FRAME.size + 65_536)))
        if damage is None:
            return
        aside = journal.with_name(f"{journal.name}.bad-{int(time.time())}")
        file.seek(0)
        _copy(file.read(), aside)
    logger.error(
        "%s: damaged, %s: what was written last is lost, so tokens that were revoked may be good again; look through"
        " them, or restore a backup. A copy is %s",
        journal,
        damage,
        aside.name,
    )


def find_damage(data: bytes) -> str | None:
    """The damage in these bytes of a -wal file; None if there is none.

    Bytes after the last frame of the current sequence belong to an older one and are ignored.
    """
    if len(data) < _HEADER.size:
        return None  # nothing was ever written
    magic, _, page_bytes, _, *salts, first, second = _HEADER.unpack_from(data)
    if magic & ~1 != _MAGIC or not 512 <= page_bytes <= 65_536:
        return "no header"
    order = ">" if magic & 1 else "<"
    sums = _add((0, 0), data[:_HEADER_SUMMED], order)
    if sums != (first, second):
        return "its header"
    size = _FRAME.size + page_bytes
    for number in range(min((len(data) - _HEADER.size) // size, MAX_FRAMES)):
        at = _HEADER.size + number * size
        _, _, *frame_salts, first, second = _FRAME.unpack_from(data, at)
        if frame_salts != salts:
            return _find_later(data[at:], size, salts, number)
        sums = _add(sums, data[at : at + _FRAME_SUMMED], order)
        sums = _add(sums, data[at + _FRAME.size : at + size], order)
        if sums != (first, second):
            return f"from page {number + 1} on"
    return None


def _find_later(data: bytes, size: int, salts: list[int], number: int) -> str | None:
    """After a frame of another sequence there must be no frame of the current one. If there is, the file was
    overwritten."""
    later = (data[at + 8 : at + 16] for at in range(0, len(data) - size + 1, size))
    return f"from page {number + 1} on" if struct.pack(">2I", *salts) in later else None


def _add(sums: tuple[int, int], data: bytes, order: str) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & MASK
        second = (second + odd + first) & MASK
    return first, second


def _copy(data: bytes, aside: Path) -> None:
    try:
        with os.fdopen(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as copy:
            copy.write(data)
    except OSError as error:
        logger.error("%s: cannot be written (%s)", aside, error.strerror)
