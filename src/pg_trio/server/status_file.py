"""What the supervisor tells other commands: a small JSON file in the data directory, and a lock that says it lives.

The lock is the kernel's (`flock` on `serve.lock`), so it goes with the process, however that ends: a file left behind
by a killed supervisor names a pid that may be anybody's by now, and nobody must send signals to that.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
from pathlib import Path
from typing import IO, Any

from attrs import define, field

from pg_trio.errors import StoreError

logger = logging.getLogger("pg_trio.supervisor")

FILE_NAME = "serve.json"
LOCK_NAME = "serve.lock"


@define
class StatusFile:
    """The running supervisor's pid, its workers' pids, and how many reloads it made and refused so far."""

    folder: Path
    _known: dict[str, Any] = field(factory=lambda: {"pid": os.getpid(), "reloads": 0, "refusals": 0})
    _lock: IO[bytes] | None = None

    def hold(self) -> None:
        """Be the one supervisor of this data directory until the process ends. Raises StoreError where one runs."""
        try:
            lock = _open_private(self.folder / LOCK_NAME, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise StoreError(f"{self.folder / LOCK_NAME}: cannot be used ({_explain(error)}); remove it.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            running = self.read()
            who = f" (process {running['pid']})" if running else ""
            raise StoreError(
                f"{self.folder}: another pg-trio serve{who} uses this data directory; stop it, or choose another."
            ) from error
        self._lock = lock

    def write(self, **changes: object) -> None:
        """Replace the file: what was known before, with these changes. A disk that is full is logged, no more."""
        self._known |= changes
        new = self.folder / (FILE_NAME + ".new")
        try:
            # One that a killed supervisor left, or a link that somebody put there.
            new.unlink(missing_ok=True)
            with _open_private(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
                file.write(json.dumps(self._known).encode() + b"\n")
            new.replace(self.folder / FILE_NAME)
        except OSError as error:
            logger.error("%s cannot be written (%s): `pg-trio reload` will not know how it went", new, _explain(error))

    def count(self, what: str, **changes: object) -> None:
        """The same, and one more of `what`."""
        self.write(**{what: self._known[what] + 1}, **changes)

    def remove(self) -> None:
        """Nobody serves any more."""
        try:
            (self.folder / FILE_NAME).unlink(missing_ok=True)
        except OSError as error:
            logger.error("%s cannot be removed (%s)", self.folder / FILE_NAME, error.strerror)

    def read(self) -> dict[str, Any] | None:
        """What the running supervisor wrote last; None if none runs."""
        try:
            with _open_private(self.folder / LOCK_NAME, os.O_RDONLY) as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            pass
        except OSError:
            return None
        try:
            with _open_private(self.folder / FILE_NAME, os.O_RDONLY) as file:
                known = json.loads(file.read())
            return known if isinstance(known["pid"], int) else None
        except (OSError, ValueError, LookupError, TypeError):
            return None


def _open_private(path: Path, flags: int) -> IO[bytes]:
    """The file itself, never what a link leads to; one that is made, or was there, is for its owner alone."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if flags & os.O_CREAT:
        try:
            # Whatever the umask took away, or an older release left.
            os.fchmod(descriptor, 0o600)
        except OSError as error:
            logger.warning("%s: its mode cannot be changed (%s)", path, error.strerror)
    return os.fdopen(descriptor, "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "wb")


def _explain(error: OSError) -> str | None:
    return "a symbolic link, which is not followed" if error.errno == errno.ELOOP else error.strerror
