"""Kernel locks on single bytes of the shared file. The kernel releases them when their owner ends, in any way.

Linux has locks of the open file description (fcntl_locking(2), "Open file description locks"): each opened segment is
its own owner, even two in one process. Other systems use a process's classic locks, for development only: they vanish
when any descriptor of the file is closed. Neither kind separates threads of one process, so one thread makes all calls.
A forked child shares the locks until it closes the segment, too; workers are not forked.
"""

from __future__ import annotations

import fcntl
import struct
import sys
import time

# linux/fcntl.h; the fcntl module has the names only if Python was built with them.
_F_OFD_SETLK = 37
# struct flock of 64-bit Linux: type, whence, start, length, pid (0 for these locks), padding.
_FLOCK = struct.Struct("hhqqi4x")

# A holder works for some microseconds, so immediate tries succeed unless the kernel has paused the holder.
QUICK_TRIES = 20
# A paused holder needs a time slice (3 ms at most on Linux by default), so this side waits in short pauses.
PAUSE_S = 50e-6
# A holder that keeps a lock longer counts as stopped. If it was only late, taking over does no harm.
LOCK_LIMIT_S = 2e-3


class ByteLock:
    """The exclusive lock on one byte. Taking it again by the same owner succeeds; one release gives it back."""

    __slots__ = ("_descriptor", "_offset", "_take_request", "_yield_request")

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._take_request = _FLOCK.pack(fcntl.F_WRLCK, 0, offset, 1, 0)
        self._yield_request = _FLOCK.pack(fcntl.F_UNLCK, 0, offset, 1, 0)

    if sys.platform == "linux":

        def acquire_nowait(self) -> bool:
            """Take it, if no other owner has it."""
            try:
                fcntl.fcntl(self._descriptor, _F_OFD_SETLK, self._take_request)
            except (BlockingIOError, PermissionError):
                return False
            return True

        def release(self) -> None:
            """Give it back."""
            fcntl.fcntl(self._descriptor, _F_OFD_SETLK, self._yield_request)

    else:

        def acquire_nowait(self) -> bool:
            """Take it, if no other process has it."""
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._offset)
            except (BlockingIOError, PermissionError):
                return False
            return True

        def release(self) -> None:
            """Give it back."""
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._offset)

    def acquire_within_limit(self) -> bool:
        """Take it, trying for LOCK_LIMIT_S at most. False: its holder is stopped, or too slow."""
        if self.acquire_quickly():
            return True
        limit = time.monotonic() + LOCK_LIMIT_S
        while time.monotonic() < limit:
            time.sleep(PAUSE_S)
            if self.acquire_nowait():
                return True
        return False

    def acquire_quickly(self) -> bool:
        """Take it, trying for some microseconds."""
        return any(self.acquire_nowait() for _ in range(QUICK_TRIES))
