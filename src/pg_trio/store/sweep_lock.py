"""Which of the workers that share a directory sweeps a file of it: whoever holds the kernel's lock."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

logger = logging.getLogger("pg_trio.store")


class SweepLock:
    """One holder at a time; the kernel frees it with its holder's process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_hold(self) -> bool:
        """True: it is ours, and stays so until `close`. False: another's, or a disk that takes no file today."""
        if self._descriptor is None:
            self._descriptor = _try_lock(self._path)
        return self._descriptor is not None

    def close(self) -> None:
        """Anybody's again, if it was ours."""
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
