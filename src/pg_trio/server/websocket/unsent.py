"""Frames for one client, until the kernel has taken them.

Rules:
1. A frame is sent whole or not at all: what is half sent stays at the front.
2. Nothing here waits. The socket decides how much may be unsent.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable
from itertools import islice

# As many buffers as one call of sendmsg(2) takes on Linux (IOV_MAX).
MOST_AT_ONCE = 1024


class Unsent:
    """The unsent frames of one socket. `size` is their bytes."""

    __slots__ = ("_begun", "_frames", "size")

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        # Whether a part of the first frame is sent.
        self._begun = False
        self.size = 0

    def add(self, frames: Iterable[bytes]) -> None:
        """Append frames."""
        for frame in frames:
            self._frames.append(frame)
            self.size += len(frame)

    def send(self, sock: socket.socket) -> None:
        """Give the kernel what it takes now. Raises OSError if the peer is gone."""
        while self.size:
            try:
                sent = sock.sendmsg(islice(self._frames, MOST_AT_ONCE))
            except BlockingIOError:
                return
            self._drop(sent)

    def _drop(self, sent: int) -> None:
        self.size -= sent
        while sent:
            first = self._frames.popleft()
            if sent < len(first):
                self._frames.appendleft(first[sent:])
                self._begun = True
                return
            sent -= len(first)
            self._begun = False

    def keep_begun(self) -> None:
        """Drop the frames of which nothing was sent."""
        kept = self._frames[0] if self._begun else b""
        self.clear()
        self.add([kept] if kept else [])

    def clear(self) -> None:
        """Drop everything."""
        self._frames.clear()
        self.size = 0
