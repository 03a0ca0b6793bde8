"""`tools` and `tool_choice` of the Responses API. Functions are written flat here, without an object `function`.

Rules:
1. Functions only. OpenAI's built-in tools are refused by name, because no wire of the gateway's has them.
2. `allowed_tools` is a choice among the functions of the same request, so only these are sent. So it works on any wire.
3. A function's fields beyond name, description, parameters and strict are dropped.

Source: OpenAI's openapi.yaml, FunctionTool and ToolChoiceParam, read 2026-11.
"""

from __future__ import annotations

import re
from typing import cast

from pg_trio.domain.chat import Json
from pg_trio.domain.tools import ChoiceMode, Tool, ToolChoice
from pg_trio.domain.value import value
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import check_object, check_text, read_flag
from pg_trio.surfaces.reading.tool_fields import check_tool_count

_CHOICES = frozenset({"auto", "none", "required"})
# Types of tools that an error may name, since they are no client's text. Some have a date behind the name.
# fmt: off
_BUILT_IN = frozenset({
    "apply_patch", "code_interpreter", "computer", "computer_use", "computer_use_preview", "custom", "file_search",
    "image_generation", "local_shell", "mcp", "namespace", "programmatic_tool_calling", "shell", "tool_search",
    "web_search", "web_search_preview",
})
# fmt: on
_DATE = re.compile(r"_\d{4}_\d{2}_\d{2}", re.ASCII)


@value(slots=True)
class ChosenTools:
    """The functions that the model is told of, and whether it calls them."""

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice | None = None


def read_function_tools(tools: Json, tool_choice: Json) -> ChosenTools:
    """The fields `tools` and `tool_choice`; either may be None. Raises: BadRequest."""
    known = _read_tools(tools)
    names = frozenset([tool.name for tool in known])
    if tool_choice is None:
        return ChosenTools(known)
    if isinstance(tool_choice, str):
        if tool_choice not in _CHOICES:
            raise BadRequest("tool_choice: must be one of auto, none, required, or an object.")
        return _check_choice(ChosenTools(known, ToolChoice(cast(ChoiceMode, tool_choice))))
    if not isinstance(tool_choice, dict):
        raise BadRequest("tool_choice: must be a string or an object.")
    kind = tool_choice.get("type")
    if kind == "function":
        name = _known_name(tool_choice, names, "tool_choice")
        return ChosenTools(known, ToolChoice("function", name))
    if kind == "allowed_tools":
        allowed = _read_allowed(tool_choice, names)
        return ChosenTools(tuple([tool for tool in known if tool.name in allowed.names]), allowed.choice)
    raise _wrong_type(kind, "tool_choice.type", "must be function or allowed_tools")


def _read_tools(tools: Json) -> tuple[Tool, ...]:
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise BadRequest("tools: must be a list.")
    check_tool_count(tools)
    given = [check_object(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    for index, tool in enumerate(given):
        if tool.get("type") != "function":
            raise _wrong_tool(given, index)
    return tuple([_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(given)])


def _read_tool(tool: dict[str, Json], path: str) -> Tool:
    name, description, parameters, strict = (
        tool.get(field) for field in ("name", "description", "parameters", "strict")
    )
    check_text(name, f"{path}.name")
    if description is not None and not isinstance(description, str):
        raise BadRequest(f"{path}.description: must be a string.")
    if parameters is not None:
        check_object(parameters, f"{path}.parameters")
    if strict is not None:
        read_flag(strict, f"{path}.strict")
    return Tool(cast(str, name), description, parameters, strict)


def _wrong_tool(tools: list[dict[str, Json]], index: int) -> BadRequest:
    """The refusal of a tool that is no function. It names all built-in tools of the request."""
    names = list(dict.fromkeys(name for tool in tools if (name := _built_in_name(tool.get("type"))) is not None))
    path = f"tools[{index}].type"
    if _built_in_name(tools[index].get("type")) is None:
        return BadRequest(f'{path}: must be "function".')
    return BadRequest(f"{path}: {_and(names)} {'is' if len(names) == 1 else 'are'} not supported, only functions are.")


def _wrong_type(kind: Json, path: str, known: str) -> BadRequest:
    name = _built_in_name(kind)
    return BadRequest(f"{path}: {known}." if name is None else f"{path}: {name} is not supported.")


def _built_in_name(kind: Json) -> str | None:
    """The type of a built-in tool; None for any other value."""
    return kind if isinstance(kind, str) and _DATE.sub("", kind) in _BUILT_IN else None


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


@value(slots=True)
class AllowedTools:
    """The names of the functions that the model may call, and whether it must."""

    names: frozenset[str]
    choice: ToolChoice


def _read_allowed(choice: dict[str, Json], known: frozenset[str]) -> AllowedTools:
    """A choice among some of the functions. Raises: BadRequest."""
    mode, tools = choice.get("mode"), choice.get("tools")
    if mode not in ("auto", "required"):
        raise BadRequest("tool_choice.mode: must be auto or required.")
    if not isinstance(tools, list):
        raise BadRequest("tool_choice.tools: must be a list.")
    names = set()
    for index, tool in enumerate(tools):
        path = f"tool_choice.tools[{index}]"
        if (kind := check_object(tool, path).get("type")) != "function":
            raise _wrong_type(kind, f"{path}.type", 'must be "function"')
        names.add(_known_name(tool, known, path))
    if not names:
        raise BadRequest("tool_choice.tools: must not be empty.")
    return AllowedTools(frozenset(names), ToolChoice(cast(ChoiceMode, mode)))


def _known_name(given: dict[str, Json], known: frozenset[str], path: str) -> str:
    name = given.get("name")
    check_text(name, f"{path}.name")
    if name not in known:
        raise BadRequest(f"{path}.name: must be the name of one of the tools.")
    return cast(str, name)


def _check_choice(chosen: ChosenTools) -> ChosenTools:
    """Without tools, only `required` means something, and it cannot be met."""
    if chosen.tools or chosen.choice is None:
        return chosen
    if chosen.choice.mode == "required":
        raise BadRequest("tool_choice: required needs tools.")
    return ChosenTools()
