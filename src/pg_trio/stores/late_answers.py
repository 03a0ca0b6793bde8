"""A store of answers that is opened when it is first needed, and closed with the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import trio

from pg_trio.attachment.answer_store import AnswerStore
from pg_trio.stores.store_protocols import Lifetime

# 5 s: more than two waits for a lock, as for closing a store.
OPEN_LIMIT_S = 5.0
RETRY_AFTER_S = 1.0


class LateAnswers:
    """Opens the store at the first `open`. `run` is a task of the gateway's nursery.

    `opener` gives the store, or None if it cannot be used, which it logs.
    """

    def __init__(self, opener: Callable[[Lifetime], Awaitable[AnswerStore | None]]) -> None:
        self._opener = opener
        self._store: AnswerStore | None = None
        self._wanted = trio.Event()
        self._tried = trio.Event()

    async def open(self) -> AnswerStore | None:
        """The store; None if it cannot be used now."""
        if self._store is None:
            self._wanted.set()
            with trio.move_on_after(OPEN_LIMIT_S):
                await self._tried.wait()
        return self._store

    async def run(self) -> None:
        """Open the store when it is wanted, and run its tasks until cancelled."""
        while True:
            await self._wanted.wait()
            async with AsyncExitStack() as stack:
                lifetime = Lifetime(stack)
                store = await self._opener(lifetime)
                if store is not None:
                    await self._serve(store, lifetime)
            self._tried.set()
            # Until then, requests go on without it.
            await trio.sleep(RETRY_AFTER_S)
            self._wanted, self._tried = trio.Event(), trio.Event()

    async def _serve(self, store: AnswerStore, lifetime: Lifetime) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for task in lifetime.tasks:
                    nursery.start_soon(task)
                self._store = store
                self._tried.set()
                await trio.sleep_forever()
        finally:
            self._store = None
