"""The fields of a request for tools and for the answer's shape: calls, definitions, `response_format`.

They go to the provider unchanged, except that nulls are dropped. See the rules of chat_request.py.
"""

from __future__ import annotations

from typing import cast

from pg_trio.domain.chat import Json, Role, ToolCall
from pg_trio.domain.options import ResponseFormat
from pg_trio.domain.tools import ChoiceMode, ForeignTool, ForeignToolChoice, Tool, ToolChoice
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import NAME, check_object, check_string, check_text
from pg_trio.surfaces.reading.signed_fields import read_signature

_CHOICES = frozenset({"auto", "none", "required"})
# OpenAI takes 128 functions. Anthropic searches catalogues of up to 10,000, which a client sends with each request.
MAX_TOOLS = 4_096


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
    # "function" is the only type, so a client may leave it out.
    if call.get("type") not in (None, "function"):
        raise BadRequest(f'{path}.type: must be "function".')
    function = check_object(call.get("function"), f"{path}.function")
    check_text(function.get("name"), f"{path}.function.name")
    arguments = function.get("arguments")
    if arguments is None:
        # Go and Java clients send the arguments of a function without parameters back as null.
        arguments = "{}"
    elif not isinstance(arguments, str):
        raise BadRequest(f"{path}.function.arguments: must be a string.")
    return ToolCall(call["id"], function["name"], arguments, read_signature(call))


def read_tools(tools: Json) -> tuple[Tool | ForeignTool, ...]:
    """The definitions of tools. Raises: BadRequest."""
    if not isinstance(tools, list):
        raise BadRequest("tools: must be a list.")
    if not tools:
        raise BadRequest("tools: must not be empty.")
    check_tool_count(tools)
    return tuple([_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)])


def check_tool_count(tools: list[Json]) -> None:
    """Raises BadRequest for more than MAX_TOOLS definitions in the field `tools`."""
    if len(tools) > MAX_TOOLS:
        raise BadRequest(f"tools: has {len(tools)} tools, the limit is {MAX_TOOLS}.")


def _read_tool(given: Json, path: str) -> Tool | ForeignTool:
    tool = _drop_nulls(check_object(given, path))
    if not isinstance(tool.get("type"), str):
        raise BadRequest(f"{path}.type: must be a string.")
    tool = _with_object(tool, "function", path)
    if tool.keys() != {"type", "function"} or tool["type"] != "function":
        return ForeignTool(tool)
    more = dict(tool["function"])
    name, description = more.pop("name", None), more.pop("description", None)
    parameters, strict = more.pop("parameters", None), more.pop("strict", None)
    is_known = (
        isinstance(name, str)
        and isinstance(description, str | None)
        and isinstance(parameters, dict | None)
        and isinstance(strict, bool | None)
    )
    # A definition in another shape goes to the provider, which accepts or refuses it.
    return Tool(name, description, parameters, strict, more or None) if is_known else ForeignTool(tool)


def read_tool_choice(given: Json) -> ToolChoice | ForeignToolChoice:
    """The tool choice: a word or an object. Raises: BadRequest."""
    if isinstance(given, str):
        return ToolChoice(cast(ChoiceMode, given)) if given in _CHOICES else ForeignToolChoice(given)
    if not isinstance(given, dict):
        raise BadRequest("tool_choice: must be a string or an object.")
    choice = _with_object(_drop_nulls(given), "function", "tool_choice")
    function = choice.get("function", {})
    if choice.keys() == {"type", "function"} and function.keys() == {"name"} and isinstance(function["name"], str):
        return ToolChoice("function", function["name"])
    return ForeignToolChoice(choice)


def read_response_format(given: Json) -> ResponseFormat:
    """The shape of the answer. Servers have many types (`grammar`, `structural_tag`), so any type is passed on.

    Raises: BadRequest.
    """
    wanted = _drop_nulls(check_object(given, "response_format"))
    if not isinstance(wanted.get("type"), str):
        raise BadRequest("response_format.type: must be a string.")
    return ResponseFormat.of(_with_object(wanted, "json_schema", "response_format"))


def read_effort(effort: Json) -> str:
    """The reasoning effort, a word. Providers accept different words. Raises: BadRequest."""
    check_string(effort, NAME, "reasoning_effort")
    return cast(str, effort)


def _drop_nulls(fields: dict[str, Json]) -> dict[str, Json]:
    """The object without its null fields; the same object if it has none."""
    if None not in fields.values():
        return fields
    return {field: value for field, value in fields.items() if value is not None}


def _with_object(fields: dict[str, Json], field: str, path: str) -> dict[str, Json]:
    """The same, with the nulls dropped from the object in `field`. Raises: BadRequest if `field` is not an object."""
    if field not in fields:
        return fields
    inner = check_object(fields[field], f"{path}.{field}")
    sound = _drop_nulls(inner)
    return fields if sound is inner else {**fields, field: sound}
