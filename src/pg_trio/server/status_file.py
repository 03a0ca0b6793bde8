"""The supervisor's state for other commands: a small JSON file in the data directory, and a lock that shows that it
runs.

The lock is the kernel's (`flock` on `serve.lock`), so the process's end releases it. Without the lock, the file is of a
killed supervisor: its pid may belong to another process by now, and must not get signals.
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
    """The running supervisor's pid, its workers' pids, and its counts of reloads made and refused."""

    folder: Path
    _known: dict[str, Any] = field(factory=lambda: {"pid": os.getpid(), "reloads": 0, "refusals": 0})
    _lock: IO[bytes] | None = None

    def hold(self) -> None:
        """Become the only supervisor of this data directory until the process ends. Raises StoreError if one runs
        already."""
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
        """Replace the file with its old content and these changes. A full disk is only logged."""
        self._known |= changes
        new = self.folder / (FILE_NAME + ".new")
        try:
            # Remove a file of a killed supervisor, or a link.
            new.unlink(missing_ok=True)
            with _open_private(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
                file.write(json.dumps(self._known).encode() + b"\n")
            new.replace(self.folder / FILE_NAME)
        except OSError as error:
            logger.error("%s cannot be written (%s): `pg-trio reload` will not know how it went", new, _explain(error))

    def count(self, what: str, **changes: object) -> None:
        """The same, and increment the count of `what`."""
        self.write(**{what: self._known[what] + 1}, **changes)

    def remove(self) -> None:
        """Remove the file: the supervisor stops."""
        try:
            (self.folder / FILE_NAME).unlink(missing_ok=True)
        except OSError as error:
            logger.error("%s cannot be removed (%s)", self.folder / FILE_NAME, error.strerror)

    def read(self) -> dict[str, Any] | None:
        """The running supervisor's last state; None if none runs."""
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
    """Open the file itself, never a link's target. The file is for its owner alone, also if it existed."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if flags & os.O_CREAT:
        try:
            # Restore the mode: the umask or an older release may have changed it.
            os.fchmod(descriptor, 0o600)
        except OSError as error:
            logger.warning("%s: its mode cannot be changed (%s)", path, error.strerror)
    return os.fdopen(descriptor, "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "wb")


def _explain(error: OSError) -> str | None:
    return "a symbolic link, which is not followed" if error.errno == errno.ELOOP else error.strerror
