"""What the simulated model says, and its shape on OpenAI's wire: one JSON body, or the events of a stream. Pure.

Source: OpenAI's API reference, "The chat completion object" and "The chat completion chunk object", 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import cycle, islice
from random import Random

import orjson
from attrs import frozen

from pg_trio.domain.chat import Json
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

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def complete(behaviour: Behaviour, call: ChatCall, occasion: Occasion) -> Completion:
    """The answer to the call, cut to the tokens that the caller allowed."""
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
    )


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


# ── the plain body ───────────────────────────────────────────────────────────────────────────────────────────────────


def plain_object(completion: Completion) -> dict[str, Json]:
    """The answer as a `chat.completion` object."""
    message: dict[str, Json] = {"role": "assistant", "content": None if completion.tool else completion.text}
    if completion.tool:
        message["tool_calls"] = [_tool_call(completion, completion.text)]
    return {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created,
        "model": completion.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": completion.finish}],
        **_usage_field(completion),
    }


def _tool_call(completion: Completion, arguments: str) -> dict[str, Json]:
    assert completion.tool is not None
    call_id = "call_" + completion.id.removeprefix("chatcmpl-")
    return {"id": call_id, "type": "function", "function": {"name": completion.tool.name, "arguments": arguments}}


def _usage_field(completion: Completion) -> dict[str, Json]:
    usage = completion.usage
    if usage is None:
        return {}
    return {
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
    }


# ── the events of a stream ───────────────────────────────────────────────────────────────────────────────────────────

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


def event(data: Json) -> bytes:
    """One server-sent event with JSON data."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def role_event(completion: Completion) -> bytes:
    """The first event: who speaks, and which tool is called; no token yet."""
    delta: dict[str, Json] = {"role": "assistant", "content": None if completion.tool else ""}
    if completion.tool:
        delta["tool_calls"] = [{"index": 0} | _tool_call(completion, "")]
    return event(_chunk(completion, delta))


def reasoning_events(completion: Completion, count: int) -> Iterator[bytes]:
    """`count` deltas of a model that thinks aloud (`reasoning_content`, as DeepSeek and vLLM have it)."""
    for _ in range(count):
        yield event(_chunk(completion, {"reasoning_content": "Hm. "}))


def token_events(completion: Completion) -> Iterator[bytes]:
    """One event a token."""
    for piece in completion.pieces:
        if completion.tool:
            delta: dict[str, Json] = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        else:
            delta = {"content": piece}
        yield event(_chunk(completion, delta))


def closing_events(completion: Completion, *, include_usage: bool) -> bytes:
    """The finish reason and, where asked for, the usage; `[DONE]` is not among them."""
    closing = event(_chunk(completion, {}, completion.finish))
    if include_usage and completion.usage is not None:
        closing += event(_chunk_without_choices(completion) | _usage_field(completion))
    return closing


def choiceless_event(completion: Completion) -> bytes:
    """An event that says nothing: no choice, no usage."""
    return event(_chunk_without_choices(completion))


def _chunk(completion: Completion, delta: dict[str, Json], finish: FinishReason | None = None) -> dict[str, Json]:
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return _chunk_without_choices(completion) | {"choices": choices}


def _chunk_without_choices(completion: Completion) -> dict[str, Json]:
    return {
        "id": completion.id,
        "object": "chat.completion.chunk",
        "created": completion.created,
        "model": completion.model,
        "choices": [],
    }
