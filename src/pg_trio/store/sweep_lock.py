"""Decides which worker sweeps a file of a shared directory: the one that holds the kernel's lock."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

logger = logging.getLogger("pg_trio.store")


class SweepLock:
    """One holder at a time. The kernel releases the lock when the holder's process ends, in any way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_hold(self) -> bool:
        """True if this worker holds the lock, until `close`. False if another does, or the disk refuses the file."""
        if self._descriptor is None:
            self._descriptor = _try_lock(self._path)
        return self._descriptor is not None

    def close(self) -> None:
        """Release the lock, if this worker holds it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _try_lock(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            logger.error("%s: a symbolic link, which is not followed; nothing is swept until it is gone", path)
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
