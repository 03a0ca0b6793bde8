"""Turn the bytes of a body into a `ChatRequest`, or into a 400 that names the wrong part.

Rules:
1. The reader never guesses the meaning of a field: no coercion, no "last one wins" between duplicate keys.
2. A null field counts as absent, because Go, Java and C# clients write unset fields so. This holds in the body, its
   messages, their parts and tool calls, and in the objects of `tools`, `tool_choice` and `response_format`. A JSON
   Schema in those stays unchanged, because a null may be a value there. `ChatRequest.body` keeps every null, because
   `input_schema` checks the body as it was sent.
3. JSON is what orjson accepts: UTF-8 without a byte order mark, no NaN, no number beyond a double, no lone surrogate.
4. Error texts name the field by its path and never quote the client's text.
5. Unknown fields of the body stay in `ChatRequest.body`. Unknown fields of a message, a part or a tool call are
   dropped, and parts of unknown types are refused: the gateway forwards only content that the guardrails understand.
6. Adjacent text parts are joined without a separator. A model reads them as one text, so the guardrails must as well.
7. Ids and names of tool calls are accepted unchanged, because a provider made them and the client cannot choose them.
   The guardrails read them if they could be prose (`domain.chat.Message.texts`). The client chooses a participant's
   name, so this name must be short and ASCII.
8. Role `developer` is `system`: OpenAI's newer name for it, which most other providers refuse.

Sources: OpenAI's openapi.yaml, ChatCompletionRequestMessageContentPart…, read 2026-11; the limits of names and ids: see
`NAME` and those below it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast
from uuid import UUID

import orjson

from pg_trio.domain.call import ReadLimits, RequestHead
from pg_trio.domain.chat import ROLES, ChatRequest, Json, JsonObject, Message, Role
from pg_trio.domain.json_size import MAX_NODES, has_too_many_nodes
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.errors import BadRequest, SessionIdInvalid
from pg_trio.surfaces.gateway.read_request.field_checks import NAME, check_string, check_text, read_flag
from pg_trio.surfaces.gateway.read_request.message_content import read_content
from pg_trio.surfaces.gateway.read_request.signed_fields import read_reasoning
from pg_trio.surfaces.gateway.read_request.tool_fields import (
    read_effort,
    read_response_format,
    read_tool_calls,
    read_tool_choice,
    read_tools,
)

KNOWN_FIELDS = (
    "message",
    "messages",
    "endpoint",
    "stream",
    "session_id",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
)

# Each field's key as nearly every client writes it. `_ESCAPED_LETTERS` catches a key with escapes.
_LITERAL_KEYS = {field: f'"{field}"'.encode() for field in KNOWN_FIELDS}
# \u0041-\u007a: the only escapes that can spell the letters of a key. Clients escape ", \, controls and non-ASCII.
_ESCAPED_LETTERS = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")


def read_chat_request(body: bytes, limits: ReadLimits, head: RequestHead) -> ChatRequest:
    """The request in the body. If the head has no slug (the dispatcher route), the body names the endpoint.

    Raises: BadRequest naming the field; SessionIdInvalid if `session_id` is not a UUID in its usual form.
    """
    fields = _read_object(body)
    _check_depth(fields, body, limits.max_json_depth)
    _check_duplicates(fields, body)
    endpoint = fields.get("endpoint")
    if endpoint is not None and not isinstance(endpoint, str):
        raise BadRequest("endpoint: must be a string.")
    if endpoint is None and head.slug is None:
        raise BadRequest("endpoint: is required on this route.")
    messages = _read_messages(fields, limits.max_messages)
    stream = fields.get("stream") is not None and read_flag(fields["stream"], "stream")
    if fields.keys() <= _PLAIN_FIELDS:
        return ChatRequest(messages, fields, endpoint, stream)
    asked = _read_fields(fields, _OPTION_READERS)
    options = Options(**asked) if asked else NO_OPTIONS
    return ChatRequest(messages, fields, endpoint, stream, options=options, **_read_fields(fields, _FIELD_READERS))


def _read_fields(fields: JsonObject, readers: Mapping[str, Callable[[Json], Any]]) -> dict[str, Any]:
    return {field: read(fields[field]) for field, read in readers.items() if fields.get(field) is not None}


def _read_object(body: bytes) -> dict[str, Json]:
    if has_too_many_nodes(body):
        raise BadRequest(f"Body has more than {MAX_NODES} objects, lists and keys.")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson's texts are fixed and quote nothing. Only its "str is not valid UTF-8" would confuse a client.
        said = "invalid UTF-8" if "UTF-8: " in error.msg else str(error)
        raise BadRequest(f"Body is not valid JSON: {said}.") from None
    if not isinstance(fields, dict):
        raise BadRequest("Body must be a JSON object.")
    return fields


def _check_depth(fields: Json, body: bytes, max_depth: int) -> None:
    # With no more brackets than levels, the body cannot be too deep. Two counts settle this for nearly every chat.
    if body.count(b"{") + body.count(b"[") <= max_depth:
        return
    level = [fields]
    for _ in range(max_depth):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise BadRequest(f"Body is nested deeper than {max_depth} levels.")


def _check_duplicates(fields: dict[str, Json], body: bytes) -> None:
    for field in fields:
        literal = _LITERAL_KEYS.get(field)
        if literal is not None and body.count(literal) > 1:
            break
    else:
        if b"\\u00" not in body or not any(escape in body for escape in _ESCAPED_LETTERS):
            return
    # One of the fields may be there twice. A second, slow parser shows every key.
    seen: set[str] = set()
    for key in _top_level_keys(body):
        if key in seen and key in _LITERAL_KEYS:
            raise BadRequest(f"{key}: is there more than once.")
        seen.add(key)


def _top_level_keys(body: bytes) -> list[str]:
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        # Called once for each object, the outermost last.
        nonlocal outermost
        outermost = pairs

    # Numbers stay text: Python refuses integers of more than 4,300 digits, and orjson has accepted them already.
    json.loads(body.decode(), object_pairs_hook=keep, parse_int=str, parse_float=str)
    return [key for key, _ in outermost]


def _read_messages(fields: dict[str, Json], max_messages: int) -> tuple[Message, ...]:
    messages, message = fields.get("messages"), fields.get("message")
    if messages is None:
        if message is None:
            raise BadRequest("Body must have message or messages.")
        if not isinstance(message, str):
            raise BadRequest("message: must be a string.")
        return (Message("user", message),)
    if message is not None:
        raise BadRequest("Body must have message or messages, not both.")
    if not isinstance(messages, list):
        raise BadRequest("messages: must be a list.")
    if not messages:
        raise BadRequest("messages: must not be empty.")
    if len(messages) > max_messages:
        raise BadRequest(f"messages: has {len(messages)} messages, the limit is {max_messages}.")
    return tuple([_read_message(message, index) for index, message in enumerate(messages)])


def _read_message(message: Json, index: int) -> Message:
    if not isinstance(message, dict):
        raise BadRequest(f"messages[{index}]: must be an object.")
    role, content = message.get("role"), message.get("content")
    if type(role) is not str or role not in ROLES:
        if role != "developer":
            raise BadRequest(f"messages[{index}].role: must be one of system, user, assistant, tool.")
        role = "system"
    if len(message) == 2 and type(content) is str and role != "tool":
        return Message(cast(Role, role), content)
    return _read_full_message(message, cast(Role, role), f"messages[{index}]")


def _read_full_message(message: JsonObject, role: Role, path: str) -> Message:
    name, tool_call_id = message.get("name"), message.get("tool_call_id")
    if name is not None:
        if role == "tool":
            # The name of the function, as the model wrote it.
            check_text(name, f"{path}.name")
        else:
            check_string(name, NAME, f"{path}.name")
    if tool_call_id is not None:
        check_text(tool_call_id, f"{path}.tool_call_id")
    if role == "tool" and tool_call_id is None:
        raise BadRequest(f"{path}.tool_call_id: is required in a tool message.")
    tool_calls = read_tool_calls(message.get("tool_calls"), role, f"{path}.tool_calls")
    content = message.get("content")
    if content is None and not tool_calls:
        raise BadRequest(f"{path}.content: must be a string or a list of parts.")
    reasoning = read_reasoning(message.get("reasoning_details")) if role == "assistant" else ()
    return Message(role, read_content(content, role, f"{path}.content"), name, tool_calls, tool_call_id, reasoning)


# ── session, fields ───────────────────────────────────────────────────────────────────────────────────────────────────


def _read_session_id(value: Json) -> UUID:
    if not isinstance(value, str):
        raise SessionIdInvalid
    try:
        session_id = UUID(value)
    except ValueError:
        raise SessionIdInvalid from None
    # UUID() also takes braces, "urn:uuid:", missing dashes and digits of other scripts.
    if str(session_id) != value.lower():
        raise SessionIdInvalid
    return session_id


# The fields of a plain request. Every other field has its own reader, and its name in ChatRequest or Options.
_PLAIN_FIELDS = frozenset({"message", "messages", "endpoint", "stream"})
_FIELD_READERS: dict[str, Callable[[Json], Any]] = {
    "session_id": _read_session_id,
    "tools": read_tools,
    "tool_choice": read_tool_choice,
}
_OPTION_READERS: dict[str, Callable[[Json], Any]] = {
    "parallel_tool_calls": partial(read_flag, path="parallel_tool_calls"),
    "response_format": read_response_format,
    "reasoning_effort": read_effort,
}
