"""JSON Schemas as providers with constrained decoding take them: a subset, every object closed.

What the subset lacks (bounds, lengths, patterns, most formats) is told to the model in the description, and still
checked by the endpoint's own `output_schema`. Source: Anthropic's page "Structured outputs" and the transformation of
its Python SDK (facts only), read 2026-11.
"""

from __future__ import annotations

import orjson

from pg_trio.domain.json_value import Json, JsonObject

FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_KEPT = frozenset({"type", "enum", "const", "$ref", "title", "required"})
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
# Levels of a schema: what clients send is bounded by `max_json_depth` as well.
MAX_DEPTH = 64


def close_schema(schema: JsonObject, depth: int = 0) -> dict[str, Json]:
    """The schema in the subset; what had to go is in its descriptions."""
    if depth > MAX_DEPTH:
        return {}
    closed: dict[str, Json] = {key: schema[key] for key in schema if key in _KEPT}
    for key, name in _LISTS.items():
        if isinstance(schema.get(key), list):
            closed[name] = [_close(each, depth) for each in schema[key]]
    for key in ("$defs", "definitions"):
        if isinstance(schema.get(key), dict):
            closed[key] = {name: _close(each, depth) for name, each in schema[key].items()}
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties")
        closed["type"] = "object"
        closed["properties"] = (
            {name: _close(each, depth) for name, each in properties.items()} if isinstance(properties, dict) else {}
        )
        closed["additionalProperties"] = False
    if "items" in schema:
        closed["items"] = _close(schema["items"], depth)
    if schema.get("format") in FORMATS:
        closed["format"] = schema["format"]
    if schema.get("minItems") in (0, 1):
        closed["minItems"] = schema["minItems"]
    return _describe(schema, closed)


def _close(schema: Json, depth: int) -> Json:
    return close_schema(schema, depth + 1) if isinstance(schema, dict) else schema


def _describe(schema: JsonObject, closed: dict[str, Json]) -> dict[str, Json]:
    description = schema.get("description")
    left = {key: schema[key] for key in schema if key not in closed and key not in _SAID and key not in _LISTS}
    if left:
        rules = ", ".join(f"{key}: {orjson.dumps(left[key]).decode()}" for key in left)
        description = f"{description}\n\n{{{rules}}}" if isinstance(description, str) else f"{{{rules}}}"
    if isinstance(description, str):
        closed["description"] = description
    return closed


_SAID = frozenset({"description", "$schema", "$id", "$comment", "default", "examples", "additionalProperties"})
