"""Server-sent events with JSON data, and what several wires say alike."""

from __future__ import annotations

import orjson

from pg_trio.domain.json_value import Json

# What a model says of its thoughts, one delta.
THOUGHT = "Hm. "


def event(data: Json) -> bytes:
    """An event without a name."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def named_event(data: dict[str, Json]) -> bytes:
    """An event that is named by its data's `type`."""
    return b"event: %b\n%b" % (data["type"].encode(), event(data))


def read_arguments(arguments: str) -> dict[str, Json]:
    """A tool's arguments as an object; none where the text is not one (it may be cut, or wrong on purpose)."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}
    return given if isinstance(given, dict) else {}
