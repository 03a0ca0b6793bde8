"""Messages, parts and calls as the content blocks of the Messages wire.

Images are JPEG, PNG, GIF or WebP in base64, or an https address that Anthropic fetches. Documents are PDFs in base64,
or plain text. Audio and uploads to another provider have no block, so a candidate cannot take them. What a client wrote
in the terms of this wire (`native`, domain.native_fields) is written back unchanged, and in its order.

Source: Messages API reference; "Vision", "PDF support", "Extended thinking", read 2026-11.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode

from pg_trio.domain.chat import Message, Reasoning
from pg_trio.domain.content import Audio, File, Image, NativePart, Part, Refusal, Text
from pg_trio.domain.json_value import JsonObject
from pg_trio.domain.tools import ToolCall
from pg_trio.providers.native_request import Block, read_arguments, read_data_url, without_empty

_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def why_part_unfit(part: Part) -> str | None:
    """The name of the part's content if it has no block; None if it has one."""
    match part:
        case Audio():
            return "audio"
        case File():
            return None if _write_document(part) is not None else "file"
        case Image():
            return None if _write_source(part.url) is not None else "image"
        case _:
            return None


def write_blocks(message: Message) -> list[Block]:
    """The blocks that a message adds to its turn. An empty message adds none."""
    if message.role == "tool":
        return [_write_result(message)]
    content = write_content(message)
    reasoning = [_write_reasoning(block) for block in message.reasoning if block.signature or block.data]
    calls = [_write_call(call) for call in message.tool_calls]
    order = "" if message.native is None else message.native.order
    return _arrange(order, {"r": reasoning, "p": content, "c": calls}) if order else [*reasoning, *content, *calls]


def write_content(message: Message) -> list[Block]:
    """The blocks of a message's content."""
    content = message.content
    if content is None:
        return []
    parts = without_empty((Text(content),) if isinstance(content, str) else content)
    return [block for part in parts if (block := _write_part(part)) is not None]


def _write_result(message: Message) -> Block:
    result: Block = {"type": "tool_result", "tool_use_id": write_call_id(message.tool_call_id or "")}
    turn, content = message.native, message.content
    if turn is not None and isinstance(content, str) and content:
        # As the client wrote it.
        result["content"] = content
    elif blocks := write_content(message):
        result["content"] = blocks
    return result if turn is None or turn.result is None else {**result, **turn.result}


def _arrange(order: str, blocks: dict[str, list[Block]]) -> list[Block]:
    """The blocks in this order of kinds. Blocks that it does not name come last: a guardrail may have changed them."""
    rest = {kind: iter(of_kind) for kind, of_kind in blocks.items()}
    arranged = [block for kind in order if (block := next(rest[kind], None)) is not None]
    return [*arranged, *[block for of_kind in rest.values() for block in of_kind]]


def text_block(text: str) -> Block:
    """A block of text."""
    return {"type": "text", "text": text}


def write_call_id(call_id: str) -> str:
    """The id in the form that the API accepts: letters, digits, _ and -. A call and its result get the same id."""
    if _CALL_ID.fullmatch(call_id):
        return call_id
    return f"toolu_{hashlib.sha256(call_id.encode()).hexdigest()[:24]}"


def _write_part(part: Part) -> Block | None:
    match part:
        case NativePart():
            return dict(part.raw)
        case Text():
            return _with_native(text_block(part.text), part.native)
        case Refusal():
            return text_block(part.text)
        case Image():
            source = _write_source(part.url)
            return None if source is None else _with_native({"type": "image", "source": source}, part.native)
        case File():
            block = _write_document(part)
            return None if block is None else _with_native(block, part.native)
        case Audio():
            return None


def _with_native(block: Block, native: JsonObject | None) -> Block:
    return block if native is None else {**block, **native}


def _write_source(url: str) -> Block | None:
    given = read_data_url(url)
    if given is None:
        return {"type": "url", "url": url}
    media_type, data = given
    if media_type not in _IMAGES or not data:
        return None
    return {"type": "base64", "media_type": media_type, "data": data}


def _write_document(file: File) -> Block | None:
    """A PDF or a plain text as a document block; None for any other file."""
    if not file.data:
        return None
    media_type, data = read_data_url(file.data) or (_guess_type(file.name or ""), file.data)
    source: Block | None = None
    if media_type == "application/pdf" and data:
        source = {"type": "base64", "media_type": media_type, "data": data}
    elif media_type.startswith("text/"):
        text = _decode_text(data)
        source = None if not text else {"type": "text", "media_type": "text/plain", "data": text}
    if source is None:
        return None
    return {"type": "document", "source": source} | ({"title": file.name} if file.name else {})


def _guess_type(name: str) -> str:
    ending = name.lower().rpartition(".")[2]
    return {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv"}.get(ending, "")


def _decode_text(data: str) -> str | None:
    try:
        return b64decode(data, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None


def _write_reasoning(block: Reasoning) -> Block:
    if block.data is not None:
        return _with_native({"type": "redacted_thinking", "data": block.data}, block.native)
    return _with_native({"type": "thinking", "thinking": block.text, "signature": block.signature}, block.native)


def _write_call(call: ToolCall) -> Block:
    name, given = call.name, read_arguments(call.arguments)
    return _with_native({"type": "tool_use", "id": write_call_id(call.id), "name": name, "input": given}, call.native)
