"""Messages as plain JSON, in the shape of OpenAI's chat. Sessions, logs and OpenAI's wire use it.

This module reads only JSON that it has written, so it makes no checks. A client's JSON is read by its surface.

Sessions also keep native fields (domain.native_fields), under `native`. Only `cache_control` is left out: a provider
takes a few of them in one request, and each request of a session brings its own.
"""

from __future__ import annotations

from pg_trio.domain.chat import Message
from pg_trio.domain.content import Audio, File, Image, NativePart, Part, Refusal, Text
from pg_trio.domain.json_value import Json, JsonObject
from pg_trio.domain.native_fields import NativeTurn
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
        case NativePart():
            return dict(part.raw)


def _part_to_store(part: Part) -> dict[str, Json]:
    """The part with its native fields."""
    if isinstance(part, NativePart):
        others = None if part.others is None else [_part_to_store(one) for one in part.others]
        return {"type": "native", "raw": _kept(part.raw), "others": others}
    native = part.native if isinstance(part, Text | Image | File) else None
    kept = None if native is None else _kept(native)
    return {**part_to_json(part), "native": kept} if kept else part_to_json(part)


def part_from_json(shape: dict[str, Json]) -> Part:
    """The part that `_part_to_store` wrote."""
    kind, native = shape["type"], shape.get("native")
    if kind == "text":
        return Text(shape["text"], native)
    if kind == "refusal":
        return Refusal(shape["refusal"])
    if kind == "native":
        return NativePart(shape["raw"], _others_from_json(shape["others"]))
    fields = shape[kind]
    if kind == "image_url":
        return Image(fields["url"], fields.get("detail"), native)
    if kind == "input_audio":
        return Audio(fields["data"], fields["format"])
    return File(fields.get("file_id"), fields.get("file_data"), fields.get("filename"), native)


def _others_from_json(shapes: list[dict[str, Json]] | None) -> tuple[Text | Image, ...] | None:
    parts = [part_from_json(shape) for shape in shapes or ()]
    return None if shapes is None else tuple([part for part in parts if isinstance(part, Text | Image)])


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
        "content": [_part_to_store(part) for part in content] if isinstance(content, tuple) else content,
    }
    if message.name is not None:
        shape["name"] = message.name
    if message.tool_calls:
        shape["tool_calls"] = [_call_to_store(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        shape["tool_call_id"] = message.tool_call_id
    if message.native is not None:
        shape["native"] = _turn_to_store(message.native)
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
        native=NativeTurn(**shape["native"]) if "native" in shape else None,
    )


def _turn_to_store(turn: NativeTurn) -> dict[str, Json]:
    return _given(
        {
            "fields": None if turn.fields is None else _kept(turn.fields),
            "result": None if turn.result is None else _kept(turn.result),
            # Reasoning is not stored.
            "order": turn.order.replace("r", "") or None,
            "begins": turn.begins or None,
        }
    )


def _call_to_store(call: ToolCall) -> dict[str, Json]:
    native = None if call.native is None else _kept(call.native) or None
    return call_to_json(call) | _given({"signature": call.signature, "native": native})


def _call_from_json(shape: dict[str, Json]) -> ToolCall:
    function = shape["function"]
    signature, native = shape.get("signature"), shape.get("native")
    return ToolCall(shape["id"], function["name"], function["arguments"], signature, native)


def _kept(fields: JsonObject) -> dict[str, Json]:
    """Native fields as a session keeps them."""
    return {name: given for name, given in fields.items() if name != "cache_control"}


def _given(fields: dict[str, Json]) -> dict[str, Json]:
    return {name: given for name, given in fields.items() if given is not None}
