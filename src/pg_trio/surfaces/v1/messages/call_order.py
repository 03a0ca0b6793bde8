"""Put a stream's tool calls one behind the other, as Anthropic's blocks are.

Most providers finish a call before they begin the next. Pieces of a later call wait until the arguments of the call
under way are a complete JSON value, or the answer ends. What comes for a call after that is left out: the value was
complete.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from pg_trio.domain.events import ToolCallDelta


class CallOrder:
    """The calls of one stream. The arguments of the call under way, and the pieces that wait."""

    __slots__ = ("_arguments", "_current", "_ended", "_waiting")

    def __init__(self) -> None:
        self._current: int | None = None
        self._arguments: list[str] = []
        self._waiting: dict[int, list[ToolCallDelta]] = {}
        self._ended: set[int] = set()

    @property
    def is_in_call(self) -> bool:
        """Whether a call has begun and its arguments are not complete."""
        return self._current is not None and not self._is_complete()

    def take(self, delta: ToolCallDelta) -> Iterator[ToolCallDelta]:
        """The deltas that may go out now that this one has come."""
        if delta.index in self._ended:
            return
        if self._current is None:
            self._current = delta.index
        if delta.index == self._current:
            self._arguments.append(delta.arguments)
            yield delta
        else:
            self._waiting.setdefault(delta.index, []).append(delta)
        while self._waiting and self._is_complete():
            yield from self._go_on()

    def close(self) -> Iterator[ToolCallDelta]:
        """The deltas that still wait: no call goes on."""
        while self._waiting:
            yield from self._go_on()
        self._end_current()

    def _go_on(self) -> Iterator[ToolCallDelta]:
        """The pieces of the next call, which is under way from here on."""
        self._end_current()
        self._current = min(self._waiting)
        pieces = self._waiting.pop(self._current)
        self._arguments = [piece.arguments for piece in pieces]
        yield from pieces

    def _end_current(self) -> None:
        if self._current is not None:
            self._ended.add(self._current)
        self._current, self._arguments = None, []

    def _is_complete(self) -> bool:
        text = "".join(self._arguments)
        if not text:
            return False
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        return True
