"""The source as a process of its own, and how a port that a process prints is learned."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.bench._peers.processes import Pinned, run_pinned

_ROOT = Path(__file__).resolve().parents[3]
_READY_LIMIT_S = 40.0


@contextlib.contextmanager
def run_source(*, core: int, log: Path) -> Iterator[tuple[Pinned, int]]:
    """The source and its port, for the length of the block. Raises: TimeoutError with what it said."""
    command = [sys.executable, "-m", "scripts.bench._streams.source"]
    with run_pinned("source", command, core=core, log=log, environment={"PYTHONPATH": str(_ROOT)}) as source:
        yield source, wait_said(source, "port ")


def wait_said(process: Pinned, before: str) -> int:
    """The port that the process printed behind these words. Raises: TimeoutError with what it printed instead."""
    give_up_at = time.monotonic() + _READY_LIMIT_S
    while time.monotonic() < give_up_at and process.is_alive():
        if found := re.search(rf"{re.escape(before)}(\d+)\s", process.read_log()):
            return int(found[1])
        time.sleep(0.05)
    raise TimeoutError(f"{process.name} was not ready:\n{process.read_log_end()}")
