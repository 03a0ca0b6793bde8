"""The parts of a request that are about tools, and about the answer's shape: calls, definitions, `response_format`.

They travel to the provider as they are, but for nulls: see the rules of stage.py.
"""

from __future__ import annotations

from typing import cast

from pg_trio.domain.chat import Json, JsonObject, Role, ToolCall
from pg_trio.errors import BadRequest
from pg_trio.stages.read_request.checks import NAME, check_object, check_string, check_text


def read_tool_calls(calls: Json, role: Role, path: str) -> tuple[ToolCall, ...]:
    """The tool calls of a message. Raises: BadRequest."""
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
    check_text(call.get("id"), f"{path}.id")
    # The only type there is: a client that leaves it out means no other.
    if call.get("type") not in (None, "function"):
        raise BadRequest(f'{path}.type: must be "function".')
    function = check_object(call.get("function"), f"{path}.function")
    check_text(function.get("name"), f"{path}.function.name")
    arguments = function.get("arguments")
    if arguments is None:
        # A function without parameters, as Go and Java clients send it back.
        arguments = "{}"
    elif not isinstance(arguments, str):
        raise BadRequest(f"{path}.function.arguments: must be a string.")
    return ToolCall(call["id"], function["name"], arguments)


def read_tools(tools: Json) -> tuple[JsonObject, ...]:
    """The definitions of tools. Raises: BadRequest."""
    if not isinstance(tools, list):
        raise BadRequest("tools: must be a list.")
    if not tools:
        raise BadRequest("tools: must not be empty.")
    return tuple([_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)])


def _read_tool(tool: Json, path: str) -> JsonObject:
    tool = _drop_nulls(check_object(tool, path))
    if not isinstance(tool.get("type"), str):
        raise BadRequest(f"{path}.type: must be a string.")
    return _with_object(tool, "function", path)


def read_tool_choice(tool_choice: Json) -> Json:
    """Which tool is to be called: a word or an object. Raises: BadRequest."""
    if isinstance(tool_choice, str):
        return tool_choice
    if not isinstance(tool_choice, dict):
        raise BadRequest("tool_choice: must be a string or an object.")
    return _with_object(_drop_nulls(tool_choice), "function", "tool_choice")


def read_response_format(response_format: Json) -> JsonObject:
    """What the answer is to look like. Its types are many (`grammar`, `structural_tag`): any is passed on.

    Raises: BadRequest.
    """
    response_format = _drop_nulls(check_object(response_format, "response_format"))
    if not isinstance(response_format.get("type"), str):
        raise BadRequest("response_format.type: must be a string.")
    return _with_object(response_format, "json_schema", "response_format")


def read_effort(effort: Json) -> str:
    """How much a model is to think: a word, of which providers know different ones. Raises: BadRequest."""
    check_string(effort, NAME, "reasoning_effort")
    return cast(str, effort)


def _drop_nulls(fields: dict[str, Json]) -> dict[str, Json]:
    """The same object if no field of it is null."""
    if None not in fields.values():
        return fields
    return {field: value for field, value in fields.items() if value is not None}


def _with_object(fields: dict[str, Json], field: str, path: str) -> dict[str, Json]:
    """The same with the object in one of its fields, where it is, without nulls. Raises: BadRequest for no object."""
    if field not in fields:
        return fields
    inner = check_object(fields[field], f"{path}.{field}")
    sound = _drop_nulls(inner)
    return fields if sound is inner else {**fields, field: sound}
