"""Finds a provider's error message in any envelope.

Rules:
1. A message for people is preferred to a name for machines, and the innermost message to its envelope. Two that
   complement each other (a title and its detail, "Provider returned error" and its reason) are joined.
2. Keys are the same in any case and spelling (`errorMessage`, `error_message`, `Message`).
3. JSON inside a text is parsed. Other text is plain text; of a page only its title is used.
4. The result is not masked and may be long: `refusal.mask_for` masks and cuts it.

Envelopes, with a provider for each: {"error": {"message"}} (OpenAI, Groq, Together, Ollama), [{"error": …}] (Google),
{"error": text} (Ollama, Hugging Face), {"message"} (Mistral), {"detail": text or [{"loc", "msg"}]} (FastAPI), {"title",
"detail"} (RFC 9457), {"error": name, "message"} (Fastify, Spring, NestJS), {"Message"}, {"__type"} (AWS), {"errors":
[{"message"}]} (Cloudflare, JSON:API), {"error": {"message", "metadata": {"raw"}}} (OpenRouter), {"error",
"error_description"} (OAuth), {"base_resp": {"status_msg"}} (MiniMax), {"Response": {"Error": {"Message"}}} (Tencent),
{"fault": {"faultstring"}} (Apigee), server-sent events (llama.cpp, and servers that fail during a stream).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

import orjson

from pg_trio.domain.chat import Json
from pg_trio.providers.json_text import read_json
from pg_trio.providers.retry_after import ERROR_BODY_BYTES

# Characters kept of one text before it is masked; `mask_secrets` shows 500 characters of it.
TEXT_CHARS = 4096

# Envelopes nest four deep, behind two gateways twice as deep, as texts in texts. Deeper ones are not read.
_MAX_DEPTH = 16
# The number of objects and lists that are read, each once.
_MAX_NODES = 256
# A validation error lists each field; the first ones are enough.
_MAX_ITEMS = 3
_MAX_FIELDS = 64

# The search order for a message: objects that hold one, then texts, then names for machines.
_INNER = (
    "error",
    "errors",
    "err",
    "response",
    "baseresp",
    "fault",
    "exception",
    "innererror",
    "result",
    "data",
    "body",
)
_TEXTS = (
    *("message", "msg", "errormessage", "errormsg", "errmsg", "errordescription", "statusmsg", "statusmessage"),
    *("faultstring", "detail", "details", "description", "reason", "error", "errors", "err", "exception", "cause"),
    *("response", "text", "info", "hint", "raw"),
)
_NAMES = ("title", "code", "type", "errorcode", "errortype", "status", "name", "statustext")
# Field values that mean that there is no error.
_NOTHING = frozenset({"", "null", "none", "nil", "ok", "success", "no error", "0", "200", "false", "n/a", "undefined"})

_CUT_MESSAGE = re.compile(
    r"""["'](?:message|msg|detail|error|error_message|errorMessage)["']\s*:\s*(["'])((?:(?!\1)[^\\]|\\.)+)""",
    re.IGNORECASE,
)
_XML_MESSAGE = re.compile(rb"<(?:\w+:)?(message|faultstring|reason)>([^<]{1,2000})<", re.IGNORECASE)
_TITLE = re.compile(rb"<(?:title|h1)\b[^>]{0,200}>([^<]{1,300})<", re.IGNORECASE)
_SSE_LINE = re.compile(rb"^(?:data|error):(.*)$", re.MULTILINE)
_PAGE_BYTES = 16 * 1024
# Headers that may have a reason if the body has none (AWS, gRPC over HTTP, Azure).
_HEADERS = ("x-amzn-errormessage", "x-amzn-errortype", "grpc-message", "x-ms-error-code", "x-error-message")


def read_words(headers: Mapping[str, str], body: bytes) -> str | None:
    """The message in the body of a failure, or None."""
    said = None
    if len(body) <= ERROR_BODY_BYTES:
        said = _read_body(headers.get("content-type", "").lower(), body)
    if said is None:
        said = next((headers[name] for name in _HEADERS if headers.get(name)), None)
    return said


def read_error_message(answer: Json) -> str | None:
    """The message in an error's JSON, or None."""
    return _find(answer, 0, {}) or _find_name(answer, 0)


def says_error(error: Json) -> bool:
    """Whether an `error` field means an error: null, "", {} and an object of such values do not."""
    rest = [error]
    for _ in range(_MAX_FIELDS):
        if not rest:
            return False
        node = rest.pop()
        if isinstance(node, dict):
            rest.extend(node.values())
        elif isinstance(node, list):
            rest.extend(node)
        elif isinstance(node, str):
            if node.strip().lower() not in _NOTHING:
                return True
        elif node and node != 200:
            return True
    return True


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plain(key: str) -> str:
    return "".join(filter(str.isalnum, key)).lower()


# The objects already read, by identity. They are kept alive, so that no other object can get the same identity.
_Seen: TypeAlias = dict[int, Json]


