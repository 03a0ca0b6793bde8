"""A command that was sent, and its reply, for which one task may wait."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.resp import Reply

# Called with the reply if the caller no longer waits for it.
Undo = Callable[[Reply], None]


class Pending:
    """One command under way. It is settled once: with its reply, or with the reason for which none is expected.

    A reply that comes later than that, or after the caller was cancelled, goes to `undo`. `sent_at` is when it was
    given to the link, and later when that began to write it (Trio's clock).
    """

    __slots__ = ("_away", "_reply", "_task", "is_settled", "sent_at", "undo")

    def __init__(self, sent_at: float) -> None:
        self.sent_at = sent_at
        self.is_settled = False
        self.undo: Undo | None = None
        self._reply: Reply = None
        self._away: EngineAway | None = None
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> Reply:
        """The reply. Raises EngineAway. A cancelled wait may be repeated."""
        if not self.is_settled:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._leave)
        if self._away is not None:
            raise self._away
        return self._reply

    async def wait_until_settled(self) -> None:
        """Until there is a reply, or none is expected any more."""
        with suppress(EngineAway):
            await self.wait()

    def settle(self, reply: Reply) -> None:
        """The reply has come."""
        undo, self.undo = self.undo, None
        if undo is not None:
            undo(reply)
        if not self.is_settled:
            self._reply = reply
            self._wake()

    def give_up(self, away: EngineAway) -> None:
        """Let the caller go on without a reply. The reply may still come."""
        if not self.is_settled:
            self._away = away
            self._wake()

    def _wake(self) -> None:
        self.is_settled = True
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _leave(self, _: Any) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
