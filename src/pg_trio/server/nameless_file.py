"""A file without a name, to hand a process that is started as much text as it needs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO


def open_nameless_file(folder: Path) -> IO[bytes]:
    """An empty file to write and read, in memory; in `folder` where the system has no such files.

    Never in /tmp: a container may have none, and a root that is read-only. Not in `folder` where memory does, either:
    its disk may be full, and a worker that died must be started again all the same.
    Raises: OSError.
    """
    if hasattr(os, "memfd_create"):
        try:
            return os.fdopen(os.memfd_create("pg-trio"), "w+b")
        except OSError:
            pass  # a seccomp filter may forbid the call
    return tempfile.TemporaryFile(dir=folder)
