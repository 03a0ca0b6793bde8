"""The tools of a Messages request, and the choice among them.

A tool with an `input_schema` is a function. Any other (a server tool such as `web_search_20250305`, or a tool that
Anthropic's models are trained for) is only for a candidate of Anthropic's wire.
"""

from __future__ import annotations

import re
from typing import Final

from pg_trio.domain.chat import Json
from pg_trio.domain.tools import ChoiceMode, ForeignTool, ForeignToolChoice, Tool, ToolChoice
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import check_object, check_text, read_flag
from pg_trio.surfaces.reading.tool_fields import check_tool_count
from pg_trio.surfaces.v1.messages.blocks import check_cache_mark

_KIND = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MODES: Final[dict[str, ChoiceMode]] = {"auto": "auto", "any": "required", "none": "none"}
_TOOL_FIELDS = frozenset({"name", "description", "input_schema", "strict"})


def read_anthropic_tools(given: Json) -> tuple[Tool | ForeignTool, ...]:
    """The definitions in the field `tools`. Raises: BadRequest naming the field."""
    if not isinstance(given, list):
        raise BadRequest("tools: must be a list.")
    check_tool_count(given)
    return tuple([_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(given)])


def _read_tool(given: Json, path: str) -> Tool | ForeignTool:
    tool = check_object(given, path)
    check_cache_mark(tool, path)
    kind = tool.get("type")
    if kind is not None and kind != "custom":
        if not isinstance(kind, str):
            raise BadRequest(f"{path}.type: must be a string.")
        if _KIND.fullmatch(kind) is None:
            raise BadRequest(f"{path}.type: must be a word.")
        return ForeignTool(tool, "anthropic")
    check_text(tool.get("name"), f"{path}.name")
    description, strict = tool.get("description"), tool.get("strict")
    if not isinstance(description, str | None):
        raise BadRequest(f"{path}.description: must be a string.")
    if tool.get("input_schema") is None:
        raise BadRequest(f"{path}.input_schema: is required.")
    return Tool(
        tool["name"],
        description,
        check_object(tool["input_schema"], f"{path}.input_schema"),
        None if strict is None else read_flag(strict, f"{path}.strict"),
        native={name: item for name, item in tool.items() if name not in _TOOL_FIELDS} or None,
    )


def read_choice(given: Json) -> ToolChoice | ForeignToolChoice:
    """The field `tool_choice`. Raises: BadRequest naming the field."""
    choice = check_object(given, "tool_choice")
    kind = choice.get("type")
    if not isinstance(kind, str):
        raise BadRequest("tool_choice.type: must be a string.")
    if kind == "tool":
        check_text(choice.get("name"), "tool_choice.name")
        return ToolChoice("function", choice["name"])
    return ToolChoice(_MODES[kind]) if kind in _MODES else ForeignToolChoice(choice, "anthropic")
