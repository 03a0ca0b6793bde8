"""The fields of a Responses request that say how to answer, as `Options`.

Rules:
1. What another wire calls otherwise is translated: `text.format` is `response_format`, `reasoning.effort` is
   `reasoning_effort`, and so on.
2. Fields with no meaning outside of OpenAI's own service (`truncation`, `stream_options`, `max_tool_calls`, …) are
   dropped. Those that would make another kind of answer are refused: see REFUSED.
3. `store` of the Responses API is about this gateway's sessions. It travels only where the client sends it, and only
   beside `store: true` does `metadata`, because OpenAI refuses metadata of chats that it does not store.

Source: OpenAI's openapi.yaml, CreateResponse and ModelResponseProperties, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias, cast

from pg_trio.domain.chat import ChatRequest, Json
from pg_trio.domain.options import NO_OPTIONS, Options, ResponseFormat
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import (
    MAX_TOKENS,
    NAME,
    check_object,
    check_string,
    check_text,
    read_answer_count,
    read_flag,
    read_integer,
    read_number,
)

Fields: TypeAlias = dict[str, Json]

# OpenAI's limits of `metadata`: pairs, and characters of a key and of a value.
METADATA_PAIRS, METADATA_KEY_CHARS, METADATA_VALUE_CHARS = 16, 64, 512
# The most characters of `user`, `safety_identifier` and `prompt_cache_key`: four times OpenAI's newest limit.
ID_CHARS = 512
LOGPROBS = "message.output_text.logprobs"
# Other values ask for more of an item that no answer of the gateway has, except for the second.
# fmt: off
_INCLUDABLE = frozenset({
    LOGPROBS, "reasoning.encrypted_content", "file_search_call.results", "web_search_call.results",
    "web_search_call.action.sources", "message.input_image.image_url", "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
})
# fmt: on

_SERVICE_TIER = re.compile(r"[a-z0-9_-]{1,32}")


def check_refused(fields: Fields) -> None:
    """Return if the request asks for nothing that the gateway cannot give. Raises: BadRequest."""
    for field, why in REFUSED.items():
        given = fields.get(field)
        if given is not None and given is not False:
            raise BadRequest(f"{field}: {why}")


REFUSED: Mapping[str, str] = {
    "background": "is not supported; an answer is made while the client waits.",
    "conversation": "is not supported; use previous_response_id.",
    "prompt": "is not supported; send instructions and input.",
    "moderation": "is not supported.",
}


def read_options(fields: Fields) -> Options:
    """How to answer. Raises: BadRequest."""
    options: dict[str, Any] = _read_each(fields, _OPTIONS)
    _read_each(fields, _DROPPED)
    wanted = _read_format(_object(fields, "text").get("format"))
    effort = _read_effort(_object(fields, "reasoning"))
    more = _read_more(fields)
    options |= {"response_format": wanted, "reasoning_effort": effort, "more": more or None}
    given = {name: option for name, option in options.items() if option is not None}
    return Options(**given) if given else NO_OPTIONS


def read_unknown(fields: Fields) -> Fields | None:
    """The fields that a provider on OpenAI's wire may know, by their names there; None without any."""
    unknown = {field: given for field, given in fields.items() if field not in KNOWN_FIELDS and given is not None}
    unknown |= {field: given for field, given in _read_each(fields, _PASSED).items() if given is not None}
    verbosity = _object(fields, "text").get("verbosity")
    if verbosity is not None:
        unknown["verbosity"] = _read_word(verbosity, "text.verbosity", ("low", "medium", "high"))
    return unknown or None


def asks_for_logprobs(request: ChatRequest) -> bool:
    """Whether the answer has the log probabilities of its tokens."""
    more = request.options.more
    return more is not None and more.get("logprobs") is True


def _read_each(fields: Fields, readers: Mapping[str, Callable[[Json], Any]]) -> Fields:
    return {field: read(fields[field]) for field, read in readers.items() if fields.get(field) is not None}


def _read_more(fields: Fields) -> dict[str, Json]:
    """The fields that only OpenAI's wire has, by their names in Chat Completions."""
    more = _read_each(fields, _MORE)
    if more.get("store") is not True:
        more.pop("metadata", None)
    included, top = fields.get("include"), fields.get("top_logprobs")
    if top is not None:
        read_integer(top, "top_logprobs", 0, 20)
    if included is not None and _check_include(included):
        more |= {"logprobs": True} | ({"top_logprobs": top} if top else {})
    return more


def _check_include(included: Json) -> bool:
    """Whether the answer's log probabilities are to be included. Raises: BadRequest."""
    if not isinstance(included, list):
        raise BadRequest("include: must be a list.")
    for index, each in enumerate(included):
        if not isinstance(each, str) or each not in _INCLUDABLE:
            raise BadRequest(f"include[{index}]: must be one of {', '.join(sorted(_INCLUDABLE))}.")
    return LOGPROBS in included


