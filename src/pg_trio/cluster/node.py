"""Who this node is, and how many nodes live.

A node's name comes from the configuration. Its id is made once and kept in its data directory, so all its workers have
it, also after a restart. A name belongs to one id at a time: while that node lives, another gateway of the same name is
refused, and does not renew what it holds.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from attrs import define

from pg_trio.errors import StoreError

logger = logging.getLogger("pg_trio.cluster")

FILE_NAME = "node.id"
# How many nodes lived when Redis was last heard: a node that starts without Redis goes by its last share, too.
COUNT_NAME = "node.count"
# No cluster has more nodes. A file that says so is damaged.
MOST_DIGITS = 5
# A UUID in hexadecimal digits.
ID_CHARS = 32
# Beats further apart are a break. Less than a node may spend its leases for without a word (postgres/lease_term.py).
BREAK_S = 10.0


@define(eq=False)
class Node:
    """This node as the engines know it. `live_nodes` is at least 1; without news it stays as it was, also over a
    restart."""

    name: str
    id: str
    live_nodes: int = 1
    # Where the number is kept; None: nowhere.
    count_file: Path | None = None
    # Another gateway has this node's name.
    is_fenced: bool = False
    # Trio's clock when the newest beat that Redis has was sent, and the first one of those without a break.
    beaten_at: float = -math.inf
    beating_since: float = math.inf

    def note_beat(self, sent_at: float) -> None:
        """Redis has a sign of life of this node that was sent then."""
        if sent_at - self.beaten_at > BREAK_S:
            self.beating_since = sent_at
        self.beaten_at = max(self.beaten_at, sent_at)

    def note_nodes(self, live: int) -> None:
        """So many nodes live."""
        if live == self.live_nodes:
            return
        self.live_nodes = live
        if self.count_file is not None:
            try:
                _write(self.count_file, str(live), os.replace)
            except OSError as error:
                logger.warning("%s cannot be written (%s)", self.count_file, error.strerror)


def open_node(name: str, data_dir: Path) -> Node:
    """The node of a data directory, as it was when Redis was last heard. Raises StoreError."""
    path = data_dir / COUNT_NAME
    return Node(name, read_node_id(data_dir), _read_count(path), path)


def _read_count(path: Path) -> int:
    try:
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return 1
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS and int(text) else 1


def read_node_id(data_dir: Path) -> str:
    """The id in the data directory, made if there is none. Raises StoreError."""
    path = data_dir / FILE_NAME
    try:
        if not path.exists():
            data_dir.mkdir(parents=True, exist_ok=True)
            # Of several workers that start at once, the first one's stays.
            with suppress(FileExistsError):
                _write(path, uuid4().hex, os.link)
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be used ({error}); check the directory's permissions") from error
    if len(text) != ID_CHARS or not text.isalnum():
        raise StoreError(f"{path}: is not a node's id; delete the file, and a new one is made")
    return text


def _write(path: Path, text: str, place: Callable[[str, Path], None]) -> None:
    """Make the file whole before it has its name. `place`: os.replace, or os.link, which raises if there is one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        place(name, path)
    finally:
        # os.replace has taken it away.
        with suppress(FileNotFoundError):
            os.unlink(name)
