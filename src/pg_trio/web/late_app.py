"""An application that is loaded when it is first called.

Quart takes 15 MB of each worker and 0.2 s of its start, and serves introspection and pages only. So it is loaded with
the first request for them, on a thread: requests for models go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from pg_trio.web.asgi_types import AsgiApp, AsgiEvent, Receive, Scope, Send


class LateApp:
    """What `load` returns, as an ASGI application. `load` imports, so it runs on a thread. Lifespans are its own."""

    def __init__(self, load: Callable[[], AsgiApp]) -> None:
        self._load = load
        self._loaded: AsgiApp | None = None
        self._loading = trio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await pass_lifespan(receive, send)
            return
        app = self._loaded or await self._find()
        await app(scope, receive, send)

    async def _find(self) -> AsgiApp:
        async with self._loading:
            if self._loaded is None:
                self._loaded = await trio.to_thread.run_sync(self._load)
            return self._loaded


async def pass_lifespan(receive: Receive, send: Send) -> None:
    """The lifespan of an application that has nothing to start or to stop."""
    for kind in ("startup", "shutdown"):
        await receive()
        event: AsgiEvent = {"type": f"lifespan.{kind}.complete"}
        await send(event)
