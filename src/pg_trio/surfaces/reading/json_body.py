"""Turn the bytes of a body into a JSON object, or into a 400 that says what is wrong with it.

Rules:
1. JSON is what orjson accepts: UTF-8 without a byte order mark, no NaN, no number beyond a double, no lone surrogate.
2. Of the fields that a surface knows, each is there at most once: there is no "last one wins" between duplicate keys.
3. Error texts never quote the client's text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from pg_trio.domain.chat import Json
from pg_trio.domain.json_size import MAX_NODES, has_too_many_nodes
from pg_trio.errors import BadRequest

# \u0041-\u007a: the only escapes that can spell the letters of a key. Clients escape ", \, controls and non-ASCII.
_ESCAPED_LETTERS = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")


def literal_keys(fields: Iterable[str]) -> Mapping[str, bytes]:
    """Each field's key as nearly every client writes it, for `read_json_object`."""
    return {field: f'"{field}"'.encode() for field in fields}


def read_json_object(body: bytes, max_depth: int, keys: Mapping[str, bytes]) -> dict[str, Json]:
    """The object in the body. `keys` are the fields that the surface knows, from `literal_keys`.

    Raises: BadRequest if the body is no object, is too large or too deep, or has one of the fields twice.
    """
    fields = _read_object(body)
    # With no more brackets than levels, the body cannot be too deep. Two counts settle this for nearly every chat.
    if body.count(b"{") + body.count(b"[") > max_depth:
        _check_depth(fields, max_depth)
    _check_duplicates(fields, body, keys)
    return fields


def _read_object(body: bytes) -> dict[str, Json]:
    # A body of fewer bytes has not so many.
    if len(body) > MAX_NODES and has_too_many_nodes(body):
        raise BadRequest(f"Body has more than {MAX_NODES} objects, lists and keys.")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson's texts are fixed and quote nothing. Only its "str is not valid UTF-8" would confuse a client.
        said = "invalid UTF-8" if "UTF-8: " in error.msg else str(error)
        raise BadRequest(f"Body is not valid JSON: {said}.") from None
    if not isinstance(fields, dict):
        raise BadRequest("Body must be a JSON object.")
    return fields


def _check_depth(fields: Json, max_depth: int) -> None:
    level = [fields]
    for _ in range(max_depth):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise BadRequest(f"Body is nested deeper than {max_depth} levels.")


def _check_duplicates(fields: dict[str, Json], body: bytes, keys: Mapping[str, bytes]) -> None:
    for field in fields:
        literal = keys.get(field)
        if literal is not None and body.count(literal) > 1:
            break
    else:
        if b"\\u00" not in body or not any(escape in body for escape in _ESCAPED_LETTERS):
            return
    # One of the fields may be there twice. A second, slow parser shows every key.
    seen: set[str] = set()
    for key in _top_level_keys(body):
        if key in seen and key in keys:
            raise BadRequest(f"{key}: is there more than once.")
        seen.add(key)


def _top_level_keys(body: bytes) -> list[str]:
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        # Called once for each object, the outermost last.
        nonlocal outermost
        outermost = pairs

    # Numbers stay text: Python refuses integers of more than 4,300 digits, and orjson has accepted them already.
    json.loads(body.decode(), object_pairs_hook=keep, parse_int=str, parse_float=str)
    return [key for key, _ in outermost]
