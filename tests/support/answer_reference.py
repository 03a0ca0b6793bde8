"""A small reader of answers for the fuzz: which bytes carry meaning, and what they say. It knows no fast way, no
envelope of an error, and nothing of the gateway's own readers.

An answer is `Said`, or None: it failed, was cut, or lost what the model said.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

MEANINGS = {
    "stop": "stop",
    "eos_token": "stop",
    "END_TURN": "stop",
    "endTurn": "stop",
    "COMPLETE": "stop",
    "length": "length",
    "MAX_TOKENS": "length",
    "maxOutputTokens": "length",
    "model-length": "length",
    "content_filter": "content_filter",
    "SAFETY": "content_filter",
    "sensitive": "content_filter",
    "tool_calls": "tool_calls",
    "toolUse": "tool_calls",
    "FUNCTION_CALL": "tool_calls",
    "error": "error",
    "ERROR": "error",
    "network_error": "error",
    "cancelled": "error",
}


@frozen
class Said:
    """What the model said, and how it ended."""

    text: str
    calls: tuple[tuple[str, str], ...]
    finish_reason: str


class Lost(Exception):
    """A field that carries meaning cannot be read."""


def says_anything(error: Any) -> bool:
    """Whether an `error` field says that something went wrong."""
    if isinstance(error, dict):
        return any(says_anything(value) for value in error.values())
    if isinstance(error, list):
        return any(says_anything(value) for value in error)
    return bool(error)


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, int | float) and not isinstance(content, bool):
        return json.dumps(content)
    if not content:
        return ""
    if isinstance(content, dict) and not {"type", "text", "thinking", "thought", "refusal"} & content.keys():
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise Lost
    return "".join(_text_of_part(part) for part in content)


def _text_of_part(part: Any) -> str:
    if isinstance(part, str) or part is None:
        return part or ""
    if not isinstance(part, dict):
        raise Lost
    if "thinking" in part or part.get("type") == "thinking" or part.get("type") not in (None, "text"):
        return ""
    text = part.get("text")
    if text is None or (isinstance(text, dict) and text.get("value") is None):
        return ""
    if not isinstance(text, str):
        raise Lost
    return text


def calls_of(message: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    calls = message.get("tool_calls") or []
    if isinstance(calls, dict):
        calls = [calls]
    if not isinstance(calls, list):
        raise Lost
    return tuple(_call_of(call) for call in calls if call)


def _call_of(call: Any) -> tuple[str, str]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise Lost
    arguments = function.get("arguments")
    if arguments is None or arguments == []:
        arguments = "{}"
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    if not isinstance(arguments, str):
        raise Lost
    return function["name"], arguments


def meaning_of(reason: Any) -> str:
    """How an answer ended; "" where that is not said."""
    if isinstance(reason, str):
        return MEANINGS.get(reason, "stop") if reason else ""
    if reason is True or (isinstance(reason, int) and reason != 0 and not isinstance(reason, bool)):
        return {2: "length", 3: "content_filter", 4: "content_filter"}.get(int(reason), "stop")
    if isinstance(reason, list) and reason and isinstance(reason[0], str):
        return meaning_of(reason[0])
    return ""


def read_answer(answer: Any) -> Said | None:
    """What a whole answer says."""
    try:
        return _read_answer(answer)
    except Lost:
        return None


def _read_answer(answer: Any) -> Said | None:
    if not isinstance(answer, dict) or says_anything(answer.get("error")):
        return None
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    choice = choices[0]
    ended = meaning_of(choice.get("finish_reason"))
    message = choice.get("message")
    if message is None and ended in ("length", "content_filter"):
        message = {}
    if not isinstance(message, dict) or says_anything(choice.get("error")):
        return None
    text, calls = text_of(message.get("content")), calls_of(message)
    refusal = message.get("refusal")
    if not text and refusal:
        if not isinstance(refusal, str):
            return None
        text, ended = refusal, "content_filter" if ended in ("", "stop") else ended
    return judge(text, calls, ended or "stop")


def judge(text: str, calls: tuple[tuple[str, str], ...], ended: str) -> Said | None:
    """What was said, if it is an answer."""
    if ended == "error" or (ended == "tool_calls" and not calls):
        return None
    if not text and not calls and ended not in ("length", "content_filter"):
        return None
    return Said(text, calls, "tool_calls" if calls and ended == "stop" else ended)


def read_chunks(chunks: list[Any], calls: tuple[tuple[str, str], ...]) -> Said | None:
    """What a stream's chunks say. The calls are known: the fuzz changes how they are written, never what they say."""
    try:
        return _read_chunks(chunks, calls)
    except Lost:
        return None


def _read_chunks(chunks: list[Any], calls: tuple[tuple[str, str], ...]) -> Said | None:
    text, ended = "", ""
    for chunk in chunks:
        if not isinstance(chunk, dict):
            if chunk and not isinstance(chunk, bool | int | float):
                return None
            continue
        if says_anything(chunk.get("error")):
            return None
        choices = chunk.get("choices")
        if not choices:
            continue
        if not isinstance(choices, list):
            return None
        choice = choices[0]
        if choice is None:
            continue
        if not isinstance(choice, dict) or says_anything(choice.get("error")):
            return None
        if type(choice.get("index")) is int and choice["index"] != 0:
            continue
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            return None
        text += text_of(delta.get("content"))
        ended = meaning_of(choice.get("finish_reason")) or ended
    return judge(text, calls, ended) if ended else None