def _read_format(given: Json) -> ResponseFormat | None:
    """`text.format` in the shape of Chat Completions, where the schema has an object of its own; None for text."""
    if given is None:
        return None
    wanted = check_object(given, "text.format")
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return ResponseFormat.of({"type": "json_object"})
    if kind != "json_schema":
        raise BadRequest("text.format.type: must be one of text, json_object, json_schema.")
    check_string(wanted.get("name"), NAME, "text.format.name")
    check_object(wanted.get("schema"), "text.format.schema")
    if wanted.get("strict") is not None:
        read_flag(wanted["strict"], "text.format.strict")
    if wanted.get("description") is not None:
        check_text(wanted["description"], "text.format.description")
    known = ("name", "description", "schema", "strict")
    schema = {field: wanted[field] for field in known if wanted.get(field) is not None}
    return ResponseFormat.of({"type": "json_schema", "json_schema": schema})


def _read_effort(reasoning: Fields) -> str | None:
    """The effort. A summary needs no asking: what a model gives of its reasoning is in the answer."""
    for field in ("summary", "generate_summary"):
        if reasoning.get(field) not in (None, "auto", "concise", "detailed"):
            raise BadRequest(f"reasoning.{field}: must be one of auto, concise, detailed.")
    effort = reasoning.get("effort")
    if effort is not None:
        check_string(effort, NAME, "reasoning.effort")
    return cast(str | None, effort)


def _object(fields: Fields, field: str) -> Fields:
    given = fields.get(field)
    return {} if given is None else check_object(given, field)


def _read_id(given: Json, path: str) -> str | None:
    """The id; None if it is empty."""
    if not isinstance(given, str):
        raise BadRequest(f"{path}: must be a string.")
    if len(given) > ID_CHARS:
        raise BadRequest(f"{path}: has more than {ID_CHARS} characters.")
    return given or None


def _read_metadata(given: Json) -> Fields:
    metadata = check_object(given, "metadata")
    if len(metadata) > METADATA_PAIRS:
        raise BadRequest(f"metadata: has more than {METADATA_PAIRS} pairs.")
    for key, said in metadata.items():
        if not isinstance(said, str):
            raise BadRequest("metadata: must have only strings.")
        if len(key) > METADATA_KEY_CHARS or len(said) > METADATA_VALUE_CHARS:
            limits = f"{METADATA_KEY_CHARS} characters, or a value of more than {METADATA_VALUE_CHARS}"
            raise BadRequest(f"metadata: has a key of more than {limits}.")
    return metadata


def _read_tier(given: Json) -> str:
    if not isinstance(given, str) or _SERVICE_TIER.fullmatch(given) is None:
        raise BadRequest("service_tier: must be a word.")
    return given


def _read_word(given: Json, path: str, words: tuple[str, ...]) -> str:
    if not isinstance(given, str) or given not in words:
        raise BadRequest(f"{path}: must be one of {', '.join(words)}.")
    return given


_OPTIONS: Mapping[str, Callable[[Json], Any]] = {
    "temperature": partial(read_number, path="temperature", least=0, most=2),
    "top_p": partial(read_number, path="top_p", least=0, most=1),
    "max_output_tokens": partial(read_integer, path="max_output_tokens", least=1, most=MAX_TOKENS),
    "parallel_tool_calls": partial(read_flag, path="parallel_tool_calls"),
    "user": partial(_read_id, path="user"),
}
_MORE: Mapping[str, Callable[[Json], Json]] = {
    "service_tier": _read_tier,
    "store": partial(read_flag, path="store"),
    "metadata": _read_metadata,
}
# Chat Completions has them, too. Of its providers, only some know them.
_PASSED: Mapping[str, Callable[[Json], Json]] = {
    "safety_identifier": partial(_read_id, path="safety_identifier"),
    "prompt_cache_key": partial(_read_id, path="prompt_cache_key"),
    "prompt_cache_retention": partial(
        _read_word, path="prompt_cache_retention", words=("in_memory", "in-memory", "24h")
    ),
}
_DROPPED: Mapping[str, Callable[[Json], object]] = {
    # Of Chat Completions, but an answer of the gateway is one on every surface.
    "n": read_answer_count,
    "truncation": partial(_read_word, path="truncation", words=("auto", "disabled")),
    "max_tool_calls": partial(read_integer, path="max_tool_calls", least=1, most=MAX_TOKENS),
    "stream_options": partial(check_object, path="stream_options"),
}
# fmt: off
KNOWN_FIELDS = frozenset({
    *REFUSED, *_OPTIONS, *_MORE, *_PASSED, *_DROPPED,
    "model", "input", "instructions", "stream", "previous_response_id", "tools", "tool_choice", "text", "reasoning",
    "include", "top_logprobs",
    # Only OpenAI's own service knows these, and only in this API.
    "access_programs", "background_options", "context_management", "image", "prompt_cache_options",
})
# fmt: on
