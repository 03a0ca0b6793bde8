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
from pg_trio.web.websocket.chat_protocol import TRY_AGAIN

# 2 s for the last frames of a socket that closes: as long as in the lane.
CLOSE_S = 2.0


class Outlet(Protocol):
    """Takes frames. `rendered` are one or more, joined by line ends (surfaces.websocket)."""

    async def send(self, rendered: bytes) -> None:
        """Send frames. Waits while the client is too far behind. If cancelled, all of them are sent, or none."""

    async def close(self, code: int) -> None:
        """Close behind the frames. Only the first call counts."""

    async def run(self, note_stuck: Callable[[], None]) -> None:
        """A task of the socket's; returns once it is closed. `note_stuck` is called if the client takes nothing for the
        write limit: then what waits is dropped, and 1013 follows."""


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
        # How it closes, once the frames are written.
        self._code: int | None = None
        # Trio's clock when the write under way began.
        self._writes_since: float | None = None
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
                nursery.start_soon(self._watch_write, note_stuck)
                await self._write_all()
                nursery.cancel_scope.cancel(reason="the socket is closed")
        finally:
            self._has_closed.set()

    async def _watch_write(self, note_stuck: Callable[[], None]) -> None:
        """Act when one write takes too long. It is not cancelled: servers shield it, and half a frame would be out."""
        while True:
            await trio.sleep(self._write_s / 4)
            if self._writes_since is not None and trio.current_time() >= self._writes_since + self._write_s:
                break
        self._frames.clear()
        self._size, self._code = 0, TRY_AGAIN
        self._changed.unpark_all()
        note_stuck()

    async def _write_all(self) -> None:
        while True:
            while not self._frames:
                if self._code is not None:
                    await self._send({"type": "websocket.close", "code": self._code})
                    return
                await self._changed.park()
            frame = self._frames.popleft()
            self._writes_since = trio.current_time()
            await self._send({"type": "websocket.send", "text": frame.decode()})
            self._writes_since = None
            # Line ends between frames count until the queue is empty: a byte for each frame.
            self._size = self._size - len(frame) if self._frames else 0
            self._changed.unpark_all()
