"""Content parts and tools from OpenAI's shapes, as a client writes them."""

from __future__ import annotations

from typing import Any

from pg_trio.domain.content import Part
from pg_trio.domain.message_json import part_from_json
from pg_trio.domain.tools import ForeignTool, Tool


def parts(*shapes: dict[str, Any]) -> tuple[Part, ...]:
    """A message's content."""
    return tuple([part_from_json(shape) for shape in shapes])


def tool(shape: dict[str, Any]) -> Tool | ForeignTool:
    """A tool: a function where the shape is one."""
    if shape.get("type") == "function" and isinstance(shape.get("function"), dict) and "name" in shape["function"]:
        fields = dict(shape["function"])
        known = {name: fields.pop(name, None) for name in ("name", "description", "parameters", "strict")}
        return Tool(**known, more=fields or None)
    return ForeignTool(shape)
