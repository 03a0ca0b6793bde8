"""Assembles a streamed answer: a reply for the session and the log, a usage for the budget."""

from __future__ import annotations

from io import StringIO

from pg_trio.domain.chat import FinishReason, Reasoning, Reply, ToolCall, Usage, estimate_tokens
from pg_trio.domain.events import (
    ContentDelta,
    Event,
    Finished,
    NativeBlock,
    Opened,
    ReasoningDelta,
    ToolCallDelta,
)
from pg_trio.domain.native_fields import NativeStop


class _Call:
    """The received part of a tool call."""

    __slots__ = ("arguments", "id", "name", "signature")

    def __init__(self, call_id: str, name: str, signature: str | None) -> None:
        self.id = call_id
        self.name = name
        self.signature = signature
        self.arguments = StringIO()


class _Text:
    """What is kept of a text: the answer's own, its calls, its blocks of signed reasoning, the block under way."""

    __slots__ = ("answer", "block", "blocks", "calls")

    def __init__(self) -> None:
        self.answer = StringIO()
        self.calls: list[_Call] = []
        self.blocks: list[Reasoning] = []
        self.block: list[str] = []


class Assembler:
    """Collects a stream's events.

    Without `keeps_text` it only counts, in constant memory; that is enough for the usage of an answer that is not
    stored. With `keeps_text` it holds the answer's own text only, which the readers limit. `keeps_reasoning` also holds
    the model's reasoning, for answers that are already complete; only the body's limit bounds it.
    """

    __slots__ = (
        "_reasoning",
        "_text",
        "characters",
        "finish_reason",
        "has_calls",
        "id",
        "model",
        "reasoned",
        "reported",
        "stop",
    )

    def __init__(self, *, keeps_text: bool = True, keeps_reasoning: bool = False) -> None:
        # None where only counts are kept: most streams.
        self._text = _Text() if keeps_text else None
        self._reasoning = StringIO() if keeps_reasoning else None
        self.has_calls = False
        # The part of `characters` that is reasoning.
        self.reasoned = 0
        # Characters that the model wrote, reasoning included, because providers count it as completion.
        self.characters = 0
        self.id: str | None = None
        self.model: str | None = None
        self.finish_reason: FinishReason | None = None
        self.reported: Usage | None = None
        self.stop: NativeStop | None = None

    def add(self, event: Event) -> None:
        """Take the stream's next event. After several `Opened` (a rescued stream) the first id stays."""
        # The most frequent event first: this runs once a token.
        if isinstance(event, ContentDelta):
            self.characters += len(event.text)
            if self._text is not None:
                self._text.answer.write(event.text)
        elif isinstance(event, ToolCallDelta):
            self._add_to_call(event)
        elif isinstance(event, ReasoningDelta):
            self.characters += len(event.text)
            self.reasoned += len(event.text)
            if self._text is not None:
                _add_block(self._text, event)
            if self._reasoning is not None:
                self._reasoning.write(event.text)
        elif isinstance(event, Opened):
            self.id = self.id or event.id
            self.model = event.model
        elif isinstance(event, NativeBlock):
            # As after a call, no other candidate can carry the answer on.
            self.has_calls = True
        elif isinstance(event, Finished):
            self.finish_reason = event.finish_reason
            self.reported = event.usage
            self.stop = event.stop
            if event.is_stopped:
                self._end_here()

    def reply(self) -> Reply:
        """The complete answer, as `read_reply` would have returned it. Only after `Finished`, and only with
        `keeps_text`."""
        assert self.finish_reason is not None, "an answer that is not whole is no reply"
        assert self.id is not None
        assert self.model is not None
        return self.reply_so_far()

    def reply_so_far(self) -> Reply:
        """The received part of the answer; an incomplete one has the finish reason `error`. Only with `keeps_text`."""
        text = self._text
        assert text is not None, "nothing was kept to make a reply of"
        content = text.answer.getvalue()
        return Reply(
            id=self.id or "",
            model=self.model or "",
            content=None if text.calls and not content else content,
            finish_reason=self.finish_reason or "error",
            usage=self.reported,
            tool_calls=tuple(
                [ToolCall(call.id, call.name, call.arguments.getvalue(), call.signature) for call in text.calls]
            ),
            reasoning=None if self._reasoning is None else self._reasoning.getvalue() or None,
            reasoning_blocks=tuple(text.blocks),
            stop=self.stop,
        )

    def text_so_far(self) -> str:
        """The answer's own text. Only with `keeps_text`."""
        assert self._text is not None, "nothing was kept to make a text of"
        return self._text.answer.getvalue()

    def go_on(self, *, keeps_what_came: bool) -> Assembler:
        """An assembler for the stream that continues this answer or begins it anew. It counts that stream only."""
        following = Assembler(keeps_text=self._text is not None)
        following.id = self.id
        following.model = self.model
        if self._text is not None and following._text is not None and keeps_what_came:
            following._text.answer.write(self._text.answer.getvalue())
        return following

    def usage(self, prompt_characters: int) -> Usage:
        """The usage so far: the provider's counts, or an estimate. Works for a cut stream, too."""
        if self.reported is not None:
            return self.reported
        return Usage(estimate_tokens(prompt_characters), estimate_tokens(self.characters), estimated=True)

    def _end_here(self) -> None:
        """The answer is what there is of it. Half a call is none, and a client that stops makes none."""
        if self._text is not None:
            self._text.calls = []
        self.id, self.model = self.id or "", self.model or ""

    def _add_to_call(self, delta: ToolCallDelta) -> None:
        self.has_calls = True
        self.characters += len(delta.arguments) + len(delta.name or "")
        text = self._text
        if text is None:
            return
        if delta.id is not None and delta.name is not None:
            text.calls.append(_Call(delta.id, delta.name, delta.signature))
        text.calls[delta.index].arguments.write(delta.arguments)


def _add_block(text: _Text, delta: ReasoningDelta) -> None:
    if delta.text:
        text.block.append(delta.text)
    if delta.signature is not None:
        if delta.signature:
            text.blocks.append(Reasoning("".join(text.block), delta.signature))
        text.block = []
    elif delta.data is not None:
        text.blocks.append(Reasoning("", data=delta.data))
