"""The OpenAI wire, `POST /chat/completions`: OpenAI, Mistral, Groq, Together, Ollama, and every server that speaks it.

Rules of a whole answer:
1. It is a JSON object whose first choice has a message. Fields of the wrong type make it nonsense, null means absent.
2. It says something: text or tool calls. An empty text counts only where the finish reason explains it (`length`: a
   reasoning model spent its whole limit thinking; `content_filter`). An empty text with `stop` is a provider's
   hiccup far more often than an answer, and as a stream it could never win: the next candidate is asked.
3. A refusal is an answer: its text is the content, and `content_filter` the reason it stopped, because nothing else
   tells the client that this is not what was asked for.
4. Tool calls with `stop` finish with `tool_calls`: OpenAI says `stop` where `tool_choice` forced the function, and a
   client may go by the finish reason alone. `tool_calls` without any is `error`: the calls were lost on the way.
5. No finish reason at all is `stop` (or `tool_calls`): the answer is whole, and Ollama leaves it null at times. One
   that we do not know is `error`.

Sources, read 2026-11: OpenAI's openapi.yaml (openai/openai-openapi); mistralai/client-ts, docs/models/components;
console.groq.com/docs/api-reference; docs.ollama.com/api/openai-compatibility; rule 4:
community.openai.com/t/function-call-with-finish-reason-of-stop/437226; tests/recordings/<provider>/ name their own.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import NoReturn

import orjson
from attrs import frozen

from pg_trio import __version__
from pg_trio.domain.chat import FinishReason, Json, Message, Prompt, Reply, ToolCall, Usage
from pg_trio.domain.project import Candidate
from pg_trio.domain.provider import PROVIDERS, Provider
from pg_trio.domain.upstream import Headers, WireRequest
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.refusal import mask_for, read_error_message, read_refusal

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

# Endpoints of a configuration, times their candidates, are far fewer. Each entry is about 1 KiB.
ROUTES_KEPT = 4096

_REPLY_ID = re.compile(r"chatcmpl-[A-Za-z0-9_-]{1,64}")
_UNSAFE_IN_ID = re.compile(r"[^A-Za-z0-9_-]+")
_ID_CHARS = 64
_MISTRAL_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")


class OpenAIAdapter:
    """Speaks the OpenAI wire to any provider of it."""

    def build_request(self, prompt: Prompt, candidate: Candidate) -> WireRequest:
        """The HTTP request that asks this candidate; what the prompt leaves open is not in its body."""
        route = _route_to(candidate)
        return WireRequest(
            route.url,
            route.headers,
            orjson.dumps(_request_body(prompt, candidate.model, route.provider)),
            allow_private_addresses=candidate.credential.allow_private_addresses,
        )

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A whole answer. Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense (see the rules above)."""
        if not 200 <= status < 300:
            raise read_refusal(status, headers, body, candidate, now_s=now_s)
        answer = _read_object(headers, body, candidate)
        choice = _first_choice(answer)
        message = choice.get("message")
        if type(message) is not dict:
            _refuse("choices[0].message", message, "an object")
        tool_calls = _read_tool_calls(message["tool_calls"]) if message.get("tool_calls") is not None else ()
        content, refused = _read_content(message)
        finish_reason = read_finish_reason(choice.get("finish_reason"), bool(tool_calls), refused)
        if not content and not tool_calls and finish_reason not in ("length", "content_filter"):
            raise UpstreamNonsense("choices[0].message has neither content nor tool calls")
        return Reply(
            id=_reply_id(answer.get("id")),
            model=_read_model(answer.get("model"), candidate),
            content=None if tool_calls and not content else content,
            finish_reason=finish_reason,
            usage=read_usage(answer.get("usage")),
            tool_calls=tool_calls,
        )


# ── the request ──────────────────────────────────────────────────────────────────────────────────────────────────────


@frozen(slots=True)
class _Route:
    """What is the same in every request to a candidate."""

    url: str
    headers: Headers
    provider: Provider


@lru_cache(maxsize=ROUTES_KEPT)
def _route_to(candidate: Candidate) -> _Route:
    credential = candidate.credential
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        # Answers are small and we are near: decompressing costs more than it saves, and a bomb is none.
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pg-trio/{__version__}"),
    ]
    if credential.api_key is not None:
        headers.append(("Authorization", f"Bearer {credential.api_key.reveal()}"))
    return _Route(f"{credential.base_url}/chat/completions", tuple(headers), PROVIDERS[credential.provider])


