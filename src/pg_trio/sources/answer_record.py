"""The record of a streamed answer: what the client was sent, for its session and its row in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import Reply, Usage
from pg_trio.domain.events import Event, Joined


class AnswerRecord:
    """A filter that passes everything on and keeps the text. An answer that is begun anew is kept anew."""

    __slots__ = ("_assembler",)

    def __init__(self) -> None:
        self._assembler = Assembler()

    def take(self, events: Sequence[Event]) -> Sequence[Event]:
        """The same events, kept."""
        for event in events:
            if isinstance(event, Joined):
                self._assembler = self._assembler.go_on(keeps_what_came=event.mode == "continue")
            else:
                self._assembler.add(event)
        return events

    def reply_so_far(self) -> Reply:
        """What the client was sent. An answer that is not complete has the finish reason `error`."""
        return self._assembler.reply_so_far()

    async def keep_with(self, keep: Callable[[Reply, Usage], Awaitable[None]], usage: Usage) -> None:
        """Let `keep` store the complete answer, with its usage."""
        await keep(self._assembler.reply(), usage)
