"""The lifespan of an ASGI application: started before the first connection, ended after the last one.

https://asgi.readthedocs.io/en/latest/specs/lifespan.html. An application that raises instead of starting does not know
lifespans, and is served without. One that raises later has lost what its requests need, so its server ends, too: a
worker that answers nothing but errors must not look like a running one.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import trio

from pg_trio.server.http1.types import ASGIApplication, Message

logger = logging.getLogger("pg_trio.server")

# As Hypercorn's: an application may migrate a database.
START_LIMIT_S = STOP_LIMIT_S = 60.0


class LifespanFailed(Exception):
    """The application refused to start or to stop; the text is its own. Or it ended while it was served."""


class Lifespan:
    """Runs `app` for its lifespan, with `state` as its scope's."""

    def __init__(self, app: ASGIApplication, state: MutableMapping[str, Any]) -> None:
        self._app = app
        self._state = state
        self._sender, self._receiver = trio.open_memory_channel[Message](2)
        self._started = trio.Event()
        self._stopped = trio.Event()
        self._has_started = False
        self._is_supported = True
        self._is_stopping = False

    async def run(self) -> None:
        """Run the application to the end of its lifespan. Raises LifespanFailed."""
        scope = {"type": "lifespan", "asgi": {"spec_version": "2.0", "version": "3.0"}, "state": self._state}
        try:
            await self._app(scope, self._receiver.receive, self._take)
            self._is_supported = self._has_started
        except LifespanFailed:
            raise
        except Exception as error:  # noqa: BLE001  # an application without lifespans may raise anything
            self._note_failure(error)
        finally:
            self._started.set()
            self._stopped.set()

    def _note_failure(self, error: Exception) -> None:
        if isinstance(error, BaseExceptionGroup) and (refused := error.subgroup(LifespanFailed)) is not None:
            raise refused
        self._is_supported = False
        if not self._started.is_set():
            logger.warning("the application knows no lifespan, and is served without one")
            return
        logger.error("the application's lifespan ended with an error", exc_info=error)
        if not self._is_stopping:
            raise LifespanFailed("the application ended while it was served; its error is above") from error

    async def _take(self, event: Message) -> None:
        kind = event["type"]
        if kind in ("lifespan.startup.failed", "lifespan.shutdown.failed"):
            raise LifespanFailed(event.get("message", ""))
        self._has_started = True
        (self._started if kind == "lifespan.startup.complete" else self._stopped).set()

    async def start(self) -> None:
        """Wait until the application has started, or does not know lifespans. Raises trio.TooSlowError."""
        await self._sender.send({"type": "lifespan.startup"})
        with trio.fail_after(START_LIMIT_S):
            await self._started.wait()
        if self._is_supported and not self._has_started:
            # It refused: the failure is leaving `run`, and cancels this task.
            await trio.sleep_forever()

    async def stop(self) -> None:
        """Wait until the application has stopped. Raises trio.TooSlowError."""
        self._is_stopping = True
        if self._is_supported:
            await self._sender.send({"type": "lifespan.shutdown"})
            with trio.fail_after(STOP_LIMIT_S):
                await self._stopped.wait()
