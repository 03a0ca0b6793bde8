"""The types inside the objects of a Chat Completions request, so that an ill-typed value is a 400 of the gateway's own.

Rules:
1. Only types are checked, and only in what OpenAI documents. Other servers have kinds of tools and of formats of their
   own, which go to them unchanged.
2. A null field counts as absent.

Source: OpenAI's openapi.yaml, CreateChatCompletionRequest, read 2026-11.
"""

from __future__ import annotations

from typing import Final

from pg_trio.domain.chat import Json
from pg_trio.domain.options import ResponseFormat
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice, Tool, ToolChoice
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import check_object, check_text, read_flag
from pg_trio.surfaces.reading.tool_fields import read_response_format, read_tool_choice, read_tools

# OpenAI's words, and Mistral's for `required`.
_CHOICES: Final = ("auto", "none", "required", "any")


def read_typed_tools(given: Json) -> tuple[Tool | ForeignTool, ...]:
    """The field `tools`. Raises: BadRequest naming the field."""
    tools = read_tools(given)
    for index, tool in enumerate(given):
        if tool["type"] == "function":
            _check_function(tool.get("function"), f"tools[{index}].function")
    return tools


def read_typed_choice(given: Json) -> ToolChoice | ForeignToolChoice:
    """The field `tool_choice`. Raises: BadRequest naming the field."""
    choice = read_tool_choice(given)
    if isinstance(given, str):
        if given not in _CHOICES:
            raise BadRequest("tool_choice: must be one of auto, none, required, or an object.")
        return choice
    _check_string(given.get("type"), "tool_choice.type")
    if given["type"] == "function":
        function = check_object(given.get("function"), "tool_choice.function")
        check_text(function.get("name"), "tool_choice.function.name")
    return choice


def read_typed_format(given: Json) -> ResponseFormat:
    """The field `response_format`. Raises: BadRequest naming the field."""
    wanted = read_response_format(given)
    if given["type"] == "json_schema":
        path = "response_format.json_schema"
        schema = check_object(given.get("json_schema"), path)
        check_text(schema.get("name"), f"{path}.name")
        _check_definition(schema, "schema", path)
    return wanted


def read_prediction(given: Json) -> dict[str, Json]:
    """The field `prediction`. Raises: BadRequest naming the field."""
    prediction = check_object(given, "prediction")
    _check_string(prediction.get("type"), "prediction.type")
    if not isinstance(prediction.get("content"), str | list):
        raise BadRequest("prediction.content: must be a string or a list of parts.")
    return prediction


def read_audio(given: Json) -> dict[str, Json]:
    """The field `audio`. Raises: BadRequest naming the field."""
    audio = check_object(given, "audio")
    _check_string(audio.get("format"), "audio.format")
    if not isinstance(audio.get("voice"), str | dict):
        raise BadRequest("audio.voice: must be a string or an object.")
    return audio


def _check_function(given: Json, path: str) -> None:
    function = check_object(given, path)
    check_text(function.get("name"), f"{path}.name")
    _check_definition(function, "parameters", path)


def _check_definition(fields: dict[str, Json], schema: str, path: str) -> None:
    """Check what functions and formats have in common. `schema` is the field with the JSON Schema."""
    if fields.get("description") is not None:
        _check_string(fields["description"], f"{path}.description")
    if fields.get(schema) is not None:
        check_object(fields[schema], f"{path}.{schema}")
    if fields.get("strict") is not None:
        read_flag(fields["strict"], f"{path}.strict")


def _check_string(given: Json, path: str) -> None:
    if not isinstance(given, str):
        raise BadRequest(f"{path}: must be a string.")
