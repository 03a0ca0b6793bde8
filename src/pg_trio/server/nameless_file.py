"""A file without a name, which passes text of any length to a new process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO


def open_nameless_file(folder: Path) -> IO[bytes]:
    """An empty file for writing and reading, in memory; in `folder` if the system has no memory files.

    Never in /tmp: a container may have none, and a read-only root. Memory is preferred to `folder`, whose disk may be
    full: a dead worker must be restarted even then.
    Raises: OSError.
    """
    if hasattr(os, "memfd_create"):
        try:
            return os.fdopen(os.memfd_create("pg-trio"), "w+b")
        except OSError:
            pass  # a seccomp filter may forbid the call
    return tempfile.TemporaryFile(dir=folder)
