"""Turn the body of a Messages request into a `ChatRequest`, or into a 400 that names the wrong field.

Rules, beside those of reading/json_body.py:
1. Every field that the gateway knows is checked for its type and range here, so that a mistake is a 400 of ours,
   whichever provider would answer. A null field counts as absent.
2. Neutral values say what any provider is asked. What they lack stays beside them (domain.native_fields), for a
   candidate of Anthropic's wire: fields, blocks and tools that the gateway does not know included.
3. `thinking: disabled` is a budget of nothing. Effort is what `output_config` says. `user_id` is OpenAI's `user` if it
   is short enough for its wire, else a hash of it.
4. A result of a tool must answer a call of an earlier turn, unless a session may hold the call.
5. A field that asks for another kind of answer (MCP servers, a container, no answer at all) needs a candidate of
   Anthropic's wire.

Source: Messages API reference and the request types of the `anthropic` package 2.14, read 2026-11.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from pg_trio.domain.call import ReadLimits, RequestHead
from pg_trio.domain.chat import ChatRequest, Json, JsonObject, Message
from pg_trio.domain.native_fields import NativeRequest
from pg_trio.domain.options import Options, ResponseFormat
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import (
    MAX_TOKENS,
    check_object,
    read_flag,
    read_integer,
    read_number,
    read_strings,
)
from pg_trio.surfaces.reading.json_body import literal_keys, read_json_object
from pg_trio.surfaces.v1.messages.messages_tools import read_anthropic_tools, read_choice
from pg_trio.surfaces.v1.messages.turns import check_results, read_system, read_turns
from pg_trio.surfaces.v1.routes import read_model, read_session

BETA_FIELD: Final = b"anthropic-beta"
VERSION_FIELD: Final = b"anthropic-version"
# Betas of a request are a dozen words. 4,096 characters are half of what servers accept as one header line.
MAX_HEADER_CHARS = 4096
# Words and dates. No text of a person's is in them, so guardrails do not read them.
_HEADER = re.compile(r"[A-Za-z0-9._:-]+(?:[ \t]*,[ \t]*[A-Za-z0-9._:-]+)*")
# RFC 9110, section 5.6.1: a recipient ignores empty elements of a list.
_EMPTY_WORDS = re.compile(r"\A[ \t,]+|,(?=[ \t]*(?:,|\Z))")
# Anthropic documents no limit; this is Cohere's and Google's five, and OpenAI's four, many times over.
MAX_STOPS = 64
# The lowest that Anthropic accepts.
MIN_BUDGET_TOKENS = 1024
# OpenAI's limit of `user`; the length of a SHA-256 in hexadecimal digits.
USER_CHARS = 64

# Restated completely by neutral values. Every other field goes to Anthropic as it came.
_RESTATED = frozenset({"model", "messages", "system", "tools", "max_tokens", "stream", "temperature", "top_p"})
# Fields that only Anthropic's wire has, and without which the answer would be another.
NEEDS: Final = ("mcp_servers", "container")
# No answer at all: only the prompt's cache is filled.
_ONLY_CACHES = "max_tokens"


def read_messages_request(body: bytes, limits: ReadLimits, head: RequestHead, *, is_count: bool = False) -> ChatRequest:
    """The request in the body, for the model that it names. Raises: BadRequest naming the field, SessionIdInvalid.

    `is_count`: it only asks for the number of its tokens, and needs no `max_tokens`.
    """
    sent = read_json_object(body, limits.max_json_depth, _KEYS)
    given = {name: value for name, value in sent.items() if value is not None}
    model = read_model(given.get("model"))
    if not is_count and "max_tokens" not in given:
        raise BadRequest("max_tokens: is required.")
    messages = _read_messages(given, limits.max_messages)
    options = _read_options(given)
    session: dict[str, Any] = read_session(head)
    if "session_id" not in session:
        check_results(given["messages"])
    return ChatRequest(
        messages,
        sent,
        stream="stream" in given and read_flag(given["stream"], "stream"),
        tools=read_anthropic_tools(given["tools"]) if "tools" in given else (),
        tool_choice=read_choice(given["tool_choice"]) if "tool_choice" in given else None,
        options=options,
        model=model,
        native=NativeRequest(
            wire="anthropic",
            fields={name: value for name, value in given.items() if name not in _RESTATED},
            headers=_read_headers(head),
            asked=options,
            needs=_find_needs(given),
        ),
        **session,
    )


def _read_messages(given: JsonObject, max_messages: int) -> tuple[Message, ...]:
    turns = given.get("messages")
    if turns is None:
        raise BadRequest("messages: is required.")
    if not isinstance(turns, list):
        raise BadRequest("messages: must be a list.")
    if not turns:
        raise BadRequest("messages: must not be empty.")
    if len(turns) > max_messages:
        raise BadRequest(f"messages: has {len(turns)} messages, the limit is {max_messages}.")
    system = read_system(given["system"]) if "system" in given else ()
    return (*system, *read_turns(turns))


def _find_needs(given: JsonObject) -> tuple[str, ...]:
    needs = [name for name in NEEDS if given.get(name)]
    return (*needs, _ONLY_CACHES) if given.get("max_tokens") == 0 else tuple(needs)


def _read_headers(head: RequestHead) -> tuple[tuple[str, str], ...]:
    """The client's header fields for Anthropic. Raises: BadRequest."""
    headers = []
    for name in (VERSION_FIELD, BETA_FIELD):
        given = head.fields.get(name)
        if given is None:
            continue
        # Repeated fields are one list (RFC 9110, section 5.3).
        text = _EMPTY_WORDS.sub("", given.decode("latin-1").replace("\0", ",")).strip()
        if len(text) > MAX_HEADER_CHARS or (text and _HEADER.fullmatch(text) is None):
            raise BadRequest(f"{name.decode('ascii')}: must be words, at most {MAX_HEADER_CHARS} characters.")
        if text:
            headers.append((name.decode("ascii"), text))
    return tuple(headers)


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_options(given: JsonObject) -> Options:
    asked: dict[str, Any] = {}
    for name, read in _OPTION_READERS.items():
        if name in given:
            asked |= read(given[name])
    if not given.get("tools"):
        # OpenAI answers it with a 400.
        asked.pop("parallel_tool_calls", None)
    return Options(**asked)