def _find(node: Json, depth: int, seen: _Seen) -> str | None:
    """The message in this value, or None."""
    if isinstance(node, str):
        return _open_text(node, depth, seen)
    if depth > _MAX_DEPTH or id(node) in seen or len(seen) >= _MAX_NODES:
        return None
    seen[id(node)] = node
    if isinstance(node, list):
        return _join([_find_item(item, depth + 1, seen) for item in node[:_MAX_ITEMS]], "; ")
    if not isinstance(node, dict):
        return None
    fields = {_plain(key): value for key, value in list(node.items())[:_MAX_FIELDS]}
    message = _find_message(fields, depth, seen)
    title = fields.get("title")
    if isinstance(title, str) and message is not None:
        message = _join([title, message], ": ")
    return _join([message, _find_more(fields, depth, seen)], ": ")


def _find_message(fields: dict[str, Json], depth: int, seen: _Seen) -> str | None:
    for name in _INNER:
        inner = fields.get(name)
        # A list of errors complements the message beside it (`_find_more`).
        if isinstance(inner, dict) or (isinstance(inner, list) and "message" not in fields):
            said = _find(inner, depth + 1, seen)
            if said is not None:
                return said
    for name in _TEXTS:
        said = _find(fields.get(name), depth + 1, seen)
        if said is not None:
            return said
    by_field = fields.get("errors")
    if isinstance(by_field, dict):
        # {"errors": {"model": ["is unknown"]}} (Rails, Laravel).
        return _find(list(by_field.values()), depth + 1, seen)
    # Any other object inside an object.
    inner_values = [value for value in fields.values() if isinstance(value, dict)]
    return next((said for value in inner_values if (said := _find(value, depth + 1, seen)) is not None), None)


def _find_more(fields: dict[str, Json], depth: int, seen: _Seen) -> str | None:
    """The reason inside the envelope of a general message."""
    metadata = fields.get("metadata")
    if isinstance(metadata, dict):
        return _find(metadata.get("raw"), depth + 1, seen)
    if isinstance(fields.get("errors"), list) and "message" in fields:
        return _find(fields["errors"], depth + 1, seen)
    return None


def _find_item(item: Json, depth: int, seen: _Seen) -> str | None:
    """The message of one item of a list of errors, with its place if it names one (FastAPI's `loc`)."""
    said = _find(item, depth, seen)
    if not isinstance(item, dict) or said is None:
        return said if not isinstance(item, dict) else _find_name(item, depth)
    place = item.get("loc")
    if not isinstance(place, list):
        return said
    return f"{'.'.join(str(step) for step in place if isinstance(step, str | int))}: {said}"


def _find_name(node: Json, depth: int) -> str | None:
    """A name for machines, if there is no message for people: `insufficient_quota`."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(node, list):
        return next((said for item in node[:_MAX_ITEMS] if (said := _find_name(item, depth + 1)) is not None), None)
    if not isinstance(node, dict):
        return None
    fields = {_plain(key): value for key, value in list(node.items())[:_MAX_FIELDS]}
    for inner in fields.values():
        if isinstance(inner, dict | list) and (said := _find_name(inner, depth + 1)) is not None:
            return said
    texts = [fields.get(name) for name in _NAMES]
    return next((text for text in texts if isinstance(text, str) and _says(text) and not text.isdigit()), None)


def _open_text(text: str, depth: int, seen: _Seen) -> str | None:
    text = text.strip()
    if text[:1] in ("{", "[") and text[-1:] in ("}", "]") and depth <= _MAX_DEPTH:
        try:
            said = _find(orjson.loads(text), depth + 1, seen)
        except orjson.JSONDecodeError:
            said = None
        if said is not None:
            return said
    return text[:TEXT_CHARS] if _says(text) else None


def _says(text: str) -> bool:
    return text.strip().lower() not in _NOTHING


def _join(texts: list[str | None], joint: str) -> str | None:
    """The texts joined, without those that another one contains."""
    joined: list[str] = []
    for text in texts:
        if text and not any(text in other for other in joined):
            joined = [other for other in joined if other not in text]
            joined.append(text)
    return joint.join(joined) or None


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_body(content_type: str, body: bytes) -> str | None:
    start = body.removeprefix(b"\xef\xbb\xbf")[:64].lstrip()
    if "html" in content_type or start[:1] == b"<":
        return _read_page(body[:_PAGE_BYTES])
    try:
        return read_error_message(read_json(body))
    except orjson.JSONDecodeError:
        pass
    if start.startswith((b"data:", b"event:", b"error:", b":", b"id:", b"retry:")):
        return _read_events(body)
    return _read_plain_text(start[:1], body)


def _read_page(page: bytes) -> str:
    xml = _XML_MESSAGE.search(page)
    if xml is not None and b"<html" not in page[:1024].lower():
        return xml[2].decode("utf-8", "replace")
    title = _TITLE.search(page)
    words = "" if title is None else title[1].decode("utf-8", "replace").strip()
    return f"HTML page: {words}" if words else "HTML page"


def _read_events(body: bytes) -> str | None:
    """The message of the first event that has one."""
    for number, line in enumerate(_SSE_LINE.finditer(body)):
        if number == _MAX_FIELDS:
            break
        said = _read_body("", line[1].strip())
        if said is not None and said != "[DONE]":
            return said
    return None


def _read_plain_text(first: bytes, body: bytes) -> str | None:
    text = body[:TEXT_CHARS].decode("utf-8", "replace")
    if "\x00" in text or text.count("�") > 1:
        return None
    if first in (b"{", b"["):
        # Cut JSON, or Python's notation: the message in it is still used.
        found = _CUT_MESSAGE.search(text)
        return None if found is None else found[2]
    return text if text.strip() else None
