"""Where a socket's frames go. Both outlets hold at most UNSENT_BYTES, then `send` waits.

The lane holds unsent frames itself. Under other servers a task of ours writes them one by one: a cancelled answer then
leaves no half of a frame, and is not held up by a client that does not read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio

from pg_trio.domain.socket_link import SEND_TEXTS, UNSENT_BYTES
from pg_trio.web.asgi_types import Send

# 2 s for the last frames of a socket that closes: as long as in the lane.
CLOSE_S = 2.0


class Outlet(Protocol):
    """Takes frames. `rendered` are one or more, joined by line ends (surfaces.websocket)."""

    async def send(self, rendered: bytes) -> None:
        """Send frames. Waits while the client is too far behind. If cancelled, all of them are sent, or none."""

    async def close(self, code: int) -> None:
        """Close behind the frames. Only the first call counts."""

    async def run(self, note_stuck: Callable[[], None]) -> None:
        """A task of the socket's. `note_stuck` is called if the client takes nothing for the write limit."""


class LaneOutlet:
    """Sends into the lane."""

    __slots__ = ("_send",)

    def __init__(self, send: Send) -> None:
        self._send = send

    async def send(self, rendered: bytes) -> None:
        """See Outlet."""
        await self._send({"type": SEND_TEXTS, "texts": rendered.split(b"\n")})

    async def close(self, code: int) -> None:
        """See Outlet."""
        await self._send({"type": "websocket.close", "code": code})

    async def run(self, note_stuck: Callable[[], None]) -> None:
        """Nothing to do: the lane has the limits, and cancels the application."""


class QueuedOutlet:
    """Sends over ASGI from a task of its own."""

    def __init__(self, send: Send, write_s: float) -> None:
        self._send = send
        self._write_s = write_s
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._code: int | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._has_closed = trio.Event()

    async def send(self, rendered: bytes) -> None:
        """See Outlet."""
        while self._size and self._size + len(rendered) > UNSENT_BYTES and self._code is None:
            await self._changed.park()
        if self._code is None:
            self._frames.extend(rendered.split(b"\n"))
            self._size += len(rendered)
            self._changed.unpark_all()

    async def close(self, code: int) -> None:
        """See Outlet."""
        if self._code is None:
            self._code = code
            self._changed.unpark_all()
        with trio.move_on_after(CLOSE_S, shield=True):
            await self._has_closed.wait()

    async def run(self, note_stuck: Callable[[], None]) -> None:
        """See Outlet."""
        try:
            async with trio.open_nursery() as nursery:
                clock = _WriteClock(self._write_s, note_stuck)
                nursery.start_soon(clock.run)
                await self._write_all(clock)
                nursery.cancel_scope.cancel(reason="the socket is closed")
        finally:
            self._has_closed.set()

    async def _write_all(self, clock: _WriteClock) -> None:
        while True:
            while not self._frames:
                if self._code is not None:
                    await self._send({"type": "websocket.close", "code": self._code})
                    return
                await self._changed.park()
            frame = self._frames.popleft()
            clock.began_at = trio.current_time()
            await self._send({"type": "websocket.send", "text": frame.decode()})
            clock.began_at = None
            # A frame more or less than the joints: as good as exact.
            self._size = self._size - len(frame) if self._frames else 0
            self._changed.unpark_all()


class _WriteClock:
    """Tells when one write takes too long. A server may shield it, so it is not cancelled here."""

    def __init__(self, write_s: float, note_stuck: Callable[[], None]) -> None:
        self.began_at: float | None = None
        self._write_s = write_s
        self._note_stuck = note_stuck

    async def run(self) -> None:
        while True:
            await trio.sleep(self._write_s / 4)
            if self.began_at is not None and trio.current_time() >= self.began_at + self._write_s:
                self._note_stuck()
                return
