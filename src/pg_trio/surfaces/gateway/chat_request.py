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

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pg_trio.domain.call import ReadLimits, RequestHead
from pg_trio.domain.chat import ChatRequest, Json, JsonObject, Message
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.chat_messages import read_messages
from pg_trio.surfaces.reading.field_checks import read_flag, read_session_id
from pg_trio.surfaces.reading.json_body import ESCAPED, check_depth, check_once, literal_keys, parse_object
from pg_trio.surfaces.reading.tool_fields import read_effort, read_response_format, read_tool_choice, read_tools

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

_KEYS = literal_keys(KNOWN_FIELDS)
_MESSAGE = _KEYS["message"]


def read_chat_request(body: bytes, limits: ReadLimits, head: RequestHead) -> ChatRequest:
    """The request in the body. If the head has no slug (the dispatcher route), the body names the endpoint.

    Raises: BadRequest naming the field; SessionIdInvalid if `session_id` is not a UUID in its usual form.
    """
    fields, last = parse_object(body), body.rfind
    message = fields.get("message")
    if (
        len(fields) == 1
        and type(message) is str
        and head.slug is not None
        and last(_MESSAGE, 0, last(_MESSAGE)) < 0
        and last(ESCAPED) < 0
    ):
        # Nearly always: one text, in a key that is there once (as `check_once` sees it).
        return ChatRequest((Message("user", message),), fields)
    check_once(fields, body, limits.max_json_depth, _KEYS)
    is_flat = fields.keys() <= _FLAT_FIELDS
    if not is_flat:
        check_depth(fields, body, limits.max_json_depth)
    endpoint = fields.get("endpoint")
    if endpoint is not None and not isinstance(endpoint, str):
        raise BadRequest("endpoint: must be a string.")
    if endpoint is None and head.slug is None:
        raise BadRequest("endpoint: is required on this route.")
    messages = _read_messages(fields, limits.max_messages)
    stream = fields.get("stream") is not None and read_flag(fields["stream"], "stream")
    if is_flat or fields.keys() <= _PLAIN_FIELDS:
        return ChatRequest(messages, fields, endpoint, stream)
    asked = _read_fields(fields, _OPTION_READERS)
    options = Options(**asked) if asked else NO_OPTIONS
    return ChatRequest(messages, fields, endpoint, stream, options=options, **_read_fields(fields, _FIELD_READERS))


def _read_fields(fields: JsonObject, readers: Mapping[str, Callable[[Json], Any]]) -> dict[str, Any]:
    return {field: read(fields[field]) for field, read in readers.items() if fields.get(field) is not None}


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
    return read_messages(messages, max_messages)


# These must be strings and flags, so no other depth is read.
_FLAT_FIELDS = frozenset({"message", "endpoint", "stream"})
# The fields of a plain request. Every other field has its own reader, and its name in ChatRequest or Options.
_PLAIN_FIELDS = _FLAT_FIELDS | {"messages"}
_FIELD_READERS: dict[str, Callable[[Json], Any]] = {
    "session_id": read_session_id,
    "tools": read_tools,
    "tool_choice": read_tool_choice,
}
_OPTION_READERS: dict[str, Callable[[Json], Any]] = {
    "parallel_tool_calls": partial(read_flag, path="parallel_tool_calls"),
    "response_format": read_response_format,
    "reasoning_effort": read_effort,
}
