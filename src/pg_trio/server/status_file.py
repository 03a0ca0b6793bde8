"""What the supervisor tells other commands: a small JSON file in the data directory, and a lock that says it lives.

The lock is the kernel's (`flock` on `serve.lock`), so it goes with the process, however that ends: a file left behind
by a killed supervisor names a pid that may be anybody's by now, and nobody must send signals to that.
"""

from __future__ import annotations

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
        lock = (self.folder / LOCK_NAME).open("wb")
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
            new.write_text(json.dumps(self._known) + "\n", encoding="utf-8")
            new.replace(self.folder / FILE_NAME)
        except OSError as error:
            logger.error("%s cannot be written (%s): `pg-trio reload` will not know how it went", new, error.strerror)

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
            with (self.folder / LOCK_NAME).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            pass
        except OSError:
            return None
        try:
            known = json.loads((self.folder / FILE_NAME).read_text(encoding="utf-8"))
            return known if isinstance(known["pid"], int) else None
        except (OSError, ValueError, LookupError, TypeError):
            return None
