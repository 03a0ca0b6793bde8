"""What the writers of requests share, on the wires that are not OpenAI's."""

from __future__ import annotations

import re

import orjson

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.content import Part, Refusal, Text, parts_for_others, split_data_url
from pg_trio.domain.json_value import Json, JsonObject
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice

# Said by the user where a conversation does not begin with the user, on wires that demand it.
FIRST_TURN = "."
# Asked of a model that does not go on from a last message of its own.
GO_ON = "Continue your last answer exactly where it stopped. Repeat nothing of it."

# Fields of OpenAI's that change what the answer consists of. Left out, the client would wait for it in vain.
_NEEDED = ("logprobs", "modalities")

Block = dict[str, Json]


def find_unfit(prompt: Prompt, tool_name: re.Pattern[str]) -> str | None:
    """What no native wire can carry, and names of functions that this one refuses; None where there is neither."""
    if any(isinstance(tool, ForeignTool) or not tool_name.fullmatch(tool.name) for tool in prompt.tools):
        return "tools"
    if not all(tool_name.fullmatch(call.name) for message in prompt.messages for call in message.tool_calls):
        return "tool_calls"
    if isinstance(prompt.tool_choice, ForeignToolChoice):
        return "tool_choice"
    wanted = prompt.options.response_format
    if wanted is not None and wanted.kind == "other":
        return "response_format"
    more = prompt.options.more or {}
    return next((name for name in _NEEDED if more.get(name)), None)


def parts_of(message: Message) -> tuple[Part, ...]:
    """The content as parts, empty texts left out: these wires refuse them."""
    content = message.content
    if content is None:
        return ()
    return without_empty((Text(content),) if isinstance(content, str) else parts_for_others(content))


def without_empty(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts without empty texts."""
    return tuple([part for part in parts if not isinstance(part, Text | Refusal) or part.text])


def texts_of(message: Message) -> list[str]:
    """The texts of the content, empty ones left out."""
    return [part.text for part in parts_of(message) if isinstance(part, Text | Refusal)]


def read_arguments(arguments: str) -> JsonObject:
    """A call's arguments as the object that these wires want; text that is not a JSON object is its field `input`."""
    if not arguments.strip():
        return {}
    given = _read_json(arguments)
    if given is None:
        return {"input": arguments}
    return given if isinstance(given, dict) else {"input": given}


def read_result(text: str) -> JsonObject:
    """What a tool said, as an object: its own JSON object, or `{"output": text}`."""
    given = _read_json(text)
    if given is None:
        return {"output": text}
    return given if isinstance(given, dict) else {"output": given}


def _read_json(text: str) -> Json:
    try:
        given = orjson.loads(text)
        # orjson reads 1,024 levels and writes 254: what it cannot write again stays text.
        orjson.dumps(given)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return given


def read_data_url(url: str) -> tuple[str, str] | None:
    """(media type without its parameters, base64 text) of a data address; None for any other address.

    The base64 text is empty where the address has none, and then no wire can carry it.
    """
    given = split_data_url(url)
    return None if given is None else (given[0].partition(";")[0].strip().lower(), given[1])
