"""An endpoint's `output_schema` as the `response_format` for providers, strict if the schema allows it.

Rules:
1. Strict decoding takes a subset of JSON Schema: every object is closed, every property is required, and every keyword
   is known. Outside the subset, `strict` is a 400, so the schema is sent without it and the model may deviate. The
   gateway checks the answer against the schema in any case.
2. A boolean schema describes nothing, so it becomes a request for any JSON object.

Source: OpenAI, "Structured model outputs", section "Supported schemas", read 2026-11.
"""

from __future__ import annotations

from pg_trio.domain.json_value import Json, JsonObject
from pg_trio.domain.options import ResponseFormat

# OpenAI's limits: levels of nesting, total properties, and total characters of names and enum values.
MAX_LEVELS = 10
MAX_PROPERTIES = 5_000

_KNOWN = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs"}
    | {"definitions", "description", "title", "pattern", "format", "multipleOf", "maximum", "exclusiveMaximum"}
    | {"minimum", "exclusiveMinimum", "minItems", "maxItems"}
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
# These keywords describe the document, not the value. They are not sent.
_OF_THE_DOCUMENT = frozenset({"$schema", "$id", "$comment"})


def enforced_format(name: str, schema: JsonObject | bool) -> ResponseFormat:
    """The `response_format` of an endpoint. OpenAI accepts this name: at most 64 characters of `a-z0-9-`."""
    if isinstance(schema, bool):
        return ResponseFormat.of({"type": "json_object"})
    sent = {key: schema[key] for key in schema if key not in _OF_THE_DOCUMENT}
    described = {"name": name, "schema": sent, "strict": is_strict(sent)}
    return ResponseFormat.of({"type": "json_schema", "json_schema": described})


def is_strict(schema: JsonObject) -> bool:
    """Whether a provider's strict decoding accepts the schema unchanged."""
    if schema.get("type") != "object":
        return False
    left = [MAX_PROPERTIES]
    return _is_strict(schema, 0, left) and left[0] >= 0


def _is_strict(schema: Json, levels: int, left: list[int]) -> bool:
    """The same for a part of the schema. `left` counts down the properties that the whole may have."""
    if not isinstance(schema, dict) or levels > MAX_LEVELS or not schema.keys() <= _KNOWN:
        return False
    if "format" in schema and schema["format"] not in _FORMATS:
        return False
    properties = schema.get("properties", {})
    if not isinstance(properties, dict) or ("object" in _types(schema) and not _is_closed(schema, properties)):
        return False
    left[0] -= len(properties)
    named = [part for key in ("$defs", "definitions") for part in _values(schema.get(key, {}))]
    listed = schema.get("anyOf", [])
    inner = [*properties.values(), *([schema["items"]] if "items" in schema else [])]
    if not isinstance(listed, list) or left[0] < 0:
        return False
    return all(_is_strict(part, levels + 1, left) for part in (*inner, *listed, *named))


def _types(schema: JsonObject) -> list[Json]:
    given = schema.get("type", "object" if "properties" in schema else [])
    return given if isinstance(given, list) else [given]


def _is_closed(schema: JsonObject, properties: JsonObject) -> bool:
    required = schema.get("required", [])
    return (
        schema.get("additionalProperties") is False and isinstance(required, list) and set(required) == set(properties)
    )


def _values(named: Json) -> list[Json]:
    return list(named.values()) if isinstance(named, dict) else [named]
