"""The messages of OpenAI's chat, as a body has them. See the rules of the surfaces' own readers."""

from __future__ import annotations

from operator import itemgetter

from pg_trio.domain.chat import Json, JsonObject, Message, Role
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import NAME, check_string, check_text
from pg_trio.surfaces.reading.message_content import read_content
from pg_trio.surfaces.reading.signed_fields import read_reasoning
from pg_trio.surfaces.reading.tool_fields import read_tool_calls

# `developer` is OpenAI's newer name for `system`.
_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "developer": "system",
}
# Of these, a message may be a text alone.
_PLAIN_ROLES = {named: role for named, role in _ROLES.items() if role != "tool"}
_ROLE_AND_CONTENT = itemgetter("role", "content")
# Where answers have a text of reasoning.
_REASONING = ("reasoning_content", "reasoning")
# A body with plain messages and no other lists and objects: the body, the list, the messages.
PLAIN_DEPTH = 3


def read_plain_messages(messages: Json, max_messages: int) -> tuple[Message, ...] | None:
    """The messages in the field `messages`, if each is a role and a text, as most are. None for any others.

    The columns of a history are looked at as a whole, which takes a tenth of the steps of a look at each message.
    """
    try:
        # No other JSON than a list of objects comes through this without an error.
        if len(messages) == 1:
            message = messages[0]
            role, content = _PLAIN_ROLES[message["role"]], message["content"]
            return (Message(role, content),) if type(content) is str and len(message) == 2 else None
        if len(messages) > max_messages:
            return None
        named, contents = zip(*map(_ROLE_AND_CONTENT, messages), strict=True)
        roles = list(map(_PLAIN_ROLES.__getitem__, named))
    except (KeyError, TypeError, ValueError):
        return None
    are_plain = set(map(type, contents)) == {str} and set(map(len, messages)) == {2}
    return tuple(map(Message, roles, contents)) if are_plain else None


def read_messages(messages: Json, max_messages: int) -> tuple[Message, ...]:
    """The messages in the field `messages`. Raises: BadRequest naming the field."""
    plain = read_plain_messages(messages, max_messages)
    return read_any_messages(messages, max_messages) if plain is None else plain


def read_any_messages(messages: Json, max_messages: int) -> tuple[Message, ...]:
    """The same one by one, for messages that are not plain."""
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
    named, content = message.get("role"), message.get("content")
    if type(named) is str and type(content) is str and len(message) == 2 and named in _PLAIN_ROLES:
        return Message(_PLAIN_ROLES[named], content)
    role = _ROLES.get(named) if type(named) is str else None
    if role is None:
        raise BadRequest(f"messages[{index}].role: must be one of system, user, assistant, tool.")
    return _read_full_message(message, role, f"messages[{index}]")


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
    if content is None and role == "assistant" and isinstance(message.get("refusal"), str):
        # The message of a model that refused, as OpenAI's SDKs send it back.
        content = [{"type": "refusal", "refusal": message["refusal"]}]
    if content is None and not tool_calls:
        if role != "assistant" or not any(isinstance(message.get(name), str) for name in _REASONING):
            raise BadRequest(f"{path}.content: must be a string or a list of parts.")
        # An answer that was all reasoning, as clients send it back.
        content = ""
    reasoning = read_reasoning(message.get("reasoning_details")) if role == "assistant" else ()
    return Message(role, read_content(content, role, f"{path}.content"), name, tool_calls, tool_call_id, reasoning)
