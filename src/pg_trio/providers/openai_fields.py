"""Fields that whole and streamed answers of the OpenAI wire share.

Rules:
1. Null means absent. A field that the gateway does not need (id, model, usage) is never a reason to refuse: a value of
   the wrong type is replaced, or estimated.
2. An unreadable field of the model's own text raises UpstreamNonsense with its place, because the answer would be
   incomplete without it.
3. A number or an object in place of the model's text is the text that was parsed: Cloudflare's Workers AI
   sends the token `6` as a number, and an answer in JSON as the object.
Sources: `openai`; rule 3: cloudflare/ai#651, #655 and #459, mastra-ai/mastra#18289.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import NoReturn

import orjson

from pg_trio.domain.chat import FinishReason, Json
from pg_trio.domain.project import Candidate
from pg_trio.domain.secret import MASK, is_harmless
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.finish_reasons import Meaning
from pg_trio.providers.json_text import has_surrogates, mend_values
from pg_trio.providers.refusal import mask_for
from pg_trio.providers.said import read_error_message, says_error

# A longer text is not a model's name; the name is sent in a header.
MODEL_NAME_CHARS = 256

_MODEL_NAME = re.compile(rf"[A-Za-z0-9._:/@+-]{{1,{MODEL_NAME_CHARS}}}")
_UNSAFE_IN_ID = re.compile(r"[^A-Za-z0-9_-]+")
_ID_CHARS = 64
# An object with one of these is a content part.
_PART_FIELDS = frozenset({"type", "text", "thinking", "thought", "refusal"})
_OPENAI_PREFIX = "chatcmpl-"


def reply_id(given: Json, candidate: Candidate) -> str:
    """The provider's own id as far as its characters are safe, at most 64 of them behind OpenAI's `chatcmpl-`.

    An id that contains a secret is replaced completely. Surfaces give ids the shape that their clients know.
    """
    if (
        type(given) is str
        and len(given) <= _ID_CHARS
        and is_harmless(given.removeprefix(_OPENAI_PREFIX), candidate.credential.fixed_secrets)
    ):
        # As most are.
        return given
    if type(given) is not str:
        # NVIDIA, AiHubMix and OpenRouter sometimes use numbers.
        if type(given) is not int:
            return _new_reply_id()
        given = str(given)
    # Cut first, so that an id of megabytes is not cleaned completely.
    cut: str = given[: 16 * _ID_CHARS]
    own = cut.removeprefix(_OPENAI_PREFIX)
    safe = _UNSAFE_IN_ID.sub("", own)
    # Checked before and after the cleaning, because cleaning may hide a key from the mask, or uncover one.
    if not safe or _shows_secret(own, candidate) or (safe != own and _shows_secret(safe, candidate)):
        return _new_reply_id()
    return cut[: len(cut) - len(own)] + safe[:_ID_CHARS]


def _new_reply_id() -> str:
    return secrets.token_hex(12)


def read_model(model: Json, candidate: Candidate) -> str:
    """The model that the provider names; the requested model if the name is missing, not a model's name, or has a
    secret."""
    if model == candidate.model or type(model) is not str:
        return candidate.model
    usable = _MODEL_NAME.fullmatch(model) is not None and not _shows_secret(model, candidate)
    return model if usable else candidate.model


def _shows_secret(text: str, candidate: Candidate) -> bool:
    return MASK in mask_for(candidate, text)


def decide_finish(meaning: Meaning, calls_tools: bool, refused: bool) -> FinishReason:
    """The contract's word for how an answer ended (rules 3 to 5 of `openai_reply`).

    `error` means that the answer failed: the provider says so, or its tool calls are missing.
    """
    if meaning == "none":
        meaning = "stop"
    if calls_tools:
        return "tool_calls" if meaning == "stop" else meaning
    if refused and meaning == "stop":
        return "content_filter"
    return "error" if meaning == "tool_calls" else meaning


def why_failed(reason: Json, *places: Json) -> str:
    """The message about an answer that ended with `error`: the provider's, if one of these places has one."""
    for place in places:
        error = place.get("error") if isinstance(place, dict) else None
        if error is not None and says_error(error) and (said := read_error_message(error)):
            return said
    natives = [place.get("native_finish_reason") for place in places if isinstance(place, dict)]
    # OpenRouter's `finish_reason` is `error`, and this is the provider's own.
    reason = next((native for native in natives if type(native) is str and native), reason)
    named = f" ({reason})" if type(reason) is str and reason.lower() != "error" else ""
    return f"the provider ended it with an error{named}"


def read_part(part: Json, where: str) -> str:
    """The text of a content part, "" for another kind of part (an image, a reference).

    Shape: a string, or an object with `text` (also an object with its `value`, OpenAI's assistants).
    """
    if type(part) is str:
        return part
    if type(part) is not dict:
        if part is None:
            return ""
        refuse(where, part, "an object")
    kind = part.get("type", "text")
    if kind is not None and kind not in ("text", "output_text"):
        return ""
    text = part.get("text")
    if type(text) is dict:
        text = text.get("value")
    if text is None:
        return ""
    if type(text) is not str:
        refuse(f"{where}.text", text, "a string")
    return text


def is_bare(value: Json) -> bool:
    """Whether a value in place of a text is the text's own meaning (rule 3), and not a content part."""
    if type(value) is dict:
        return bool(value) and _PART_FIELDS.isdisjoint(value)
    return type(value) in (int, float)


def write_bare(value: Json, where: str) -> str:
    """The text that such a value was parsed from."""
    return dump_arguments(value, where) if type(value) is dict else json.dumps(value)


def dump_arguments(arguments: dict[str, Json], where: str) -> str:
    """A tool call's arguments as JSON text, for a provider that sends the object itself (Mistral's schema allows
    it)."""
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError:
        pass
    try:
        # orjson does not write these: lone surrogates, more than 254 levels, integers past 64 bits.
        text = json.dumps(mend_values(arguments), ensure_ascii=False, separators=(",", ":"))
    except (RecursionError, ValueError):
        raise UpstreamNonsense(f"{where} is nested too deeply") from None
    return text if not has_surrogates(text) else text.encode("utf-8", "replace").decode()


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def refuse(where: str, value: Json, expected: str) -> NoReturn:
    """Raises UpstreamNonsense: the value at `where` is missing, or not of the expected kind."""
    if value is None:
        raise UpstreamNonsense(f"{where} is missing")
    raise UpstreamNonsense(f"{where} is {_KINDS[type(value)]}, not {expected}")
