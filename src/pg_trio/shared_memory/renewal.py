"""Moves a worker to a new shared file while the gateway runs, after the file was overwritten, shortened or replaced.

Rules:
1. A worker checks the file once a second. An unsound file is handled as at a start: the first worker sets it aside and
   makes a new one with the month's spend from the log, and the others open that. So all workers share one file again
   within seconds.
2. This worker's reservations are repeated in the new file. There, buckets are full, breakers closed, and latencies
   unknown.
3. Until then numbers may be wrong, and requests may be refused as if the gateway were overloaded. There is no other
   effect.
4. A shortened file ends each process that touches the missing part, before any check can run. The supervisor starts
   another worker, which sets the file aside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from pg_trio.errors import Overloaded, StoreError
from pg_trio.shared_memory.segment import Segment
from pg_trio.shared_memory.segment_file import open_segment, taking_turns

logger = logging.getLogger("pg_trio.shared_memory")


class Part(Protocol):
    """An object that keeps data in the file."""

    def rebind(self, segment: Segment) -> None:
        """Keep the data in this segment from now on. Raises StoreError or Overloaded."""


class SharedFile:
    """A worker's segment and the parts that keep data in it."""

    def __init__(self, segment: Segment, parts: Sequence[Part] = ()) -> None:
        self.segment = segment
        self.parts = list(parts)
        # While a part could not move: the files that it may still use, and the parts that have yet to move.
        self._older: list[Segment] = []
        self._unmoved: list[Part] = []

    def needs_renewal(self) -> bool:
        """Whether the path names another file by now, another program has damaged this one, or a part is still in an
        older one."""
        return bool(self._unmoved) or not self._is_usable()

    def _is_usable(self) -> bool:
        return self.segment.is_current() and self.segment.is_sound()

    def retire(self) -> None:
        """Remove the file, if the path still names this one, so that `renew` moves every worker to a new one.

        Raises StoreError.
        """
        try:
            with taking_turns(self.segment.path):
                if self.segment.is_current():
                    self.segment.path.unlink()
        except OSError as error:
            raise StoreError(f"{self.segment.path}: cannot be removed ({error.strerror}).") from error

    def renew(self, fill: Callable[[Segment], object]) -> None:
        """Move to the file that the path names, and make it if needed; see open_segment.

        Raises StoreError if that fails; then the parts that have not moved stay in the old file. The next call goes on
        with these, in the file that is open already.
        """
        if not self._is_usable():
            new = open_segment(self.segment.path, fill=fill, unsound=None if self.segment.is_sound() else self.segment)
            self._older.append(self.segment)
            self.segment, self._unmoved = new, list(self.parts)
        try:
            while self._unmoved:
                self._unmoved[0].rebind(self.segment)
                del self._unmoved[0]
        except (StoreError, Overloaded) as error:
            raise StoreError(f"{self.segment.path}: {error}") from error
        self._close_older()
        logger.warning("%s was damaged, removed or replaced: this worker has moved to a new one", self.segment.path)

    def _close_older(self) -> None:
        for segment in self._older:
            segment.close()
        self._older.clear()

    def close(self) -> None:
        """See Segment.close."""
        self._close_older()
        self.segment.close()
