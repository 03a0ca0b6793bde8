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
from pg_trio.shared_memory.segment_file import open_segment

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

    def needs_renewal(self) -> bool:
        """Whether the path names another file by now, or another program has damaged this one."""
        return not (self.segment.is_current() and self.segment.is_sound())

    def renew(self, fill: Callable[[Segment], object]) -> None:
        """Move to the file that the path names, and make it if needed; see open_segment.

        Raises StoreError if that fails; then the old file stays in use.
        """
        old = self.segment
        new = open_segment(old.path, fill=fill, unsound=None if old.is_sound() else old)
        try:
            for part in self.parts:
                part.rebind(new)
        except (StoreError, Overloaded) as error:
            raise StoreError(f"{new.path}: {error}") from error
        self.segment = new
        old.close()
        logger.warning("%s was damaged or replaced: this worker has moved to a new one", new.path)

    def close(self) -> None:
        """See Segment.close."""
        self.segment.close()
