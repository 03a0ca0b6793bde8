"""The stage `read_request`: the bytes of a body become a `ChatRequest`, or a 400 that says which part is wrong.

Rules:
1. Never a guess at what was meant: no coercion, no "last one wins" between duplicate keys, no null for a value.
   Only a message's own optional fields (`name`, `tool_calls`, `tool_call_id`) may be null, which is how SDKs write
   "absent" when they send an assistant's message back.
2. JSON is what orjson takes: UTF-8 without a byte order mark, no NaN, no number past a double, no lone surrogate.
3. Texts name the field by its path and never repeat what the client sent.
4. Unknown fields of the body stay in `ChatRequest.body`; unknown fields of a message are dropped.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast
from uuid import UUID

import orjson

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.chat import ROLES, ChatRequest, Json, JsonObject, Message, Role, ToolCall
from pg_trio.errors import BadRequest, SessionIdInvalid

KNOWN_FIELDS = ("message", "messages", "endpoint", "stream", "session_id", "tools", "tool_choice")

# Each field's key as nearly every client writes it; a key with escapes in it is caught by `_ESCAPED_LETTERS`.
_LITERAL_KEYS = {field: f'"{field}"'.encode() for field in KNOWN_FIELDS}
# \u0041-\u007a: the only escapes that can spell the letters of a key. Clients escape ", \, controls and non-ASCII.
_ESCAPED_LETTERS = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")

_JSON_TYPE = "application/json"
_PARAMETER = re.compile(r'\s*([a-z0-9!#$&^_.+-]+)=("[^"\\]*"|[a-z0-9!#$&^_.+-]+)\s*', re.ASCII)


def check_content_type(value: str | None) -> None:
    """Nothing, for `application/json`, with `charset=utf-8` or without. Raises: BadRequest for anything else."""
    if value == _JSON_TYPE:
        return
    if value is None:
        raise BadRequest("Content-Type is missing; it must be application/json.")
    media_type, *parameters = value.lower().split(";")
    if media_type.strip(" \t") != _JSON_TYPE:
        raise BadRequest("Content-Type must be application/json.")
    for parameter in parameters:
        # An empty parameter (a trailing semicolon) is common and means nothing (RFC 9110, section 5.6.6).
        if parameter.strip(" \t"):
            _check_parameter(parameter)


def _check_parameter(parameter: str) -> None:
    found = _PARAMETER.fullmatch(parameter)
    if found is None:
        raise BadRequest("Content-Type has a malformed parameter.")
    if found[1] == "charset" and found[2].strip('"') not in ("utf-8", "utf8"):
        raise BadRequest("Content-Type's charset must be utf-8.")


def read_chat_request(body: bytes, *, limits: GatewaySettings, endpoint_required: bool) -> ChatRequest:
    """The request that the body states. `endpoint_required`: on the dispatcher route, whose body names the endpoint.

    Raises: BadRequest naming the field; SessionIdInvalid for a `session_id` that is no UUID in its usual form.
    """
    fields = _read_object(body)
    _check_depth(fields, body, limits.max_json_depth)
    _check_duplicates(fields, body)
    endpoint = fields.get("endpoint")
    if "endpoint" in fields and not isinstance(endpoint, str):
        raise BadRequest("endpoint: must be a string.")
    if endpoint_required and endpoint is None:
        raise BadRequest("endpoint: is required on this route.")
    stream = fields.get("stream", False)
    if not isinstance(stream, bool):
        raise BadRequest("stream: must be true or false.")
    return ChatRequest(
        messages=_read_messages(fields, limits.max_messages),
        body=fields,
        endpoint=endpoint,
        stream=stream,
        session_id=_read_session_id(fields["session_id"]) if "session_id" in fields else None,
        tools=_read_tools(fields["tools"]) if "tools" in fields else (),
        tool_choice=_read_tool_choice(fields["tool_choice"]) if "tool_choice" in fields else None,
    )


def _read_object(body: bytes) -> dict[str, Json]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson's texts are fixed and quote nothing; only its "str is not valid UTF-8" would puzzle a client.
        said = "invalid UTF-8" if "UTF-8: " in error.msg else str(error)
        raise BadRequest(f"Body is not valid JSON: {said}.") from None
    if not isinstance(fields, dict):
        raise BadRequest("Body must be a JSON object.")
    return fields


def _check_depth(fields: Json, body: bytes, max_depth: int) -> None:
    # No more brackets than levels: what nearly every chat is, at the price of two counts.
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
    # One of the fields may be there twice: read again, slowly, with a parser that shows every key.
    seen: set[str] = set()
    for key in _top_level_keys(body):
        if key in seen and key in _LITERAL_KEYS:
            raise BadRequest(f"{key}: is there more than once.")
        seen.add(key)


def _top_level_keys(body: bytes) -> list[str]:
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        # Called once an object, the outermost last.
        nonlocal outermost
        outermost = pairs

    # Numbers stay text: Python refuses integers of more than 4,300 digits, which orjson has already read.
    json.loads(body.decode(), object_pairs_hook=keep, parse_int=str, parse_float=str)
    return [key for key, _ in outermost]


def _read_messages(fields: dict[str, Json], max_messages: int) -> tuple[Message, ...]:
    if "messages" not in fields:
        if "message" not in fields:
            raise BadRequest("Body must have message or messages.")
        if not isinstance(fields["message"], str):
            raise BadRequest("message: must be a string.")
        return (Message("user", fields["message"]),)
    if "message" in fields:
        raise BadRequest("Body must have message or messages, not both.")
    messages = fields["messages"]
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
        raise BadRequest(f"messages[{index}].role: must be one of system, user, assistant, tool.")
    if len(message) == 2 and type(content) is str and role != "tool":
        return Message(cast(Role, role), content)
    return _read_full_message(message, cast(Role, role), f"messages[{index}]")


def _read_full_message(message: JsonObject, role: Role, path: str) -> Message:
    name, tool_call_id = message.get("name"), message.get("tool_call_id")
    if name is not None and not isinstance(name, str):
        raise BadRequest(f"{path}.name: must be a string.")
    if tool_call_id is not None and not isinstance(tool_call_id, str):
        raise BadRequest(f"{path}.tool_call_id: must be a string.")
    if role == "tool" and tool_call_id is None:
        raise BadRequest(f"{path}.tool_call_id: is required in a tool message.")
    tool_calls = _read_tool_calls(message.get("tool_calls"), role, f"{path}.tool_calls")
    content = message.get("content")
    if content is None and not tool_calls:
        raise BadRequest(f"{path}.content: must be a string or a list of parts.")
    return Message(role, _read_content(content, f"{path}.content"), name, tool_calls, tool_call_id)


def _read_content(content: Json, path: str) -> str | tuple[JsonObject, ...] | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"{path}: must be a string or a list of parts.")
    if not content:
        raise BadRequest(f"{path}: must not be an empty list.")
    for index, part in enumerate(content):
        if not isinstance(part, dict):
            raise BadRequest(f"{path}[{index}]: must be an object.")
        if not isinstance(part.get("type"), str):
            raise BadRequest(f"{path}[{index}].type: must be a string.")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise BadRequest(f"{path}[{index}].text: must be a string.")
    return tuple(content)


def _read_tool_calls(calls: Json, role: Role, path: str) -> tuple[ToolCall, ...]:
    if calls is None:
        return ()
    if not isinstance(calls, list):
        raise BadRequest(f"{path}: must be a list.")
    if calls and role != "assistant":
        raise BadRequest(f"{path}: only an assistant message calls tools.")
    return tuple([_read_tool_call(call, f"{path}[{index}]") for index, call in enumerate(calls)])


def _read_tool_call(call: Json, path: str) -> ToolCall:
    if not isinstance(call, dict):
        raise BadRequest(f"{path}: must be an object.")
    if not isinstance(call.get("id"), str):
        raise BadRequest(f"{path}.id: must be a string.")
    if call.get("type") != "function":
        raise BadRequest(f'{path}.type: must be "function".')
    function = call.get("function")
    if not isinstance(function, dict):
        raise BadRequest(f"{path}.function: must be an object.")
    for field in ("name", "arguments"):
        if not isinstance(function.get(field), str):
            raise BadRequest(f"{path}.function.{field}: must be a string.")
    return ToolCall(call["id"], function["name"], function["arguments"])


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


def _read_tools(tools: Json) -> tuple[JsonObject, ...]:
    if not isinstance(tools, list):
        raise BadRequest("tools: must be a list.")
    if not tools:
        raise BadRequest("tools: must not be empty.")
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise BadRequest(f"tools[{index}]: must be an object.")
        if not isinstance(tool.get("type"), str):
            raise BadRequest(f"tools[{index}].type: must be a string.")
    return tuple(tools)


def _read_tool_choice(tool_choice: Json) -> Json:
    if not isinstance(tool_choice, str | dict):
        raise BadRequest("tool_choice: must be a string or an object.")
    return tool_choice
