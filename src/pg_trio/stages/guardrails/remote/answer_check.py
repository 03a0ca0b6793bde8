"""What services check of answers: whole ones before they leave, streams at their end.

Rules:
1. A service is sent each distinct text once: the content, each call's arguments, reasoning, and the texts of
   Anthropic's own blocks.
2. It may replace the content, reasoning, and arguments by other JSON. Replaced reasoning loses its signatures. An
   answer that has Anthropic's own blocks is refused instead.
3. Of a stream it sees the whole answer before the end is sent. What it refuses then is a failed stream; a replacement
   comes too late and is refused. A stream whose end comes with its first token is refused before its head. One that the
   client stops is checked as far as it came, after its provider was let go.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from attrs import evolve

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import Reply, ToolCall
from pg_trio.domain.event_source import EventSource, LifeClock, SourceListener, SpokenEvents
from pg_trio.domain.events import Event, Joined, NativeBlock, NativeNote
from pg_trio.domain.json_value import JsonObject
from pg_trio.domain.native_fields import native_texts
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, GatewayError, InternalError, WebhookBlocked
from pg_trio.stages.guardrails.pii_masks import Masks, parse_arguments

logger = logging.getLogger("pg_trio.guardrails")

# The reason of a refusal where a replacement is not possible.
UNREPLACEABLE = "the answer would have to be replaced."
# Blocks that a reply's other fields say.
_NEUTRAL_BLOCKS = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})

# Checks the texts of a complete answer. Raises what refuses it.
CheckTexts: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]


def texts_of_answer(reply: Reply, native: Iterable[JsonObject] = ()) -> list[str]:
    """Each text of the answer, once; no empty ones. `native`: objects of Anthropic's wire that it has besides."""
    texts = [reply.content or "", *[call.arguments for call in reply.tool_calls], reply.reasoning or ""]
    for fields in (*native, *_native_parts(reply)):
        texts += native_texts(fields)
    return list(dict.fromkeys(text for text in texts if text))


def _native_parts(reply: Reply) -> Iterable[JsonObject]:
    for block in reply.native_content:
        if block.get("type") not in _NEUTRAL_BLOCKS:
            yield block
        yield from block.get("citations") or ()


def replace_in_answer(reply: Reply, masks: Masks) -> Reply:
    """The answer with these texts replaced. Raises WebhookBlocked where one cannot be."""
    if not masks:
        return reply
    texts = {reply.content, reply.reasoning, *[call.arguments for call in reply.tool_calls]}
    if reply.native_content or not masks.keys() <= texts:
        raise _too_late()
    content, reasoning = reply.content, reply.reasoning
    keeps_reasoning = reasoning is None or reasoning not in masks
    return evolve(
        reply,
        content=None if content is None else masks.get(content, content),
        tool_calls=tuple([_replace_call(call, masks) for call in reply.tool_calls]),
        reasoning=None if reasoning is None else masks.get(reasoning, reasoning),
        reasoning_blocks=reply.reasoning_blocks if keeps_reasoning else (),
        # It has the tokens as they were.
        logprobs=None,
    )


def _replace_call(call: ToolCall, masks: Masks) -> ToolCall:
    arguments = masks.get(call.arguments, call.arguments)
    if parse_arguments(arguments) is None and parse_arguments(call.arguments) is not None:
        raise _too_late()
    return evolve(call, arguments=arguments)


def _too_late() -> WebhookBlocked:
    return WebhookBlocked(UNREPLACEABLE, phase="output", rule="replace")


class EndCheckedSource:
    """A streamed answer whose end comes when the check has passed. See EventSource."""

    __slots__ = ("_assembler", "_check", "_checked", "_clock", "_listener", "_native", "_source")

    def __init__(self, source: EventSource, check: CheckTexts) -> None:
        self._source = source
        self._check = check
        # The texts that are checked now, or whose check a stop has cut.
        self._checked: Sequence[str] | None = None
        # Only while the source is opened.
        self._listener: SourceListener | None = None
        self._clock: LifeClock | None = None
        self._begin()

    def _begin(self) -> None:
        self._assembler = Assembler(keeps_reasoning=True)
        self._native: list[JsonObject] = []

    @property
    def candidate(self) -> Candidate:
        """See EventSource."""
        return self._source.candidate

    async def open(self, listener: SourceListener) -> None:
        """See EventSource. What the listener hears meanwhile is part of the answer."""
        self._listener, self._clock = listener, listener.clock
        try:
            await self._source.open(self)
        finally:
            # It refers to this source: together they would be a cycle for the garbage collector.
            self._listener = None

    async def receive_events(self) -> Sequence[Event]:
        """See EventSource. Those with the answer's end come when the check has passed; raises what refuses it."""
        events = await self._source.receive_events()
        for event in events:
            self._take(event)
        if self._assembler.finish_reason is not None:
            self._checked = self._take_texts()
            assert self._clock is not None  # the source is open
            # For good: nothing comes after the end.
            self._clock.rests = True
            await self._check_texts(self._checked)
            self._checked = None
        return events

    async def _check_texts(self, texts: Sequence[str]) -> None:
        try:
            await self._check(texts)
        except GatewayError:
            raise
        except Exception as error:
            # As in FilteredSource: the client is told of a bug's failure.
            logger.exception("the check of a stream's end failed")
            raise InternalError from error

    def _take_texts(self) -> list[str]:
        texts = texts_of_answer(self._assembler.reply_so_far(), self._native)
        self._begin()
        return texts

    def _take(self, event: Event) -> None:
        if isinstance(event, Joined):
            if event.mode == "continue":
                # The reasoning so far is the other candidate's.
                self._assembler = self._assembler.go_on(keeps_what_came=True)
            else:
                self._begin()
        elif isinstance(event, NativeBlock):
            self._native.append(event.block)
            self._assembler.add(event)
        elif isinstance(event, NativeNote):
            if event.citation is not None:
                self._native.append(event.citation)
        else:
            self._assembler.add(event)

    def give_up(self, failure: AttemptFailed) -> None:
        """See EventSource."""
        self._source.give_up(failure)

    async def end_now(self) -> Sequence[Event]:
        """See EventSource. Raises what refuses the answer so far. Events whose check was under way are dropped."""
        events = await self._source.end_now()
        for event in events:
            self._take(event)
        await self._check_texts(self._take_texts() if self._checked is None else self._checked)
        return events

    # ── the listener of the source that it wraps ─────────────────────────────────────────────────────────────────────

    @property
    def takes_reasoning(self) -> bool:
        """See SourceListener."""
        return self._listener is not None and self._listener.takes_reasoning

    @property
    def clock(self) -> LifeClock:
        """See SourceListener."""
        assert self._listener is not None
        return self._listener.clock

    async def hear(self, spoken: SpokenEvents) -> None:
        """See SourceListener."""
        assert self._listener is not None

        def take() -> Sequence[Event]:
            events = spoken()
            for event in events:
                self._take(event)
            return events

        await self._listener.hear(take)
