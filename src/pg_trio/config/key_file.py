"""A secret in a file that another process rewrites while the gateway runs, such as a token that is valid for an hour.

Rules:
1. The file is checked when the secret is used, at most once in CHECK_EVERY_S, and read if it has changed. Both take a
   few microseconds for a small file on a disk, so they run without a thread.
2. If the file is gone or holds no secret, the old one stays in use. This is logged once until the file changes again.
3. Replace such a file by renaming a new file over it. A file that is read while it is written may hold only a part of
   the secret.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from pg_trio.config.reading import FILE_PREFIX, read_secret
from pg_trio.domain.secret import Secret

# A second: clients of Kubernetes' projected tokens wait at least as long between two checks.
CHECK_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class KeyFile(Secret):
    """The current secret of a file. Like every Secret, it is equal to any secret with the same value."""

    __slots__ = ("_looked_at", "_monotonic_s", "_path", "_stamp", "previous", "source")

    def __init__(self, path: Path, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError if the file holds no secret. The error never quotes the file."""
        self._stamp = _stamp_of(path)
        super().__init__(_read(path))
        self._path = path
        self._monotonic_s = monotonic_s
        self._looked_at = monotonic_s()
        self.source: str | None = str(path)
        self.previous: Secret | None = None

    def reveal(self) -> str:
        """The secret, read again if the file has changed."""
        now = self._monotonic_s()
        if now - self._looked_at >= CHECK_EVERY_S:
            self._looked_at = now
            self._look()
        return self._value

    def _look(self) -> None:
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            value = _read(self._path)
        except ValueError as error:
            _log.error("a key was not read again, the old one stays in use: %s", error)
            return
        if value != self._value:
            self.previous = Secret(self._value)
            self._value = value
            _log.info("a key was read again: its file %s has changed", self._path)


class SchemedKeyFile(Secret):
    """The secret of a file behind a scheme (`Bearer TOKEN`). It changes with `file`."""

    __slots__ = ("_scheme", "file", "source")

    def __init__(self, scheme: str, file: KeyFile) -> None:
        super().__init__(f"{scheme} {file.reveal()}")
        self._scheme = scheme
        self.file = file
        self.source: str | None = f"{scheme} {file.source}"

    def reveal(self) -> str:
        """The scheme and the file's current secret."""
        self._value = f"{self._scheme} {self.file.reveal()}"
        return self._value


def _read(path: Path) -> str:
    return read_secret(f"{FILE_PREFIX}{path}", Path(), {}).reveal()


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    """A value that changes with the file's content; None if there is no file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
