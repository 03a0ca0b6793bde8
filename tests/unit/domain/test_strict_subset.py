"""An endpoint's `output_schema` as `response_format`: strict exactly where strict decoding takes it."""

from __future__ import annotations

from typing import Any

import pytest

from pg_trio.domain.strict_subset import MAX_LEVELS, MAX_PROPERTIES, enforced_format, is_strict


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = closed(a=schema)
    return schema


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(a=TEXT, b={"type": ["integer", "null"], "minimum": 0}),
        closed(a={"type": "array", "items": closed(b=TEXT), "maxItems": 3}),
        closed(a={"anyOf": [TEXT, closed(b=TEXT)]}),
        closed(a={"$ref": "#/$defs/b"}) | {"$defs": {"b": closed(c=TEXT)}},
        closed(a={"enum": ["x", 1]}, b={"type": "string", "format": "date"}),
        nested(MAX_LEVELS),
    ],
)
def test_subset_is_strict(schema: dict[str, Any]) -> None:
    assert is_strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "array", "items": TEXT},
        {"type": "object"},
        closed(a=TEXT) | {"required": []},
        closed(a=TEXT) | {"additionalProperties": True},
        closed(a={"type": "object", "properties": {"b": TEXT}, "required": ["b"]}),
        closed(a={"properties": {"b": TEXT}}),
        closed(a={"type": "array", "items": {"type": "object"}}),
        closed(a={"anyOf": [TEXT, {"type": "object"}]}),
        closed(a={"oneOf": [TEXT]}),
        closed(a={"type": "string", "minLength": 1}),
        closed(a={"type": "string", "format": "iri"}),
        closed(a={"type": "string", "default": "x"}),
        closed(a=True),
        closed(a={"$ref": "#/$defs/b"}) | {"$defs": {"b": {"type": "object"}}},
        nested(MAX_LEVELS + 2),
        closed(**{f"p{number}": TEXT for number in range(MAX_PROPERTIES + 1)}),
    ],
)
def test_anything_else_is_not(schema: dict[str, Any]) -> None:
    assert not is_strict(schema)


def test_schema_is_sent_under_the_endpoint_s_name() -> None:
    wanted = enforced_format("triage", {"$schema": "http://json-schema.org/draft-07/schema#", **closed(a=TEXT)})

    assert {"name": "triage", "schema": closed(a=TEXT), "strict": True} == wanted.raw["json_schema"]
    assert ("json_schema", "triage", closed(a=TEXT), True) == (wanted.kind, wanted.name, wanted.schema, wanted.strict)


def test_schema_outside_the_subset_is_sent_all_the_same() -> None:
    assert enforced_format("a", {"minLength": 1}).raw["json_schema"] == {
        "name": "a",
        "schema": {"minLength": 1},
        "strict": False,
    }


@pytest.mark.parametrize("schema", [True, False])
def test_boolean_asks_for_json(schema: bool) -> None:
    assert {"type": "json_object"} == enforced_format("a", schema).raw
