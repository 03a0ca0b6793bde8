"""What the simulated model says, whichever wire carries it. Pure. The wires' shapes: `wires/`."""

from __future__ import annotations

from hashlib import blake2b
from itertools import cycle, islice
from random import Random

from attrs import frozen

from pg_trio.simulator.behaviour import Behaviour, CalledTool, FinishReason, ReportedUsage
from pg_trio.simulator.chat_call import ChatCall

# 400 characters of the prompt come back: enough to recognize it, and a long prompt does not slow a benchmark's answer.
ECHO_CHARS = 400
# A tool's arguments are streamed in pieces of this many characters, about what a token is.
ARGUMENT_PIECE_CHARS = 4
# The placeholder of a token's time; the sender of the token replaces it. From Unicode's private use area, which normal
# text does not use.
STAMP = "\ue5ca"
_FILLER = ("and", "so", "it", "goes", "on", "until", "enough", "was", "said")


@frozen(slots=True)
class Occasion:
    """Which call it is: its number among the calls of its model (from 1), and when it came.

    `elapsed_s` is since the simulator's start, `created` Unix seconds.
    """

    seed: int
    model: str
    number: int
    elapsed_s: float = 0.0
    created: int = 0

    def random(self) -> Random:
        """This call's own source of luck: the same in every run."""
        return Random(f"{self.seed}:{self.model}:{self.number}")  # noqa: S311  luck that repeats, no secret

    def completion_id(self) -> str:
        digest = blake2b(f"{self.seed}:{self.model}:{self.number}".encode(errors="replace"), digest_size=12)
        return f"chatcmpl-{digest.hexdigest()}"


@frozen(slots=True)
class Completion:
    """A finished answer. `pieces` are its tokens: of the text, or of the tool's arguments where it calls one."""

    id: str
    created: int
    model: str
    pieces: tuple[str, ...]
    finish: FinishReason
    usage: ReportedUsage | None
    tool: CalledTool | None = None
    # Deltas of reasoning before the answer.
    reasoning: int = 0
    # Neither text nor a call, and no field for them where the wire can leave it out.
    is_empty: bool = False
    # What embeddings are asked for; none in a chat.
    vectors: tuple[tuple[float, ...], ...] = ()
    in_base64: bool = False

    @property
    def number(self) -> str:
        """24 hexadecimal digits, of which each wire makes its ids."""
        return self.id.removeprefix("chatcmpl-")

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def complete(behaviour: Behaviour, call: ChatCall, occasion: Occasion) -> Completion:
    """The answer to the call, cut to the tokens that the caller allowed."""
    if call.inputs:
        return _embed(behaviour, call, occasion)
    tool = behaviour.tool
    pieces = _split_tool(tool) if tool else _split_text(behaviour, call.said)
    if behaviour.stamps and call.stream and not tool:
        pieces = (STAMP,) * len(pieces)
    finish: FinishReason = "tool_calls" if tool and behaviour.finish == "stop" else behaviour.finish
    if call.max_tokens is not None and len(pieces) > call.max_tokens:
        pieces, finish = pieces[: call.max_tokens], "length"
    return Completion(
        id=occasion.completion_id(),
        created=occasion.created,
        model=call.model,
        pieces=pieces,
        finish=finish,
        usage=_count_usage(behaviour.usage, call.prompt_tokens, len(pieces)),
        tool=tool,
        reasoning=behaviour.reasoning,
    )


def _embed(behaviour: Behaviour, call: ChatCall, occasion: Occasion) -> Completion:
    return Completion(
        id=occasion.completion_id(),
        created=occasion.created,
        model=call.model,
        pieces=(),
        finish="stop",
        usage=_count_usage(behaviour.usage, call.prompt_tokens, 0),
        vectors=tuple([make_vector(text, call.dimensions) for text in call.inputs]),
        in_base64=call.in_base64,
    )


def make_vector(text: str, dimensions: int) -> tuple[float, ...]:
    """The simulated model's vector of a text: always the same. Each number is one that 32 bits hold exactly."""
    numbers = bytearray()
    while len(numbers) < dimensions:
        numbers += blake2b(f"{len(numbers)}:{text}".encode(errors="replace")).digest()
    return tuple([(number - 128) / 128 for number in numbers[:dimensions]])


def _split_tool(tool: CalledTool) -> tuple[str, ...]:
    arguments = tool.arguments
    return tuple(
        arguments[start : start + ARGUMENT_PIECE_CHARS] for start in range(0, len(arguments), ARGUMENT_PIECE_CHARS)
    )


def _split_text(behaviour: Behaviour, said: str) -> tuple[str, ...]:
    content = f"You said: {said[:ECHO_CHARS]}" if behaviour.content is None else behaviour.content
    # Split at single spaces only: joined again, the text is what it was, line breaks included.
    first, *rest = content.split(" ")
    words = [first, *(" " + word for word in rest)] if content else []
    if behaviour.tokens is None:
        return tuple(words)
    missing = behaviour.tokens - len(words)
    if missing > 0:
        words.extend(" " + word for word in islice(cycle(_FILLER), missing))
    return tuple(words[: behaviour.tokens])


def _count_usage(usage: bool | ReportedUsage, prompt_tokens: int, completion_tokens: int) -> ReportedUsage | None:
    if isinstance(usage, ReportedUsage):
        return usage
    return ReportedUsage(prompt_tokens, completion_tokens) if usage else None
