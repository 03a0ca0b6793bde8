"""What a streamed answer is made of, in the contract's terms whichever wire it came over. Frozen values.

Rules:
1. A stream is `Opened`, then deltas, then one last event: `Finished`, or `Broken` (which may also come first or alone).
   Nothing follows the last one, unless another candidate carries the answer on: then `Joined`, and a stream again.
2. Only content counts as a token (`is_token`): text, and whatever says something of a tool call. It wins a race and
   resets a clock. Heads, role-only chunks, pings and usage make no event that does.
3. A model's reasoning wins nothing but shows that it lives (`shows_life`): it resets the first-token and the idle
   clock. Its text is relayed to the client; it is never content, and never stored.
4. After the first byte failure is data: `Broken` carries what an attempt would have raised before it.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from pg_trio.domain.chat import FinishReason, Reply, Usage
from pg_trio.domain.value import value
from pg_trio.errors import AttemptFailed


@value(slots=True)
class Opened:
    """The provider's first chunk of an answer: its id and the model that answers. No token yet."""

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = False
    id: str
    model: str


@value(slots=True)
class ContentDelta:
    """More text of the answer; never empty."""

    is_token: ClassVar[bool] = True
    shows_life: ClassVar[bool] = True
    text: str


@value(slots=True)
class ReasoningDelta:
    """More text of the model's reasoning. `text` may be empty where a provider says only that the model reasons, or
    has begun a tool call of which nothing can be told yet.

    A delta with a `signature` ends a block of reasoning; one with `data` is a whole block that the provider encrypted
    (see domain.chat.Reasoning). An empty signature ends a block whose text is not all there, so that nothing signs it.
    """

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = True
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
    index: int
    id: str | None
    name: str | None
    arguments: str
    # See domain.tools.ToolCall; with the first delta alone.
    signature: str | None = None


@value(slots=True)
class Finished:
    """The answer is whole. `usage` is None where the provider sent none that could be understood.

    An answer may be whole without a token: a limit spent on reasoning, a content filter. Then this is what wins.
    """

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = False
    finish_reason: FinishReason
    usage: Usage | None = None


@value(slots=True)
class Broken:
    """The answer will not become whole. The failure says why, masked; `fails_over` and its class are for the race."""

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = False
    failure: AttemptFailed


@value(slots=True)
class Joined:
    """A stream broke here, and another candidate carries its answer on.

    `mode` is `continue` where what follows goes on from the `characters` of text that are with the client, `restart`
    where it takes their place. `why` says what broke, masked.
    """

    is_token: ClassVar[bool] = False
    shows_life: ClassVar[bool] = False
    mode: str
    characters: int
    provider: str
    model: str
    why: str


Event: TypeAlias = Opened | ContentDelta | ReasoningDelta | ToolCallDelta | Finished | Broken | Joined


def events_of(reply: Reply) -> list[Event]:
    """The events of a stream that would have said the same: for a provider that answers whole when asked to stream."""
    events: list[Event] = [Opened(reply.id, reply.model)]
    blocks = reply.reasoning_blocks
    if blocks and "".join([block.text for block in blocks]) == (reply.reasoning or ""):
        events += [ReasoningDelta(block.text, block.signature, block.data) for block in blocks]
    elif reply.reasoning:
        events.append(ReasoningDelta(reply.reasoning))
    if reply.content:
        events.append(ContentDelta(reply.content))
    events += [
        ToolCallDelta(index, call.id, call.name, call.arguments, call.signature)
        for index, call in enumerate(reply.tool_calls)
    ]
    events.append(Finished(reply.finish_reason, reply.usage))
    return events
