"""Server-sent events with JSON data, and the parts that several wires share."""

from __future__ import annotations

import orjson

from pg_trio.domain.json_value import Json

# One delta of a model's reasoning.
THOUGHT = "Hm. "


def event(data: Json) -> bytes:
    """An event without a name."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def named_event(data: dict[str, Json]) -> bytes:
    """An event with the name that its data has as `type`."""
    return b"event: %b\n%b" % (data["type"].encode(), event(data))


def read_arguments(arguments: str) -> dict[str, Json]:
    """A tool's arguments as an object. Empty if the text is not one (it may be cut, or wrong on purpose)."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}
    return given if isinstance(given, dict) else {}
