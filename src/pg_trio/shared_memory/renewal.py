"""Moving to another shared file while the gateway runs: where somebody wrote into ours, shortened or replaced it.

Rules:
1. A worker looks once a second. What it finds unsound is opened as at a start: set aside by whoever comes first, made
   anew with the month's spend from the log, found by the others. So all workers come to one file again, in seconds.
2. What this worker has reserved is reserved in the new file; there, buckets are full, breakers closed, times unknown.
3. Until then numbers may be wrong, and requests may be refused as if the gateway were overloaded; nothing else happens.
4. A file that was shortened ends each process that touches what lay behind its new end, before anybody can look: the
   supervisor starts another worker, which sets the file aside.
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
    """What keeps something in the file."""

    def rebind(self, segment: Segment) -> None:
        """Keep it in this one from now on. Raises StoreError or Overloaded."""


class SharedFile:
    """A worker's segment and everything that is kept in it."""

    def __init__(self, segment: Segment, parts: Sequence[Part] = ()) -> None:
        self.segment = segment
        self.parts = list(parts)

    def needs_renewal(self) -> bool:
        """Whether others may not see what is written here, or what is read here was written by somebody else."""
        return not (self.segment.is_current() and self.segment.is_sound())

    def renew(self, fill: Callable[[Segment], object]) -> None:
        """Move to the file that the path names, made if need be; see open_segment.

        Raises StoreError if that cannot be; then the old one stays.
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