def _request_body(prompt: Prompt, model: str, provider: Provider) -> dict[str, Json]:
    body: dict[str, Json] = {
        "model": model,
        "messages": [_message_on_wire(message, provider) for message in prompt.messages],
    }
    if prompt.temperature is not None:
        body["temperature"] = prompt.temperature
    if prompt.top_p is not None:
        body["top_p"] = prompt.top_p
    if prompt.max_output_tokens is not None:
        body[provider.output_limit_field] = prompt.max_output_tokens
    if prompt.tools:
        body["tools"] = prompt.tools
    if prompt.tool_choice is not None:
        body["tool_choice"] = prompt.tool_choice
    return body


def _message_on_wire(message: Message, provider: Provider) -> dict[str, Json]:
    wire: dict[str, Json] = {"role": message.role}
    if message.content is not None:
        wire["content"] = message.content
    if message.name is not None and (provider.names_every_role or message.role == "tool"):
        wire["name"] = message.name
    if message.tool_calls:
        wire["tool_calls"] = [_call_on_wire(call, provider) for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = _call_id_on_wire(message.tool_call_id, provider)
    return wire


def _call_on_wire(call: ToolCall, provider: Provider) -> dict[str, Json]:
    return {
        "id": _call_id_on_wire(call.id, provider),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _call_id_on_wire(call_id: str, provider: Provider) -> str:
    """The id as the provider takes it: the same for a call and its result, whoever made it up.

    Mistral answers 400 to any but nine letters and digits ("Tool call id was … but must be a-z, A-Z, 0-9, with a
    length of 9": mistral-common, 2026-11). Ids in a conversation are another provider's after a failover.
    """
    if not provider.nine_character_call_ids or _MISTRAL_CALL_ID.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


# ── a whole answer ───────────────────────────────────────────────────────────────────────────────────────────────────


def _read_object(headers: Mapping[str, str], body: bytes, candidate: Candidate) -> dict[str, Json]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UpstreamNonsense(mask_for(candidate, f"the answer is not JSON: {_why_not(exc, headers, body)}")) from None
    if type(answer) is not dict:
        _refuse("the answer", answer, "an object")
    if answer.get("error") is not None:
        said = read_error_message(answer["error"]) or "no message"
        raise UpstreamNonsense(mask_for(candidate, f"an error in an answer with status 200: {said}"))
    return answer


def _why_not(error: orjson.JSONDecodeError, headers: Mapping[str, str], body: bytes) -> str:
    # Not the parser's own text where it would quote; position and size tell a cut body from a foreign one.
    if not body:
        why = "its body is empty"
    elif "UTF-8: " in error.msg:
        why = f"invalid UTF-8 in {len(body)} bytes"
    else:
        why = f"error at character {error.pos} of {len(body)} bytes"
    content_type = headers.get("content-type")
    if content_type is None:
        return f"{why}, no content type"
    return why if "json" in content_type.lower() else f"{why}, content type {content_type}"


def _first_choice(answer: dict[str, Json]) -> dict[str, Json]:
    choices = answer.get("choices")
    if type(choices) is not list:
        _refuse("choices", choices, "a list")
    if not choices:
        raise UpstreamNonsense("choices is empty")
    choice = choices[0]
    if type(choice) is not dict:
        _refuse("choices[0]", choice, "an object")
    return choice


def _read_content(message: dict[str, Json]) -> tuple[str, bool]:
    """The text of a message, "" where it has none; and whether it is a refusal.

    Shape: content is a string, null, or a list of parts (Mistral: reasoning models answer with `thinking` and `text`
           parts, others add `reference` ones); only the text parts are the answer.
    """
    content = message.get("content")
    if content is None:
        content = ""
    elif type(content) is list:
        content = "".join([_read_part(part, index) for index, part in enumerate(content)])
    elif type(content) is not str:
        _refuse("choices[0].message.content", content, "a string")
    if content:
        return content, False
    refusal = message.get("refusal")
    if refusal is None:
        return "", False
    if type(refusal) is not str:
        _refuse("choices[0].message.refusal", refusal, "a string")
    return refusal, bool(refusal)


def _read_part(part: Json, index: int) -> str:
    where = f"choices[0].message.content[{index}]"
    if type(part) is not dict:
        _refuse(where, part, "an object")
    if part.get("type", "text") != "text":
        return ""
    text = part.get("text")
    if type(text) is not str:
        _refuse(f"{where}.text", text, "a string")
    return text


def _read_tool_calls(calls: Json) -> tuple[ToolCall, ...]:
    if type(calls) is not list:
        _refuse("choices[0].message.tool_calls", calls, "a list")
    return tuple([_read_tool_call(call, f"choices[0].message.tool_calls[{index}]") for index, call in enumerate(calls)])


def _read_tool_call(call: Json, where: str) -> ToolCall:
    if type(call) is not dict:
        _refuse(where, call, "an object")
    function = call.get("function")
    if type(function) is not dict:
        _refuse(f"{where}.function", function, "an object")
    call_id, name, arguments = call.get("id"), function.get("name"), function.get("arguments")
    if call_id is not None and type(call_id) is not str:
        _refuse(f"{where}.id", call_id, "a string")
    if type(name) is not str:
        _refuse(f"{where}.function.name", name, "a string")
    if type(arguments) is dict:
        # Mistral's schema allows the object itself in place of its text.
        arguments = _dump_arguments(arguments, f"{where}.function.arguments")
    elif type(arguments) is not str:
        _refuse(f"{where}.function.arguments", arguments, "a string")
    # Without an id the client could not send the result back.
    return ToolCall(call_id or f"call_{secrets.token_hex(12)}", name, arguments)


def _dump_arguments(arguments: dict[str, Json], where: str) -> str:
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError:
        # orjson reads 1,024 levels and writes 254.
        raise UpstreamNonsense(f"{where} is nested too deeply") from None


def _reply_id(reply_id: Json) -> str:
    """An id of our shape, `chatcmpl-` and at most 64 safe characters: the provider's own as far as it has them."""
    if reply_id is None:
        return f"chatcmpl-{secrets.token_hex(12)}"
    if type(reply_id) is not str:
        _refuse("id", reply_id, "a string")
    if _REPLY_ID.fullmatch(reply_id):
        return reply_id
    # Cut first: what is left of megabytes is not worth cleaning all of it.
    safe = _UNSAFE_IN_ID.sub("", reply_id.removeprefix("chatcmpl-")[: 4 * _ID_CHARS])[:_ID_CHARS]
    return f"chatcmpl-{safe or secrets.token_hex(12)}"


def _read_model(model: Json, candidate: Candidate) -> str:
    """What the provider says answered; the model asked for where that is missing or could not stand in a header."""
    if model is None:
        return candidate.model
    if type(model) is not str:
        _refuse("model", model, "a string")
    usable = 0 < len(model) <= MODEL_NAME_CHARS and model.isascii() and model.isprintable()
    return model if usable else candidate.model


# ── what a whole answer and a streamed one have in common ────────────────────────────────────────────────────────────


def read_finish_reason(reason: Json, calls_tools: bool, refused: bool) -> FinishReason:
    """The contract's word for a provider's finish reason (rules 3 to 5 above)."""
    if reason is None:
        known: FinishReason = "stop"
    elif type(reason) is str:
        known = FINISH_REASONS.get(reason, "error")
    else:
        _refuse("choices[0].finish_reason", reason, "a string")
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
        _refuse("usage", usage, "an object")
    prompt_tokens = _read_count(usage, "prompt_tokens")
    completion_tokens = _read_count(usage, "completion_tokens")
    _read_count(usage, "total_tokens")
    if prompt_tokens is None or completion_tokens is None:
        return None
    return Usage(prompt_tokens, completion_tokens)


def _read_count(usage: dict[str, Json], name: str) -> int | None:
    count = usage.get(name)
    if count is None:
        return None
    # `type(…) is`, here and above: a bool is an int to isinstance.
    if type(count) is not int:
        _refuse(f"usage.{name}", count, "an integer")
    if not 0 <= count <= MAX_TOKEN_COUNT:
        raise UpstreamNonsense(f"usage.{name} is out of range")
    return count


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def _refuse(where: str, value: Json, expected: str) -> NoReturn:
    if value is None:
        raise UpstreamNonsense(f"{where} is missing")
    raise UpstreamNonsense(f"{where} is {_KINDS[type(value)]}, not {expected}")
