"""Messages as plain JSON, in the shape of OpenAI's chat. Sessions, logs and OpenAI's wire use it.

This module reads only JSON that it has written, so it makes no checks. A client's JSON is read by its surface.
"""

from __future__ import annotations

from pg_trio.domain.chat import Message
from pg_trio.domain.content import Audio, File, Image, Part, Refusal, Text
from pg_trio.domain.json_value import Json
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice, Tool, ToolCall, ToolChoice


def part_to_json(part: Part) -> dict[str, Json]:
    """A content part, `{"type": "text", "text": …}` and so on."""
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Refusal():
            return {"type": "refusal", "refusal": part.text}
        case Image():
            return {"type": "image_url", "image_url": _given({"url": part.url, "detail": part.detail})}
        case Audio():
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case File():
            return {
                "type": "file",
                "file": _given({"file_id": part.id, "file_data": part.data, "filename": part.name}),
            }


def part_from_json(shape: dict[str, Json]) -> Part:
    """The part that `part_to_json` wrote."""
    kind = shape["type"]
    if kind == "text":
        return Text(shape["text"])
    if kind == "refusal":
        return Refusal(shape["refusal"])
    fields = shape[kind]
    if kind == "image_url":
        return Image(fields["url"], fields.get("detail"))
    if kind == "input_audio":
        return Audio(fields["data"], fields["format"])
    return File(fields.get("file_id"), fields.get("file_data"), fields.get("filename"))


def call_to_json(call: ToolCall) -> dict[str, Json]:
    """A tool call, `{"id": …, "type": "function", "function": {"name": …, "arguments": …}}`."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def tool_to_json(tool: Tool | ForeignTool) -> Json:
    """A tool, `{"type": "function", "function": {…}}`."""
    if isinstance(tool, ForeignTool):
        return tool.raw
    function: dict[str, Json] = {"name": tool.name}
    function |= _given({"description": tool.description, "parameters": tool.parameters, "strict": tool.strict})
    return {"type": "function", "function": function if tool.more is None else {**tool.more, **function}}


def choice_to_json(choice: ToolChoice | ForeignToolChoice) -> Json:
    """A tool choice: a word, or the object that names a function."""
    if isinstance(choice, ForeignToolChoice):
        return choice.raw
    return choice.mode if choice.name is None else {"type": "function", "function": {"name": choice.name}}


def message_to_json(message: Message) -> dict[str, Json]:
    """A complete message for a store. Reasoning is left out, because it is never stored."""
    content = message.content
    shape: dict[str, Json] = {
        "role": message.role,
        "content": [part_to_json(part) for part in content] if isinstance(content, tuple) else content,
    }
    if message.name is not None:
        shape["name"] = message.name
    if message.tool_calls:
        shape["tool_calls"] = [_signed(call_to_json(call), call.signature) for call in message.tool_calls]
    if message.tool_call_id is not None:
        shape["tool_call_id"] = message.tool_call_id
    return shape


def message_from_json(shape: dict[str, Json]) -> Message:
    """The message that `message_to_json` wrote."""
    content = shape["content"]
    if len(shape) == 2 and isinstance(content, str):
        return Message(shape["role"], content)
    return Message(
        role=shape["role"],
        content=tuple([part_from_json(part) for part in content]) if isinstance(content, list) else content,
        name=shape.get("name"),
        tool_calls=tuple([_call_from_json(call) for call in shape.get("tool_calls", ())]),
        tool_call_id=shape.get("tool_call_id"),
    )


def _call_from_json(shape: dict[str, Json]) -> ToolCall:
    function = shape["function"]
    return ToolCall(shape["id"], function["name"], function["arguments"], shape.get("signature"))


def _signed(shape: dict[str, Json], signature: str | None) -> dict[str, Json]:
    return shape if signature is None else {**shape, "signature": signature}


def _given(fields: dict[str, Json]) -> dict[str, Json]:
    return {name: given for name, given in fields.items() if given is not None}
