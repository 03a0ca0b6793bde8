"""Free pages of a database file: some are kept for new rows, the rest is returned to the disk in small steps."""

from __future__ import annotations

import sqlite3

# 4 MiB of free pages are kept for new rows; the rest is returned, 1 MiB at a time.
KEPT_FREE_PAGES = 1_024
GIVEN_BACK_PAGES = 256
# The value of `PRAGMA auto_vacuum` for a file that returns free pages on request.
_INCREMENTAL = 2


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the rows and their indexes in the file, without free pages."""
    query = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count"
    return int(connection.execute(f"{query}, pragma_page_size").fetchone()[0])


def has_pages_to_give(connection: sqlite3.Connection) -> bool:
    """Whether more than KEPT_FREE_PAGES are free. Always False for a file without `auto_vacuum`, which fills them with
    new rows."""
    free, mode = connection.execute(
        "SELECT freelist_count, auto_vacuum FROM pragma_freelist_count, pragma_auto_vacuum"
    ).fetchone()
    return bool(free > KEPT_FREE_PAGES and mode == _INCREMENTAL)


def give_back_pages(connection: sqlite3.Connection) -> bool:
    """Return GIVEN_BACK_PAGES pages to the disk if there are pages to return. True if some were."""
    if not has_pages_to_give(connection):
        return False
    # SQLite returns one page per step. `execute` makes one step of a statement without columns, `executescript` all
    # steps.
    connection.executescript(f"PRAGMA incremental_vacuum({GIVEN_BACK_PAGES})")
    return True
