"""Pages of a file that hold nothing any more: kept for what comes, or given back to the disk in small steps."""

from __future__ import annotations

import sqlite3

# 4 MiB of free pages stay for the rows to come; what is more goes back, 1 MiB at a time.
KEPT_FREE_PAGES = 1_024
GIVEN_BACK_PAGES = 256
# What `PRAGMA auto_vacuum` says of a file that gives free pages back when told to.
_INCREMENTAL = 2


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the rows and their indexes take in the file; free pages are not counted."""
    query = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count"
    return int(connection.execute(f"{query}, pragma_page_size").fetchone()[0])


def has_pages_to_give(connection: sqlite3.Connection) -> bool:
    """More than KEPT_FREE_PAGES are free. Never of a file from before `auto_vacuum`: it fills them with new rows."""
    free, mode = connection.execute(
        "SELECT freelist_count, auto_vacuum FROM pragma_freelist_count, pragma_auto_vacuum"
    ).fetchone()
    return bool(free > KEPT_FREE_PAGES and mode == _INCREMENTAL)


def give_back_pages(connection: sqlite3.Connection) -> bool:
    """Where there are pages to give, GIVEN_BACK_PAGES of them are the disk's again. Whether any were."""
    if not has_pages_to_give(connection):
        return False
    # One page a step: `execute` takes a single step of a statement without columns, `executescript` all of them.
    connection.executescript(f"PRAGMA incremental_vacuum({GIVEN_BACK_PAGES})")
    return True
