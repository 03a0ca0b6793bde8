"""The turns of a Messages request as messages: `system`, and the list `messages`.

Rules:
1. A user's turn is one message for each result of a tool, then one for what the user says: results come first on every
   wire. An assistant's turn is one message; the order of its blocks is kept where it is not thinking, content, calls.
2. Each message of the client's own tells what the neutral values lack (domain.native_fields.NativeTurn).
3. Error texts name the field by its path and never quote the client's text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

from attrs import evolve

from pg_trio.domain.chat import Json, JsonObject, Message, Reasoning
from pg_trio.domain.content import Part, Text
from pg_trio.domain.native_fields import PLAIN_TURN, NativeTurn
from pg_trio.domain.tools import ToolCall
from pg_trio.errors import BadRequest
from pg_trio.surfaces.v1.messages.blocks import (
    read_call,
    read_kind,
    read_part,
    read_result_message,
    read_thinking,
    without,
)

_TURN_FIELDS = frozenset({"role", "content"})
_DEFAULT_ORDER = "rpc"


def read_system(system: Json) -> tuple[Message, ...]:
    """The field `system`, a text or text blocks, as a message; none if it is empty. Raises: BadRequest."""
    if system in ("", []):
        return ()
    return (Message("system", _read_texts(system, "system")),)


def read_turns(turns: list[Json]) -> list[Message]:
    """The messages of the turns. Raises: BadRequest naming the field."""
    messages: list[Message] = []
    for index, turn in enumerate(turns):
        read = _read_turn(turn, f"messages[{index}]")
        if messages and messages[-1].role == "tool" and read[0].role in ("tool", "user"):
            # Otherwise it would continue the turn before.
            read[0] = evolve(read[0], native=evolve(read[0].native or PLAIN_TURN, begins=True))
        messages += read
    return messages


def check_results(turns: list[dict[str, Json]]) -> None:
    """Return if each result of a tool answers a call of an earlier turn. `turns` were read already.

    Raises: BadRequest naming the field.
    """
    called: set[str] = set()
    for index, turn in enumerate(turns):
        content = turn["content"]
        for number, block in enumerate([] if isinstance(content, str) else content):
            if block["type"] == "tool_use":
                called.add(block["id"])
            elif block["type"] == "tool_result" and block["tool_use_id"] not in called:
                place = f"messages[{index}].content[{number}].tool_use_id"
                raise BadRequest(f"{place}: answers no tool_use of an earlier turn.")


def _read_turn(turn: Json, path: str) -> list[Message]:
    if not isinstance(turn, dict):
        raise BadRequest(f"{path}: must be an object.")
    role, content, fields = turn.get("role"), turn.get("content"), without(turn, _TURN_FIELDS)
    if role == "system":
        native = NativeTurn({**(fields or {}), "role": "system"})
        return [Message("system", _read_texts(content, f"{path}.content"), native=native)]
    if role not in ("user", "assistant"):
        raise BadRequest(f"{path}.role: must be user or assistant.")
    if isinstance(content, str):
        native_turn = None if fields is None and role == "user" else NativeTurn(fields)
        return [Message(cast(Literal["user", "assistant"], role), content, native=native_turn)]
    if role == "assistant" and content == []:
        # An answer without a block, as clients send it back.
        return [Message("assistant", "", native=NativeTurn(fields))]
    blocks = _check_blocks(content, f"{path}.content")
    if role == "assistant":
        return [_read_assistant(blocks, fields, f"{path}.content")]
    return _read_user(blocks, fields, f"{path}.content")


def _check_blocks(content: Json, path: str) -> list[dict[str, Json]]:
    if not isinstance(content, list):
        raise BadRequest(f"{path}: must be a string or a list of blocks.")
    if not content:
        raise BadRequest(f"{path}: must not be empty.")
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            raise BadRequest(f"{path}[{index}]: must be an object.")
    return content


def _read_user(blocks: list[dict[str, Json]], fields: JsonObject | None, path: str) -> list[Message]:
    results: list[Message] = []
    parts: list[Part] = []
    for index, block in enumerate(blocks):
        where = f"{path}[{index}]"
        kind = read_kind(block, where)
        if kind in ("tool_use", "thinking", "redacted_thinking"):
            raise BadRequest(f"{where}.type: only an assistant's turn has such a block.")
        if kind == "tool_result":
            results.append(read_result_message(block, where))
        else:
            parts.append(read_part(kind, block, where))
    messages = [*results, Message("user", tuple(parts))] if parts else results
    if fields is not None:
        messages[0] = evolve(messages[0], native=evolve(messages[0].native or PLAIN_TURN, fields=fields))
    return messages


def _read_assistant(blocks: list[dict[str, Json]], fields: JsonObject | None, path: str) -> Message:
    parts: list[Part] = []
    reasoning: list[Reasoning] = []
    calls: list[ToolCall] = []
    order = ""
    for index, block in enumerate(blocks):
        where = f"{path}[{index}]"
        kind = read_kind(block, where)
        if kind == "tool_use":
            calls.append(read_call(block, where))
            order += "c"
        elif kind in ("thinking", "redacted_thinking"):
            thought = read_thinking(kind, block, where)
            reasoning.append(thought)
            # Without a signature it is not written.
            order += "r" if thought.signature or thought.data else ""
        elif kind == "tool_result":
            raise BadRequest(f"{where}.type: only a user's turn has such a block.")
        else:
            part = read_part(kind, block, where)
            parts.append(part)
            # An empty text is not written.
            order += "" if isinstance(part, Text) and not part.text else "p"
    return Message(
        "assistant",
        tuple(parts) if parts else (None if calls else ""),
        tool_calls=tuple(calls),
        reasoning=tuple(reasoning),
        native=_turn_of(fields, order),
    )


def _turn_of(fields: JsonObject | None, order: str) -> NativeTurn:
    is_default = list(order) == sorted(order, key=_DEFAULT_ORDER.index)
    return PLAIN_TURN if fields is None and is_default else NativeTurn(fields, order="" if is_default else order)


def _read_texts(content: Json, path: str) -> str | tuple[Part, ...]:
    """A text, or blocks that are all text."""
    if isinstance(content, str):
        return content
    return tuple(_read_text_blocks(_check_blocks(content, path), path))


def _read_text_blocks(blocks: list[dict[str, Json]], path: str) -> Iterable[Part]:
    for index, block in enumerate(blocks):
        where = f"{path}[{index}]"
        if read_kind(block, where) != "text":
            raise BadRequest(f'{where}.type: must be "text".')
        yield read_part("text", block, where)
