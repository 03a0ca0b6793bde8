"""JSON Schemas at load: every way to write one, every way to get it wrong; nothing is ever fetched."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.config import ENDPOINT, PROJECT, SOUND, mistakes_in, read

SCHEMA = {"type": "object", "properties": {"n": {"multipleOf": 0.5}}}
PLACE = "projects[0].endpoints[0].input_schema"


@pytest.mark.parametrize(
    "written",
    [
        '{ type = "object", properties = { n = { multipleOf = 0.5 } } }',
        f"'{json.dumps(SCHEMA)}'",
        '"file:schema.json"',
    ],
    ids=["table", "text", "file"],
)
def test_ways_to_write_one(tmp_path: Path, written: str) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))

    settings = read(f"{SOUND}input_schema = {written}\n", folder=tmp_path)

    assert SCHEMA == settings.projects[UUID(PROJECT)].endpoints["a"].input_schema


@pytest.mark.parametrize("written", ["true", "false", "'true'"])
def test_boolean_schemas(written: str) -> None:
    settings = read(f"{SOUND}output_schema = {written}\n")

    assert (written.strip("'") == "true") is settings.projects[UUID(PROJECT)].endpoints["a"].output_schema


def test_equal_schemas_are_one_object() -> None:
    line = 'input_schema = { type = "object" }\n'

    endpoints = read(SOUND + line + ENDPOINT.replace('"a"', '"b"') + line).projects[UUID(PROJECT)].endpoints

    assert endpoints["a"].input_schema is endpoints["b"].input_schema


@pytest.mark.parametrize(
    ("schema", "mistake"),
    [
        ({"type": "objct"}, ".type: 'objct' is not valid under any of the given schemas"),
        ({"properties": {"a": {"minimum": "x"}}}, ".properties.a.minimum: 'x' is not of type 'number'"),
        ({"$ref": "http://127.0.0.1:9/x"},
         ': the reference to "http://127.0.0.1:9/x" leaves the schema, and nothing is ever fetched'),
        ({"properties": {"a": {"$ref": "other.json#/x"}}},
         ': the reference to "other.json#/x" leaves the schema, and nothing is ever fetched'),
        ({"$ref": "#/definitions/none"}, ": Pointer '/definitions/none' does not exist"),
        ({"$schema": "http://example.com/mine"}, '."$schema": "http://example.com/mine" is no draft we know: '),
        ({"$schema": 3}, '."$schema": an integer is no draft we know: '),
        ({"pattern": "("}, "not a regular expression, or one that linear-time matching cannot do"),
        ({"pattern": "(?=a)"}, "not a regular expression, or one that linear-time matching cannot do"),
    ],
)  # fmt: skip
def test_invalid_schema(schema: object, mistake: str) -> None:
    (said,) = mistakes_in(f"{SOUND}input_schema = '{json.dumps(schema)}'\n")

    assert said.startswith(PLACE)
    assert mistake in said


@pytest.mark.parametrize(
    "draft", ["http://json-schema.org/draft-04/schema#", "https://json-schema.org/draft/2020-12/schema"]
)
def test_other_drafts(draft: str) -> None:
    schema = {"$schema": draft, "type": "object"}

    assert [] == mistakes_in(f"{SOUND}input_schema = '{json.dumps(schema)}'\n")


@pytest.mark.parametrize("values", [[], ["a", "a"]])
def test_draft_4_is_read_as_strictly_as_it_is_written(values: list[str]) -> None:
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "enum": values}

    (said,) = mistakes_in(f"{SOUND}input_schema = '{json.dumps(schema)}'\n")

    assert said.startswith(f"{PLACE}.enum: ")


@pytest.mark.parametrize(
    ("written", "mistake"),
    [
        ("3", 'expected a table, a boolean, JSON text or "file:PATH", found an integer'),
        ("'{'", "not JSON: Expecting property name enclosed in double quotes (at line 1, column 2)"),
        ("'NaN'", "not JSON: NaN"),
        ("'[]'", "a JSON Schema is an object or a boolean"),
        ("'" + "[" * 100_000 + "'", "nested too deeply"),
        ("'file:none'", 'file "/nonexistent/none" does not exist'),
    ],
)
def test_no_schema_at_all(written: str, mistake: str) -> None:
    assert [f"{PLACE}: {mistake}"] == mistakes_in(f"{SOUND}input_schema = {written}\n")


def test_large_schema_file(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_bytes(b" " * (1024 * 1024 + 1))

    (mistake,) = mistakes_in(f"{SOUND}input_schema = 'file:big.json'\n", folder=tmp_path)

    assert mistake.endswith("is over 1048576 bytes")
