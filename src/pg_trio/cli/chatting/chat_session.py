"""A chat from its first connection to its end: lines, Ctrl-C and the gateway's frames, taken one after the other.

Rules:
1. A line is read only while no answer runs. What is typed meanwhile waits in the terminal.
2. Ctrl-C stops the answer; a second one, while the gateway has not said that it stopped, gives the answer up. At the
   prompt the first one clears the line, and the second one leaves, as the end of the input and /quit do.
"""

from __future__ import annotations

import signal
from typing import TypeAlias

import trio
from attrs import define, field, frozen

from pg_trio.cli.chatting.conversation import (
    Conversation,
    Ended,
    Frame,
    FrameMissing,
    MoreText,
    Note,
    Said,
    TokenRefused,
)
from pg_trio.cli.chatting.lines import LineReader
from pg_trio.cli.chatting.link import Connected, Final, FrameReceived, Link, LinkEvent, Lost
from pg_trio.cli.chatting.views import View

# Frames that wait to be shown; the connection is read no further meanwhile.
WAITING_EVENTS = 64
HELP = "/new forgets the conversation, /retry asks again, /quit leaves. Ctrl-C stops an answer."
_UNKNOWN = f"There is no such command. {HELP}"
_REFUSED = "A token is made by `pg-trio token create`, and given in PG_TRIO_TOKEN."


@frozen
class Typed:
    """A line of the input; None at its end."""

    line: str | None


@frozen
class Interrupted:
    """Ctrl-C."""


Event: TypeAlias = LinkEvent | Typed | Interrupted


@define(eq=False)
class ChatSession:
    """One run of the command. `is_for_people`: commands and Ctrl-C have their hints."""

    link: Link
    lines: LineReader
    view: View
    events: trio.MemoryReceiveChannel[Event]
    tell: trio.MemorySendChannel[Event]
    is_for_people: bool
    conversation: Conversation = field(factory=Conversation)
    _status: int | None = None
    _is_reading: bool = False
    _is_leaving: bool = False
    # The number of the connection that was taken note of last; 0 before the first.
    _connection: int = 0

    async def run(self) -> int:
        """The exit status, once it has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_interrupts)
            nursery.start_soon(self.link.run)
            while self._status is None:
                if self._connection and self.conversation.answer is None and not self._is_reading:
                    self._is_reading = True
                    self.view.show_prompt()
                    nursery.start_soon(self._read_line)
                await self._take(await self.events.receive())
            nursery.cancel_scope.cancel()
        return self._status

    async def _wait_interrupts(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                await self.tell.send(Interrupted())

    async def _read_line(self) -> None:
        await self.tell.send(Typed(await self.lines.read_line()))

    async def _take(self, event: Event) -> None:
        if isinstance(event, FrameReceived):
            self.view.show_frame(event.frame)
            await self._take_frame(event)
        elif isinstance(event, Typed):
            self._is_reading = self._is_leaving = False
            self.view.end_prompt(is_typed=event.line is not None)
            await self._take_line(event.line)
        elif isinstance(event, Interrupted):
            await self._interrupt()
        elif isinstance(event, Connected):
            await self._reconnect(event.number)
        else:
            self._lose(event)

    # ── what is typed ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _take_line(self, line: str | None) -> None:
        words = "/quit" if line is None else line.strip()
        if words == "/quit":
            self._status = 0
        elif words == "/new":
            self.conversation.begin_anew()
            self.view.show_note("A new conversation begins.")
        elif words == "/retry":
            await self._retry()
        elif words.startswith("/") and self.is_for_people and len(words.split()) == 1:
            self.view.show_note(HELP if words == "/help" else _UNKNOWN)
        elif words:
            await self._send(self.conversation.ask(line or ""))

    async def _retry(self) -> None:
        frame: Frame | None = self.conversation.retry()
        if frame is None:
            self.view.show_note("Nothing was asked yet.")
        else:
            await self._send(frame)

    async def _interrupt(self) -> None:
        if self.conversation.answer is not None:
            frame = self.conversation.stop()
            if frame is None:
                self._show(self.conversation.give_up())
                self.link.drop()
            else:
                await self._send(frame)
        elif self._is_leaving or not self.is_for_people or not self._connection:
            self._status = 130
        else:
            self._is_leaving = True
            self.view.show_note("Ctrl-C again leaves, as /quit does.")
            self.view.show_prompt()

    # ── what the gateway says ────────────────────────────────────────────────────────────────────────────────────────

    async def _take_frame(self, event: FrameReceived) -> None:
        try:
            self._show(self.conversation.take(event.frame))
        except FrameMissing:
            self.link.drop()

    async def _send(self, frame: Frame) -> None:
        await self.link.send(frame, self._connection)

    async def _reconnect(self, number: int) -> None:
        self._connection = number
        frame, said = self.conversation.reconnected()
        self._show(said)
        if frame is not None:
            await self._send(frame)

    def _lose(self, event: Lost | Final) -> None:
        if isinstance(event, Final):
            self.view.show_end(event.why)
            if event.is_refused:
                self.view.show_note(_REFUSED)
            self._status = 1
        elif event.wait_s is not None:
            self.view.show_note(f"{event.why} Connecting again …")
        else:
            self.view.show_note(f"{event.why} The next question tries again.")
            self._show(self.conversation.give_up())
            if not self.is_for_people:
                self._status = 1
        if self._is_reading and self._status is None:
            self.view.show_prompt()

    def _show(self, said: list[Said]) -> None:
        for one in said:
            if isinstance(one, MoreText):
                self.view.show_text(one.text)
            elif isinstance(one, Note):
                self.view.show_note(one.text)
            elif isinstance(one, Ended):
                self.view.show_end(one.error)
            elif isinstance(one, TokenRefused):
                self.view.show_end(one.error)
                self.view.show_note(_REFUSED)
                self._status = 1
            else:
                self.link.forgive()
