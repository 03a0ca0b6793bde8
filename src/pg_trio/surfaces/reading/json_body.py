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

# Every escape that can spell a letter of a key begins so.
ESCAPED = b"\\u00"
# \u0041-\u007a: the only escapes that can spell the letters of a key. Clients escape ", \, controls and non-ASCII.
_ESCAPED_LETTERS = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")


def literal_keys(fields: Iterable[str]) -> Mapping[str, bytes]:
    """Each field's key as nearly every client writes it, for `read_json_object`."""
    return {field: f'"{field}"'.encode() for field in fields}


def read_json_object(body: bytes, max_depth: int, keys: Mapping[str, bytes]) -> dict[str, Json]:
    """The object in the body. `keys` are the fields that the surface knows, from `literal_keys`.

    Raises: BadRequest if the body is no object, is too large or too deep, or has one of the fields twice.
    """
    fields = parse_object(body)
    check_once(fields, body, max_depth, keys)
    check_depth(fields, body, max_depth)
    return fields


def parse_object(body: bytes) -> dict[str, Json]:
    """The same, as the parser makes it: the rest is for `check_once` and `check_depth`. Raises: BadRequest."""
    if len(body) > MAX_NODES and has_too_many_nodes(body):
        raise BadRequest(f"Body has more than {MAX_NODES} objects, lists and keys.")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _no_json(error) from None
    if type(fields) is not dict:
        raise BadRequest("Body must be a JSON object.")
    return fields


def check_once(fields: dict[str, Json], body: bytes, max_depth: int, keys: Mapping[str, bytes]) -> None:
    """Return if the object in this body has none of the known fields twice. Raises: BadRequest."""
    # From the end, because CPython searches backwards three to five times as fast as it counts.
    last = body.rfind
    for literal in map(keys.get, fields):
        if literal is not None and last(literal, 0, last(literal)) >= 0:
            break
    else:
        if last(ESCAPED) < 0:
            return
    try:
        _check_duplicates(fields, body, keys)
    except RecursionError:
        # The second parser takes fewer levels than orjson's 1,024, but more than the largest `max_depth`.
        raise _too_deep(max_depth) from None


def _no_json(error: orjson.JSONDecodeError) -> BadRequest:
    # orjson's texts are fixed and quote nothing. Only its "str is not valid UTF-8" would confuse a client.
    said = "invalid UTF-8" if "UTF-8: " in error.msg else str(error)
    return BadRequest(f"Body is not valid JSON: {said}.")


def check_depth(fields: dict[str, Json], body: bytes, max_depth: int) -> None:
    """Return if the object in this body is not nested deeper. Raises: BadRequest."""
    # With no more brackets than levels, the body cannot be too deep. Two counts settle this for most chats.
    if body.count(b"{") + body.count(b"[") <= max_depth:
        return
    check_levels(fields, max_depth)


def check_levels(fields: dict[str, Json], max_depth: int) -> None:
    """The same, with a look at every level. Raises: BadRequest."""
    level: list[Json] = [fields]
    for _ in range(max_depth):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise _too_deep(max_depth)


def _too_deep(max_depth: int) -> BadRequest:
    return BadRequest(f"Body is nested deeper than {max_depth} levels.")


def _check_duplicates(fields: dict[str, Json], body: bytes, keys: Mapping[str, bytes]) -> None:
    """Return if none of the fields is there twice: the search in the bytes cannot tell."""
    if not any(escape in body for escape in _ESCAPED_LETTERS) and all(
        body.count(keys[field]) == 1 for field in fields.keys() & keys.keys()
    ):
        return
    # A second, slow parser shows every key.
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
