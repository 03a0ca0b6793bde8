"""An answer's content as Anthropic's blocks, where neutral values cannot say all of it: server tools, citations.

Shape: `{"type": "text", "text": …, "citations": […]}`, `thinking`, `redacted_thinking`, `tool_use`, and other blocks as
they came, in the order of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from pg_trio.domain.events import ContentDelta, Event, NativeBlock, NativeNote, ReasoningDelta, ToolCallDelta
from pg_trio.domain.json_value import Json, JsonObject


def content_of(events: Iterable[Event]) -> tuple[JsonObject, ...]:
    """The blocks that a whole answer's events are; empty if neutral values say all of it."""
    events = list(events)
    if not any(isinstance(event, NativeBlock | NativeNote) for event in events):
        return ()
    builder = _Builder()
    for event in events:
        builder.add(event)
    return tuple(builder.finish())


class _Builder:
    """Joins deltas to blocks. The text of the last block, and the arguments of its call, are still open."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, Json]] = []
        self._arguments: list[tuple[dict[str, Json], list[str]]] = []
        self._thought: list[str] = []
        self._is_text_open = False

    def add(self, event: Event) -> None:
        match event:
            case ContentDelta(text):
                self._text_block()["text"] += text
            case NativeNote(citation):
                if citation is None:
                    self._is_text_open = False
                else:
                    self._text_block().setdefault("citations", []).append(citation)
            case ReasoningDelta():
                self._add_reasoning(event)
            case ToolCallDelta():
                self._add_call(event)
            case NativeBlock(block):
                self._append(dict(block))

    def finish(self) -> list[dict[str, Json]]:
        for block, arguments in self._arguments:
            block["input"] = _read_input("".join(arguments))
        return self._blocks

    def _append(self, block: dict[str, Json]) -> None:
        self._blocks.append(block)
        self._is_text_open = False

    def _text_block(self) -> dict[str, Json]:
        if not self._is_text_open:
            self._append({"type": "text", "text": ""})
            self._is_text_open = True
        return self._blocks[-1]

    def _add_reasoning(self, delta: ReasoningDelta) -> None:
        if delta.data is not None:
            self._append({"type": "redacted_thinking", "data": delta.data})
            return
        self._thought.append(delta.text)
        if delta.signature is not None:
            if delta.signature:
                thought = "".join(self._thought)
                self._append({"type": "thinking", "thinking": thought, "signature": delta.signature})
            self._thought = []

    def _add_call(self, delta: ToolCallDelta) -> None:
        if delta.id is not None:
            block: dict[str, Json] = {"type": "tool_use", "id": delta.id, "name": delta.name, "input": {}}
            self._arguments.append((block, []))
            self._append(block)
        self._arguments[delta.index][1].append(delta.arguments)


def _read_input(arguments: str) -> Json:
    """The object that the arguments are, or an object with the text that a model wrote in its place."""
    try:
        given = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        given = arguments
    return given if isinstance(given, dict) else {"input": given}
