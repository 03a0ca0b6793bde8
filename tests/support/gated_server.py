"""The lane with an application that says how much room it has: a test sets it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import trio

from pg_trio.config.settings import ServerSettings
from pg_trio.domain.verdict import Verdict
from pg_trio.server.http1.busy_answer import BusyAnswer
from pg_trio.server.http1.types import DOOR, Door, Receive, Scope, Send
from tests.support.http_servers import Handler, ProbeApp, RawClient, connected, echo, request, serving

BUSY_ID = uuid4()
OVERLOADED = b'{"ok":false,"error":"Gateway is overloaded."}'
BUSY = BusyAnswer(
    503,
    b"content-type: application/json\r\nretry-after: 7\r\nx-request-id: %b\r\n" % str(BUSY_ID).encode(),
    OVERLOADED,
    BUSY_ID,
)
ASK = request("/api/x", method="POST", body=b"question")


class Gate:
    """An application's load. `waiting`: how many requests wait at the door; `starts`: how many of them come in."""

    retry_after_s = 7
    longest_wait_s = 60.0

    def __init__(self, verdict: Verdict = Verdict.REFUSE, room: int = 0) -> None:
        self.verdict, self.room = verdict, room
        self.shed = self.waiting = self.starts = self.newcomers = 0
        self.has_line = False

    def note_shed(self, count: int) -> None:
        self.shed += count

    def join_line(self, handed_over: int) -> bool:
        self.waiting += self.has_line
        return self.has_line

    def leave_line(self) -> None:
        self.waiting -= 1

    def let_in(self) -> int:
        count = min(self.starts, self.waiting)
        self.starts -= count
        self.waiting -= count
        return count

    def open(self, room: int) -> None:
        self.verdict, self.room, self.has_line = Verdict.ADMIT, room, False

    def form_line(self, room: int) -> None:
        """Let so many requests wait at the door."""
        self.verdict, self.room, self.has_line = Verdict.QUEUE, room, True

    async def wait_line(self, count: int) -> None:
        """Until so many wait there."""
        with trio.fail_after(10):
            while self.waiting != count:
                await trio.lowlevel.checkpoint()


class GatedApp(ProbeApp):
    """Lets the server turn away POSTs under /api/, and lets those wait that have no field `x-limit`."""

    gate: Gate

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.gate = Gate()
        scope["state"][DOOR] = Door(
            self.gate,
            lambda method, path, headers: BUSY if method == "POST" and path.startswith(b"/api/") else None,
            may_wait=lambda headers: all(name != b"x-limit" for name, _ in headers),
        )
        await super()._run_lifespan(scope, receive, send)


@asynccontextmanager
async def crowded(
    settings: ServerSettings | None = None, shutdown: trio.Event | None = None, handler: Handler = echo
) -> AsyncIterator[tuple[GatedApp, RawClient]]:
    """A client of a gateway that is full."""
    app = GatedApp(handler)
    async with serving("lane", app, settings, shutdown=shutdown) as port, connected(port) as client:
        yield app, client