def _read_one(given: Json, name: str, read: Callable[[Json], Any]) -> dict[str, Any]:
    return {name: read(given)}


def _read_stops(given: Json) -> dict[str, Any]:
    return {"stop": read_strings(given, "stop_sequences", MAX_STOPS)}


def _read_top_k(given: Json) -> dict[str, Any]:
    read_integer(given, "top_k", 0, MAX_TOKENS)
    return {}


def _read_thinking(given: Json) -> dict[str, Any]:
    kind = _kind_of(check_object(given, "thinking"), "thinking")
    if kind == "disabled":
        return {"thinking_budget_tokens": 0}
    if kind != "enabled":
        return {}
    budget = given.get("budget_tokens")
    if budget is None:
        raise BadRequest("thinking.budget_tokens: is required.")
    return {"thinking_budget_tokens": read_integer(budget, "thinking.budget_tokens", MIN_BUDGET_TOKENS, MAX_TOKENS)}


def _read_output_config(given: Json) -> dict[str, Any]:
    config = check_object(given, "output_config")
    asked: dict[str, Any] = {}
    if config.get("effort") is not None:
        effort = _word_of(config["effort"], "output_config.effort")
        # OpenAI's highest word.
        asked["reasoning_effort"] = "xhigh" if effort == "max" else effort
    if config.get("format") is not None:
        wanted = check_object(config["format"], "output_config.format")
        if _kind_of(wanted, "output_config.format") == "json_schema":
            schema = check_object(wanted.get("schema"), "output_config.format.schema")
            shape = {"name": "answer", "schema": schema, "strict": True}
            asked["response_format"] = ResponseFormat.of({"type": "json_schema", "json_schema": shape})
    return asked


def _check_object(given: Json, name: str) -> dict[str, Any]:
    check_object(given, name)
    return {}


def _check_string(given: Json, name: str) -> dict[str, Any]:
    if not isinstance(given, str):
        raise BadRequest(f"{name}: must be a string.")
    return {}


def _check_container(given: Json) -> dict[str, Any]:
    if not isinstance(given, str | dict):
        raise BadRequest("container: must be a string or an object.")
    return {}


def _check_servers(given: Json) -> dict[str, Any]:
    if not isinstance(given, list):
        raise BadRequest("mcp_servers: must be a list.")
    for index, server in enumerate(given):
        check_object(server, f"mcp_servers[{index}]")
    return {}


def _read_choice_options(given: Json) -> dict[str, Any]:
    flag = check_object(given, "tool_choice").get("disable_parallel_tool_use")
    if flag is None:
        return {}
    return {"parallel_tool_calls": not read_flag(flag, "tool_choice.disable_parallel_tool_use")}


def _read_metadata(given: Json) -> dict[str, Any]:
    user = check_object(given, "metadata").get("user_id")
    if user is None:
        return {}
    if not isinstance(user, str):
        raise BadRequest("metadata.user_id: must be a string.")
    if not user:
        return {}
    return {"user": user if len(user) <= USER_CHARS else hashlib.sha256(user.encode()).hexdigest()}


def _kind_of(fields: JsonObject, path: str) -> str:
    return _word_of(fields.get("type"), f"{path}.type")


def _word_of(given: Json, path: str) -> str:
    if not isinstance(given, str):
        raise BadRequest(f"{path}: must be a string.")
    if re.fullmatch(r"[a-z0-9_]{1,64}", given) is None:
        raise BadRequest(f"{path}: must be a word.")
    return given


_OPTION_READERS: Final[dict[str, Callable[[Json], dict[str, Any]]]] = {
    "max_tokens": partial(
        _read_one, name="max_output_tokens", read=partial(read_integer, path="max_tokens", least=0, most=MAX_TOKENS)
    ),
    "temperature": partial(
        _read_one, name="temperature", read=partial(read_number, path="temperature", least=0, most=1)
    ),
    "top_p": partial(_read_one, name="top_p", read=partial(read_number, path="top_p", least=0, most=1)),
    "top_k": _read_top_k,
    "stop_sequences": _read_stops,
    "thinking": _read_thinking,
    "output_config": _read_output_config,
    "tool_choice": _read_choice_options,
    "metadata": _read_metadata,
    "service_tier": partial(_check_string, name="service_tier"),
    "inference_geo": partial(_check_string, name="inference_geo"),
    "container": _check_container,
    "mcp_servers": _check_servers,
    "context_management": partial(_check_object, name="context_management"),
    "cache_control": partial(_check_object, name="cache_control"),
}
_KEYS = literal_keys([*_RESTATED, *_OPTION_READERS, *NEEDS])


def are_all_needs(reasons: Sequence[tuple[str, str]]) -> bool:
    """Whether all that candidates cannot take are fields of the body."""
    return all(what in (*NEEDS, _ONLY_CACHES) for what, _ in reasons)
