"""Read a chat request as OpenAI's API would: a call, or the refusal it would answer with. Pure.

Source: OpenAI's API reference, "Create chat completion" and "Error codes", 2026-11. Error texts are in its manner, not
its words: no client may rely on them.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from attrs import frozen

from pg_trio.domain.chat import Json, estimate_tokens

ROLES: frozenset[str] = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


class RefusedCall(Exception):
    """A request that is answered with an error object; the simulator's own wire, never an error of the gateway."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


@frozen(slots=True)
class ChatCall:
    """What the simulator needs to know of a request, on whichever `wire` it came.

    `said` is the text of the last message that has any. `inputs` are texts to be made vectors of, of so many
    `dimensions`; none in a chat. `in_base64`: the vectors are wanted in base64.
    """

    model: str
    said: str
    prompt_tokens: int
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    wire: str = "openai"
    inputs: tuple[str, ...] = ()
    dimensions: int = 8
    in_base64: bool = False


def read_json_object(content_type: str, body: bytes) -> Mapping[str, Json]:
    """The body as a JSON object.

    Raises: RefusedCall (400) if it is not declared as JSON, is no JSON, or is no object.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RefusedCall(400, f"The content type must be application/json, not {content_type[:100]!r}.")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedCall(400, f"The body is no valid JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise RefusedCall(400, "The body must be a JSON object.")
    return parsed


def read_chat_call(body: Mapping[str, Json]) -> ChatCall:
    """The chat request in the body.

    Raises: RefusedCall (400) that names the field that is missing or wrong.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedCall(400, "You must provide a model parameter.", param="model")
    said, characters = _read_messages(body.get("messages"))
    return ChatCall(
        model=model,
        said=said,
        prompt_tokens=estimate_tokens(characters),
        stream=_read_flag(body, "stream"),
        include_usage=_read_include_usage(body.get("stream_options")),
        max_tokens=_read_max_tokens(body),
    )


def _read_messages(messages: Json) -> tuple[str, int]:
    if not isinstance(messages, list) or not messages:
        raise RefusedCall(400, "'messages' must be a list of at least one message.", param="messages")
    said, characters = "", 0
    for index, message in enumerate(messages):
        text = _read_message(message, f"messages[{index}]")
        said = text or said
        characters += len(text)
    return said, characters


def _read_message(message: Json, where: str) -> str:
    if not isinstance(message, dict):
        raise RefusedCall(400, f"'{where}' must be an object.", param=where)
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise RefusedCall(400, f"'{where}.role' must be one of {', '.join(sorted(ROLES))}.", param=f"{where}.role")
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(_read_part(part, f"{where}.content[{index}]") for index, part in enumerate(content))
    if content is None and role == "assistant":
        return ""
    raise RefusedCall(400, f"'{where}.content' must be a string or a list of parts.", param=f"{where}.content")


def _read_part(part: Json, where: str) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise RefusedCall(400, f"'{where}' must be an object with a type.", param=where)
    if part["type"] != "text":
        return ""
    if not isinstance(part.get("text"), str):
        raise RefusedCall(400, f"'{where}.text' must be a string.", param=where)
    text: str = part["text"]
    return text


def _read_flag(body: Mapping[str, Json], name: str) -> bool:
    flag = body.get(name)
    if flag is not None and not isinstance(flag, bool):
        raise RefusedCall(400, f"'{name}' must be a boolean.", param=name)
    return bool(flag)


def _read_include_usage(options: Json) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict):
        raise RefusedCall(400, "'stream_options' must be an object.", param="stream_options")
    return _read_flag(options, "include_usage")


def _read_max_tokens(body: Mapping[str, Json]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        # bool is an int to Python, not to JSON.
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise RefusedCall(400, f"'{name}' must be a whole number over 0.", param=name)
        return limit
    return None
