"""The events of a streamed answer, in the contract's terms for every wire. Frozen values.

Rules:
1. A stream is `Opened`, then deltas, then one last event: `Finished`, or `Broken` (which may also come first or
   alone). Nothing follows the last event, unless another candidate continues the answer: then `Joined`, and a stream
   again.
2. Only content counts as a token (`is_token`): text, and parts of a tool call. A token wins a race and resets a clock.
   Heads, role-only chunks, pings and usage do not become such events.
3. A model's reasoning does not win a race, but shows that the model works (`shows_life`): it resets the first-token and
   the idle clock. Its text is relayed to the client. It is never content, and never stored.
4. After the first byte a failure is data: `Broken` carries the error that an attempt would have raised before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import ClassVar, TypeAlias

from attrs import field

from pg_trio.domain.chat import FinishReason, Reply, Usage
from pg_trio.domain.json_value import JsonObject
from pg_trio.domain.native_fields import NativeStop
from pg_trio.domain.value import value
from pg_trio.errors import AttemptFailed


@value(slots=True)
class Opened:
    """The provider's first chunk of an answer: its id and the model that answers. Not a token.

    `usage` is what is known of it at the beginning, for clients that are told it there.
    """

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = False
    is_last: ClassVar[bool] = False
    id: str
    model: str
    usage: Usage | None = field(default=None, eq=False)


@value(slots=True)
class ContentDelta:
    """More text of the answer; never empty. `logprobs` is OpenAI's object for its tokens, if there is one."""

    is_token: ClassVar[bool] = True
    shows_life: ClassVar[bool] = True
    is_last: ClassVar[bool] = False
    text: str
    logprobs: JsonObject | None = None


@value(slots=True)
class ReasoningDelta:
    """More text of the model's reasoning. `text` is empty if the provider only says that the model reasons, or if a
    tool call has begun and its name is not complete.

    A delta with a `signature` ends a block of reasoning; one with `data` is a whole block that the provider encrypted
    (see domain.chat.Reasoning). An empty signature ends a block whose text is not all there, so that nothing signs it.
    """

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = True
    is_last: ClassVar[bool] = False
    text: str
    signature: str | None = None
    data: str | None = None


@value(slots=True)
class ToolCallDelta:
    """More of one tool call. `index` counts the answer's calls from 0.

    The first delta of a call has its `id` and `name`, the others have neither; `arguments` is the next piece of its
    JSON text, empty only in the first.
    """

    is_token: ClassVar[bool] = True
    shows_life: ClassVar[bool] = True
    is_last: ClassVar[bool] = False
    index: int
    id: str | None
    name: str | None
    arguments: str
    # See domain.tools.ToolCall; with the first delta alone.
    signature: str | None = None


@value(slots=True)
class NativeBlock:
    """A whole block that only Anthropic's wire has (its server tools' calls and results), for clients of that wire.

    It is a token: the model answers, and its blocks must keep their order.
    """

    is_token: ClassVar[bool] = True
    shows_life: ClassVar[bool] = True
    is_last: ClassVar[bool] = False
    block: JsonObject


@value(slots=True)
class NativeNote:
    """What Anthropic's wire says about text: a citation of the block of text under way, or that a new block begins
    (`citation` is None). For clients of that wire."""

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = True
    is_last: ClassVar[bool] = False
    citation: JsonObject | None = None


@value(slots=True)
class Finished:
    """The answer is complete. `usage` is None if the provider sent none that could be understood.

    An answer may be complete without a token: reasoning used up the limit, or a content filter stopped it. Then this
    event wins the race. `is_stopped`: a client has ended the answer where it was.
    """

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = False
    is_last: ClassVar[bool] = True
    finish_reason: FinishReason
    usage: Usage | None = None
    # What the provider says about the end besides the finish reason.
    stop: NativeStop | None = None
    is_stopped: bool = False


@value(slots=True)
class Broken:
    """The answer will not be completed. The failure says why, masked. The race uses `fails_over` and the failure's
    class."""

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = False
    is_last: ClassVar[bool] = True
    failure: AttemptFailed


@value(slots=True)
class Joined:
    """A stream broke here, and another candidate continues its answer.

    `mode` is `continue` if the next text continues the `characters` of text already sent to the client, `restart` if it
    replaces them. `why` is the masked reason of the break.
    """

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = False
    is_last: ClassVar[bool] = False
    mode: str
    characters: int
    provider: str
    model: str
    why: str


Event: TypeAlias = (
    Opened | ContentDelta | ReasoningDelta | ToolCallDelta | NativeBlock | NativeNote | Finished | Broken | Joined
)


def text_of(blocks: Iterable[JsonObject]) -> str:
    """The answer's own text in Anthropic's blocks (domain.native_content)."""
    return "".join([block["text"] for block in blocks if block["type"] == "text"])


def _events_of_content(blocks: Iterable[JsonObject]) -> list[Event]:
    events: list[Event] = []
    calls = 0
    for block in blocks:
        kind = block["type"]
        if kind == "text":
            events += [NativeNote(), ContentDelta(block["text"])]
            events += [NativeNote(citation) for citation in block.get("citations", ())]
        elif kind == "thinking":
            events.append(ReasoningDelta(block["thinking"], block["signature"]))
        elif kind == "redacted_thinking":
            events.append(ReasoningDelta("", data=block["data"]))
        elif kind == "tool_use":
            events.append(ToolCallDelta(calls, block["id"], block["name"], json.dumps(block["input"])))
            calls += 1
        else:
            events.append(NativeBlock(block))
    return events


def events_of(reply: Reply) -> list[Event]:
    """The equivalent events of a stream, for a provider that sends a whole answer to a streamed call."""
    events: list[Event] = [Opened(reply.id, reply.model)]
    if reply.native_content and text_of(reply.native_content) == (reply.content or ""):
        return [
            *events,
            *_events_of_content(reply.native_content),
            Finished(reply.finish_reason, reply.usage, reply.stop),
        ]
    blocks = reply.reasoning_blocks
    if blocks and "".join([block.text for block in blocks]) == (reply.reasoning or ""):
        events += [ReasoningDelta(block.text, block.signature, block.data) for block in blocks]
    elif reply.reasoning:
        events.append(ReasoningDelta(reply.reasoning))
    if reply.content:
        events.append(ContentDelta(reply.content, reply.logprobs))
    events += [
        ToolCallDelta(index, call.id, call.name, call.arguments, call.signature)
        for index, call in enumerate(reply.tool_calls)
    ]
    events.append(Finished(reply.finish_reason, reply.usage, reply.stop))
    return events
