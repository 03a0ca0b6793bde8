"""Puts the texts back that `reversible_redaction` took out: in an answer's content and in the arguments of its calls.

Rules:
1. It is the last filter of a stream, behind the record for the log and the session, which keep the placeholders.
2. A placeholder may come in pieces: what could be its beginning waits, and passes as it is if it is none.
3. Reasoning keeps its placeholders, because its signature holds for the text as it is. What waits does not pass for it:
   some providers send reasoning with each piece of content. Log-probabilities are left out of streams, because text is
   cut anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from attrs import evolve

from pg_trio.domain.chat import Reply
from pg_trio.domain.events import Broken, ContentDelta, Event, Joined, ReasoningDelta, ToolCallDelta
from pg_trio.domain.json_value import Json, JsonObject
from pg_trio.stages.guardrails.redaction import Redaction

_TEXT = -1
_FIRST_SIGN = re.compile(r"[\[\\]")


class RestoringFilter:
    """One streamed answer. See sources.filtered_source.EventFilter."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._longest = redaction.longest_chars
        # What waits, and of which text: a call's index, or _TEXT.
        self._waiting = ""
        self._of = _TEXT
        self._sent_chars = 0

    def take(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events with the texts in them."""
        passed: list[Event] = []
        for event in events:
            if isinstance(event, ContentDelta):
                self._turn_to(_TEXT, passed)
                self._pass(self._cut(event.text), passed)
            elif isinstance(event, ToolCallDelta):
                self._turn_to(event.index, passed)
                if event.id is not None:
                    passed.append(evolve(event, arguments=self._restored(self._cut(event.arguments))))
                else:
                    self._pass(self._cut(event.arguments), passed)
            elif isinstance(event, Joined):
                passed.append(self._join(event))
            elif isinstance(event, Broken | ReasoningDelta):
                # Another candidate, or the text itself, may go on.
                passed.append(event)
            else:
                self._turn_to(_TEXT, passed, is_end=True)
                passed.append(event)
        return passed

    def _turn_to(self, text: int, passed: list[Event], *, is_end: bool = False) -> None:
        if is_end or text != self._of:
            rest, self._waiting = self._waiting, ""
            self._pass(rest, passed)
            self._of = text

    def _pass(self, text: str, passed: list[Event]) -> None:
        if not text:
            return
        restored = self._restored(text)
        if self._of == _TEXT:
            self._sent_chars += len(restored)
            passed.append(ContentDelta(restored))
        else:
            passed.append(ToolCallDelta(self._of, None, None, restored))

    def _restored(self, text: str) -> str:
        restore = self._redaction.restore if self._of == _TEXT else self._redaction.restore_json
        return restore(text)

    def _cut(self, piece: str) -> str:
        """The text without what could be a placeholder's beginning, which waits."""
        text = self._waiting + piece
        for begun in _FIRST_SIGN.finditer(text, max(len(text) - self._longest + 1, 0)):
            if self._redaction.may_begin(text[begun.start() :]):
                self._waiting = text[begun.start() :]
                return text[: begun.start()]
        self._waiting = ""
        return text

    def _join(self, event: Joined) -> Joined:
        if event.mode != "continue":
            self._waiting = ""
        return evolve(event, characters=self._sent_chars)


def restore_reply(reply: Reply, redaction: Redaction) -> Reply:
    """The complete answer with the texts in it."""
    content = reply.content if reply.content is None else redaction.restore(reply.content)
    return evolve(
        reply,
        content=content,
        tool_calls=tuple([evolve(call, arguments=redaction.restore_json(call.arguments)) for call in reply.tool_calls]),
        native_content=tuple([_restore_block(block, redaction) for block in reply.native_content]),
    )


def _restore_block(block: JsonObject, redaction: Redaction) -> JsonObject:
    if block["type"] == "text":
        return {**block, "text": redaction.restore(block["text"])}
    if block["type"] == "tool_use":
        return {**block, "input": _restore_value(block["input"], redaction)}
    return block


def _restore_value(value: Json, redaction: Redaction) -> Json:
    """The value with the texts in its strings; keys stay."""
    return json.loads(redaction.restore_json(json.dumps(value, ensure_ascii=False)))
