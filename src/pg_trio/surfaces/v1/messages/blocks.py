"""One content block of a Messages request as a neutral value.

A block that neutral values cannot say (a source at another address, a search result, blocks of server tools, types
that the gateway does not know) becomes a NativePart, which goes to Anthropic as it came. The guardrails read its texts.

Source: Messages API reference; "Vision", "PDF support", "Extended thinking", "Tool use", read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import orjson

from pg_trio.domain.chat import Json, JsonObject, Message, Reasoning
from pg_trio.domain.content import File, Image, NativePart, Part, Text
from pg_trio.domain.native_fields import NativeTurn
from pg_trio.domain.tools import ToolCall
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import BASE64, check_object, check_string, check_text, read_flag

_KIND = re.compile(r"[a-z0-9_]{1,64}")
# 2,048 characters: the limit of search engines and old browsers for an address.
_URL = re.compile(r"https?://[!-~]{1,2040}")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}")
# 1 MiB of base64: three times the size of Anthropic's longest thinking, which a signature may hold encrypted.
_OPAQUE = re.compile(r"[A-Za-z0-9+/_=-]{1,1048576}")

_TEXT = frozenset({"type", "text"})
_SOURCE = frozenset({"type", "source"})
_DOCUMENT = frozenset({"type", "source", "title"})
_RESULT = frozenset({"type", "tool_use_id", "content"})
_CALL = frozenset({"type", "id", "name", "input"})
_THINKING = frozenset({"type", "thinking", "signature"})
_REDACTED = frozenset({"type", "data"})
_BASE64_SOURCE = frozenset({"type", "media_type", "data"})


def without(fields: JsonObject, known: frozenset[str]) -> JsonObject | None:
    """The fields that a neutral value does not say; None if there are none."""
    return None if fields.keys() <= known else {name: item for name, item in fields.items() if name not in known}


def check_cache_mark(fields: JsonObject, path: str) -> None:
    """Return if `cache_control`, if it is there, is an object. Raises: BadRequest."""
    if fields.get("cache_control") is not None:
        check_object(fields["cache_control"], f"{path}.cache_control")


def read_kind(block: JsonObject, path: str) -> str:
    """The block's type. Raises: BadRequest."""
    check_cache_mark(block, path)
    kind = block.get("type")
    if not isinstance(kind, str):
        raise BadRequest(f"{path}.type: must be a string.")
    if _KIND.fullmatch(kind) is None:
        raise BadRequest(f"{path}.type: must be a word.")
    return kind


def read_part(kind: str, block: dict[str, Json], path: str) -> Part:
    """A block of content. Raises: BadRequest naming the field."""
    read = _READERS.get(kind)
    return NativePart(block) if read is None else read(block, path)


def read_call(block: dict[str, Json], path: str) -> ToolCall:
    """A `tool_use` block."""
    check_text(block.get("id"), f"{path}.id")
    check_text(block.get("name"), f"{path}.name")
    given = check_object(block.get("input"), f"{path}.input")
    try:
        arguments = orjson.dumps(given).decode()
    except orjson.JSONEncodeError:
        # orjson reads 1,024 levels and writes 254.
        raise BadRequest(f"{path}.input: is nested too deeply.") from None
    return ToolCall(block["id"], block["name"], arguments, native=without(block, _CALL))


def read_thinking(kind: str, block: dict[str, Json], path: str) -> Reasoning:
    """A `thinking` or a `redacted_thinking` block. One without a signature is for no provider, but its text is read."""
    if kind == "redacted_thinking":
        data = block.get("data")
        if not isinstance(data, str) or _OPAQUE.fullmatch(data) is None:
            raise BadRequest(f"{path}.data: must be base64.")
        return Reasoning("", data=data, native=without(block, _REDACTED))
    thought, signature = block.get("thinking"), block.get("signature")
    if not isinstance(thought, str):
        raise BadRequest(f"{path}.thinking: must be a string.")
    if not isinstance(signature, str | None):
        raise BadRequest(f"{path}.signature: must be a string.")
    if signature and _OPAQUE.fullmatch(signature) is None:
        raise BadRequest(f"{path}.signature: must be base64.")
    return Reasoning(thought, signature or None, native=without(block, _THINKING))


