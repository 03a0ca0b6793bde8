"""Turn the body of a Chat Completions request into a `ChatRequest`, or into a 400 that names the wrong field.

Rules, beside those of gateway/chat_request.py (nulls, JSON, messages, parts):
1. Every field of OpenAI's that the gateway knows is checked for its type and range here, so that a mistake is a 400 of
   ours, whichever provider would answer. A field that it does not know is kept (`ChatRequest.unknown`): whether it goes
   on to a provider is the endpoint's setting.
2. `max_completion_tokens` is the newer name of `max_tokens`; of both, the smaller holds.
3. A result of a tool must answer a call of an earlier message, unless a session may hold the call.
4. OpenAI's older `functions` and `function_call` are refused, because their answers have another shape.

Source: OpenAI's openapi.yaml, CreateChatCompletionRequest, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pg_trio.domain.call import ReadLimits, RequestHead
from pg_trio.domain.chat import NO_NEW_SESSION, ChatRequest, Json, JsonObject, Message
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.chat_messages import PLAIN_DEPTH, read_any_messages, read_plain_messages
from pg_trio.surfaces.reading.field_checks import (
    MAX_TOKENS,
    check_object,
    check_text,
    read_answer_count,
    read_flag,
    read_integer,
    read_number,
    read_strings,
)
from pg_trio.surfaces.reading.json_body import (
    ESCAPED,
    check_depth,
    check_levels,
    check_once,
    literal_keys,
    parse_object,
)
from pg_trio.surfaces.reading.tool_fields import read_effort
from pg_trio.surfaces.v1.chat.typed_fields import (
    read_audio,
    read_prediction,
    read_typed_choice,
    read_typed_format,
    read_typed_tools,
)
from pg_trio.surfaces.v1.routes import read_model, read_session

# OpenAI takes 4. Other wires take more, and an adapter cuts what its wire does not take.
MAX_STOPS = 16
# OpenAI takes 16 pairs of metadata; tokens of a vocabulary for logit_bias are more, and no client biases more.
MAX_PAIRS = 1_024
_SEED = 2**63 - 1


def read_chat_completion(body: bytes, limits: ReadLimits, head: RequestHead) -> ChatRequest:
    """The request in the body, for the model that it names. Raises: BadRequest naming the field, SessionIdInvalid."""
    max_depth = limits.max_json_depth
    fields, last = parse_object(body), body.rfind
    model, messages = fields.get("model"), None
    if max_depth >= PLAIN_DEPTH:
        messages = read_plain_messages(fields.get("messages"), limits.max_messages)
    is_plain = type(model) is str and model and not head.fields
    if (
        messages is not None
        and is_plain
        and len(fields) == 2
        and last(_MESSAGES, 0, last(_MESSAGES)) < 0
        and last(_MODEL, 0, last(_MODEL)) < 0
        and last(ESCAPED) < 0
    ):
        # Nearly always: nothing else, and each key is there once (as `check_once` sees it).
        return ChatRequest(messages, fields, None, False, None, (), None, NO_OPTIONS, model, NO_NEW_SESSION)
    check_once(fields, body, max_depth, _KEYS)
    stream = fields.get("stream")
    if (
        messages is not None
        and is_plain
        and fields.keys() <= _PLAIN_FIELDS
        and (stream is None or type(stream) is bool)
    ):
        return ChatRequest(messages, fields, None, stream is True, None, (), None, NO_OPTIONS, model, NO_NEW_SESSION)
    if messages is None:
        check_depth(fields, body, max_depth)
    else:
        check_levels({**fields, "messages": None}, max_depth)
    return _read_fields(fields, messages, limits, head)


def _read_fields(
    fields: JsonObject, plain: tuple[Message, ...] | None, limits: ReadLimits, head: RequestHead
) -> ChatRequest:
    """The request with any fields. `plain` are the messages, if they are plain."""
    given = {name: value for name, value in fields.items() if value is not None}
    if given.get("user") == "":
        # An empty one is absent.
        del given["user"]
    model = read_model(given.get("model"))
    if "messages" not in given:
        raise BadRequest("messages: is required.")
    messages = read_any_messages(given["messages"], limits.max_messages) if plain is None else plain
    stream = "stream" in given and read_flag(given["stream"], "stream")
    session: dict[str, Any] = read_session(head)
    if plain is None and "session_id" not in session:
        _check_results(messages)
    if "stream_options" in given:
        _check_stream_options(given["stream_options"], stream)
    for name in _REFUSED & given.keys():
        raise BadRequest(f"{name}: is not supported; use tools and tool_choice.")
    return ChatRequest(
        messages,
        fields,
        None,
        stream,
        model=model,
        options=_read_options(given),
        unknown=None
        if given.keys() <= _KNOWN
        else {name: value for name, value in given.items() if name not in _KNOWN},
        **{name: read(given[name]) for name, read in _TOOL_READERS.items() if name in given},
        **session,
    )


def _read_options(given: JsonObject) -> Options:
    """The options among the fields that are not null. They are read in the order in which the client wrote them."""
    asked: dict[str, Any] = {
        name: _OPTION_READERS[name](value) for name, value in given.items() if name in _OPTION_READERS
    }
    asked.pop("n", None)
    if not asked:
        return NO_OPTIONS
    if not _LIMITS.isdisjoint(asked):
        asked["max_output_tokens"] = min([asked.pop(name) for name in _LIMITS if name in asked])
    if not _OPENAI_ONLY.isdisjoint(asked):
        more = {name: value for name, value in asked.items() if name in _OPENAI_ONLY}
        asked = {name: value for name, value in asked.items() if name not in _OPENAI_ONLY}
        if more.get("modalities") == ["text"]:
            # What every provider does.
            del more["modalities"]
        if more:
            asked["more"] = more
    return Options(**asked) if asked else NO_OPTIONS


def _check_results(messages: tuple[Message, ...]) -> None:
    """Each tool message answers a call of an earlier message (rule 3)."""
    called: set[str] = set()
    for index, message in enumerate(messages):
        if message.tool_calls:
            called.update(call.id for call in message.tool_calls)
        elif message.role == "tool" and message.tool_call_id not in called:
            raise BadRequest(f"messages[{index}].tool_call_id: answers no tool call of an earlier message.")


def _check_stream_options(given: Json, stream: bool) -> None:
    options = check_object(given, "stream_options")
    if not stream:
        raise BadRequest("stream_options: only together with stream.")
    for name in ("include_usage", "include_obfuscation"):
        if options.get(name) is not None:
            read_flag(options[name], f"stream_options.{name}")


# ── one reader a field ───────────────────────────────────────────────────────────────────────────────────────────────


def _read_stop(given: Json) -> tuple[str, ...]:
    stops = (given,) if isinstance(given, str) else read_strings(given, "stop", MAX_STOPS)
    for index, stop in enumerate(stops):
        check_text(stop, "stop" if isinstance(given, str) else f"stop[{index}]")
    return tuple(stops)


def _read_word(given: Json, path: str) -> str:
    check_text(given, path)
    assert isinstance(given, str)
    return given


def _read_pairs(given: Json, path: str) -> JsonObject:
    pairs = check_object(given, path)
    if len(pairs) > MAX_PAIRS:
        raise BadRequest(f"{path}: has {len(pairs)} entries, the limit is {MAX_PAIRS}.")
    return pairs


def _read_bias(given: Json) -> JsonObject:
    pairs = _read_pairs(given, "logit_bias")
    for token, bias in pairs.items():
        if not isinstance(bias, int | float) or isinstance(bias, bool) or not -100 <= bias <= 100:
            raise BadRequest("logit_bias: each value must be a number from -100 to 100.")
        if not token.isdecimal():
            raise BadRequest("logit_bias: each key must be the number of a token.")
    return pairs


def _read_list(given: Json, path: str) -> list[str]:
    return list(read_strings(given, path, MAX_STOPS))


_OPTION_READERS: Final[dict[str, Callable[[Json], Any]]] = {
    "n": read_answer_count,
    "temperature": partial(read_number, path="temperature", least=0, most=2),
    "top_p": partial(read_number, path="top_p", least=0, most=1),
    "max_tokens": partial(read_integer, path="max_tokens", least=1, most=MAX_TOKENS),
    "max_completion_tokens": partial(read_integer, path="max_completion_tokens", least=1, most=MAX_TOKENS),
    "stop": _read_stop,
    "seed": partial(read_integer, path="seed", least=-_SEED - 1, most=_SEED),
    "presence_penalty": partial(read_number, path="presence_penalty", least=-2, most=2),
    "frequency_penalty": partial(read_number, path="frequency_penalty", least=-2, most=2),
    "parallel_tool_calls": partial(read_flag, path="parallel_tool_calls"),
    "response_format": read_typed_format,
    "reasoning_effort": read_effort,
    "user": partial(_read_word, path="user"),
    "logit_bias": _read_bias,
    "logprobs": partial(read_flag, path="logprobs"),
    "top_logprobs": partial(read_integer, path="top_logprobs", least=0, most=20),
    "metadata": partial(_read_pairs, path="metadata"),
    "service_tier": partial(_read_word, path="service_tier"),
    "store": partial(read_flag, path="store"),
    "prediction": read_prediction,
    "modalities": partial(_read_list, path="modalities"),
    "audio": read_audio,
}
_TOOL_READERS: Final[dict[str, Callable[[Json], Any]]] = {"tools": read_typed_tools, "tool_choice": read_typed_choice}
# Options that only OpenAI's own wire has.
_OPENAI_ONLY = frozenset(
    {
        *("logit_bias", "logprobs", "top_logprobs", "metadata", "service_tier", "store", "prediction", "modalities"),
        "audio",
    }
)
_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
_REFUSED = frozenset({"functions", "function_call"})
_PLAIN_FIELDS = frozenset({"model", "messages", "stream"})
_KNOWN = _PLAIN_FIELDS | {"stream_options"} | _OPTION_READERS.keys() | _TOOL_READERS.keys()
_KEYS = literal_keys([*_KNOWN, *_REFUSED])
_MODEL, _MESSAGES = _KEYS["model"], _KEYS["messages"]
