"""Fields that whole answers and streamed ones of the OpenAI wire have in common, checked.

Every reader raises UpstreamNonsense for a value of the wrong type, and says where it stands; null means absent.
Sources: `openai`.
"""

from __future__ import annotations

import re
import secrets
from typing import NoReturn

import orjson

from pg_trio.domain.chat import FinishReason, Json, Usage
from pg_trio.domain.project import Candidate
from pg_trio.domain.secret import MASK, is_harmless
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.refusal import mask_for

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",  # Together, older models
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "model_length": "length",  # Mistral: the context is full, not the output limit
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",  # OpenAI, before `tool_calls`
    "content_filter": "content_filter",
    "error": "error",
}

# A billion tokens in one answer is a mistake, and would overflow the 64-bit sums of the log and the budget.
MAX_TOKEN_COUNT = 1_000_000_000

# Longer model names are none; they end up in a header of ours.
MODEL_NAME_CHARS = 256

_MODEL_NAME = re.compile(rf"[A-Za-z0-9._:/@+-]{{1,{MODEL_NAME_CHARS}}}")
_UNSAFE_IN_ID = re.compile(r"[^A-Za-z0-9_-]+")
_ID_CHARS = 64
_OPENAI_PREFIX = "chatcmpl-"


def reply_id(given: Json, candidate: Candidate) -> str:
    """The provider's own id as far as its characters are safe, at most 64 of them behind OpenAI's `chatcmpl-`.

    One that a secret shows in is replaced whole. Surfaces give ids the shape that their clients know.
    """
    if given is None:
        return _new_reply_id()
    if type(given) is not str:
        refuse("id", given, "a string")
    # Cut first: what is left of megabytes is not worth cleaning all of it.
    cut: str = given[: 16 * _ID_CHARS]
    own = cut.removeprefix(_OPENAI_PREFIX)
    if len(own) <= _ID_CHARS and is_harmless(own, candidate.credential.api_key):
        return cut
    safe = _UNSAFE_IN_ID.sub("", own)
    # Before the cut and after the cleaning: neither may hide a key from the mask, or uncover one.
    if not safe or _shows_secret(own, candidate) or (safe != own and _shows_secret(safe, candidate)):
        return _new_reply_id()
    return cut[: len(cut) - len(own)] + safe[:_ID_CHARS]


def _new_reply_id() -> str:
    return secrets.token_hex(12)


def read_model(model: Json, candidate: Candidate) -> str:
    """What the provider says answered; the model asked for where that is missing, unfit for a name, or has a secret."""
    if model is None or model == candidate.model:
        return candidate.model
    if type(model) is not str:
        refuse("model", model, "a string")
    usable = _MODEL_NAME.fullmatch(model) is not None and not _shows_secret(model, candidate)
    return model if usable else candidate.model


def _shows_secret(text: str, candidate: Candidate) -> bool:
    return MASK in mask_for(candidate, text)


def read_finish_reason(reason: Json, calls_tools: bool, refused: bool) -> FinishReason:
    """The contract's word for a provider's finish reason (rules 3 to 5 of `openai`)."""
    if reason is None:
        known: FinishReason = "stop"
    elif type(reason) is str:
        known = FINISH_REASONS.get(reason, "error")
    else:
        refuse("choices[0].finish_reason", reason, "a string")
    if calls_tools:
        return "tool_calls" if known == "stop" else known
    if refused and known == "stop":
        return "content_filter"
    return "error" if known == "tool_calls" else known


def read_usage(usage: Json) -> Usage | None:
    """Token counts of an answer, or None where the provider sent none or only one of the two.

    Shape:  {"prompt_tokens": int, "completion_tokens": int, "total_tokens": int}; tokens, never characters.
    Raises: UpstreamNonsense for a count that is negative, absurd or not an integer.
    """
    if usage is None:
        return None
    if type(usage) is not dict:
        refuse("usage", usage, "an object")
    prompt_tokens, completion_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
    _check_count("prompt_tokens", prompt_tokens)
    _check_count("completion_tokens", completion_tokens)
    _check_count("total_tokens", usage.get("total_tokens"))
    if prompt_tokens is None or completion_tokens is None:
        return None
    return Usage(prompt_tokens, completion_tokens)


def _check_count(name: str, count: Json) -> None:
    if count is None:
        return
    # `type(…) is`, here and above: a bool is an int to isinstance.
    if type(count) is not int:
        refuse(f"usage.{name}", count, "an integer")
    if not 0 <= count <= MAX_TOKEN_COUNT:
        raise UpstreamNonsense(f"usage.{name} is out of range")


def read_text_part(part: Json, where: str) -> str:
    """The text of a content part, "" where it is of another type (Mistral: `thinking`, `reference`)."""
    if type(part) is not dict:
        refuse(where, part, "an object")
    if part.get("type", "text") != "text":
        return ""
    text = part.get("text")
    if type(text) is not str:
        refuse(f"{where}.text", text, "a string")
    return text


def dump_arguments(arguments: dict[str, Json], where: str) -> str:
    """A tool call's arguments as JSON text, where a provider sends the object itself."""
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError:
        # orjson reads 1,024 levels and writes 254.
        raise UpstreamNonsense(f"{where} is nested too deeply") from None


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def refuse(where: str, value: Json, expected: str) -> NoReturn:
    """Raises UpstreamNonsense: what stands at `where` is missing, or of another kind than expected."""
    if value is None:
        raise UpstreamNonsense(f"{where} is missing")
    raise UpstreamNonsense(f"{where} is {_KINDS[type(value)]}, not {expected}")