def read_result_message(block: dict[str, Json], path: str) -> Message:
    """A `tool_result` block as a tool's message."""
    check_text(block.get("tool_use_id"), f"{path}.tool_use_id")
    if block.get("is_error") is not None:
        read_flag(block["is_error"], f"{path}.is_error")
    content = block.get("content")
    if content is None:
        content = ""
    elif isinstance(content, list):
        content = tuple(_read_parts(content, f"{path}.content"))
    elif not isinstance(content, str):
        raise BadRequest(f"{path}.content: must be a string or a list of blocks.")
    native = NativeTurn(result=without(block, _RESULT))
    return Message("tool", content, tool_call_id=block["tool_use_id"], native=native)


def _read_parts(blocks: list[Json], path: str) -> Iterable[Part]:
    for index, block in enumerate(blocks):
        where = f"{path}[{index}]"
        yield read_part(read_kind(check_object(block, where), where), block, where)


# ── one reader a type ────────────────────────────────────────────────────────────────────────────────────────────────


def _read_text(block: dict[str, Json], path: str) -> Part:
    text = block.get("text")
    if not isinstance(text, str):
        raise BadRequest(f"{path}.text: must be a string.")
    return Text(text, without(block, _TEXT))


def _read_image(block: dict[str, Json], path: str) -> Part:
    source = check_object(block.get("source"), f"{path}.source")
    kind = read_kind(source, f"{path}.source")
    native = without(block, _SOURCE)
    if kind == "url":
        url = source.get("url")
        if not isinstance(url, str):
            raise BadRequest(f"{path}.source.url: must be a string.")
        if _URL.fullmatch(url) is None:
            raise BadRequest(f"{path}.source.url: must be an http or https address.")
        return Image(url, native=native) if source.keys() == {"type", "url"} else NativePart(block)
    if kind != "base64":
        return NativePart(block)
    return Image(_data_url(source, f"{path}.source"), native=_with_source(native, source))


def _read_document(block: dict[str, Json], path: str) -> Part:
    source = check_object(block.get("source"), f"{path}.source")
    kind, title = read_kind(source, f"{path}.source"), block.get("title")
    if not isinstance(title, str | None):
        raise BadRequest(f"{path}.title: must be a string.")
    if kind == "base64":
        url = _data_url(source, f"{path}.source")
        return File(data=url, name=title, native=_with_source(without(block, _DOCUMENT), source))
    return NativePart(block, _text_of_document(kind, source, title, f"{path}.source"))


def _text_of_document(kind: str, source: JsonObject, title: str | None, path: str) -> tuple[Text | Image, ...] | None:
    """What other wires are sent for a document that is text; None for a document at another place."""
    head = () if not title else (Text(title), Text("\n\n"))
    if kind == "text":
        if not isinstance(source.get("data"), str):
            raise BadRequest(f"{path}.data: must be a string.")
        return (*head, Text(source["data"]))
    if kind != "content":
        return None
    content = source.get("content")
    if isinstance(content, str):
        return (*head, Text(content))
    if not isinstance(content, list):
        raise BadRequest(f"{path}.content: must be a string or a list of blocks.")
    parts = list(_read_parts(content, f"{path}.content"))
    plain = [Text(part.text) if isinstance(part, Text) else part for part in parts if isinstance(part, Text | Image)]
    return (*head, *plain) if len(plain) == len(parts) else None


def _data_url(source: JsonObject, path: str) -> str:
    media_type = source.get("media_type")
    if not isinstance(media_type, str) or _MEDIA_TYPE.fullmatch(media_type) is None:
        raise BadRequest(f"{path}.media_type: must be a media type.")
    check_string(source.get("data"), BASE64, f"{path}.data")
    return f"data:{media_type};base64,{source['data']}"


def _with_source(native: JsonObject | None, source: JsonObject) -> JsonObject | None:
    """The native fields, with a source that has more fields than the value says."""
    return native if source.keys() == _BASE64_SOURCE else {**(native or {}), "source": source}


_READERS: Final[dict[str, Callable[[dict[str, Json], str], Part]]] = {
    "text": _read_text,
    "image": _read_image,
    "document": _read_document,
}
