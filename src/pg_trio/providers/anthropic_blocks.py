"""Messages, parts and calls as the content blocks of the Messages wire.

Images are JPEG, PNG, GIF or WebP in base64, or an https address that Anthropic fetches. Documents are PDFs in base64,
or plain text. Audio and uploads to another provider have no block, so a candidate cannot take them.

Source: Messages API reference; "Vision", "PDF support", "Extended thinking", read 2026-11.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode

from pg_trio.domain.chat import Message, Reasoning
from pg_trio.domain.content import Audio, File, Image, Part, Refusal, Text
from pg_trio.domain.tools import ToolCall
from pg_trio.providers.native_request import Block, parts_of, read_arguments, read_data_url

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
    content = [block for part in parts_of(message) if (block := _write_part(part)) is not None]
    if message.role == "tool":
        result: Block = {"type": "tool_result", "tool_use_id": write_call_id(message.tool_call_id or "")}
        return [{**result, "content": content} if content else result]
    reasoning = [_write_reasoning(block) for block in message.reasoning if block.signature or block.data]
    return [*reasoning, *content, *[_write_call(call) for call in message.tool_calls]]


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
        case Text() | Refusal():
            return text_block(part.text)
        case Image():
            source = _write_source(part.url)
            return None if source is None else {"type": "image", "source": source}
        case File():
            return _write_document(part)
        case Audio():
            return None


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
        return {"type": "redacted_thinking", "data": block.data}
    return {"type": "thinking", "thinking": block.text, "signature": block.signature}


def _write_call(call: ToolCall) -> Block:
    name, given = call.name, read_arguments(call.arguments)
    return {"type": "tool_use", "id": write_call_id(call.id), "name": name, "input": given}
