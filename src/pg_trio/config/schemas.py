"""JSON Schemas of the configuration: read from a table, a boolean, JSON text or a file, and checked once each.

Rules:
1. Draft 7 unless `$schema` names another draft that we know.
2. A schema is compiled with the options of the request stages: linear-time patterns, no fetching. If that fails, the
   draft's own meta-schema says what is wrong and where.
3. Equal schemas are one object and checked once, because ten thousand endpoints often share a few.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import jsonschema_rs
from attrs import define, field, frozen

from pg_trio.config import mistakes as at
from pg_trio.config.bounds import MIB, show
from pg_trio.config.mistakes import Mistakes
from pg_trio.config.reading import FILE_PREFIX, MAX_SCHEMA_BYTES, read_text
from pg_trio.config.structuring import describe
from pg_trio.domain.chat import Json, JsonObject

# 200 characters: jsonschema quotes the whole offending value.
WHY_CHARS = 200
# 64 levels: the gateway's default for request bodies; a deeper schema could match none of them.
MAX_DEPTH = 64

# Each draft's class, of the same name in jsonschema and in jsonschema_rs.
_DRAFTS = {
    "http://json-schema.org/draft-04/schema": "Draft4Validator",
    "http://json-schema.org/draft-06/schema": "Draft6Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
    "https://json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    "https://json-schema.org/draft/2020-12/schema": "Draft202012Validator",
}
_DRAFT_7 = "http://json-schema.org/draft-07/schema"


@frozen(slots=True)
class _Checked:
    schema: JsonObject | bool
    wrong: tuple[tuple[at.Path, str], ...]


@define
class SchemaReader:
    """Reads the schemas of one configuration; `folder` is what `file:` paths are relative to."""

    folder: Path
    mistakes: Mistakes
    _checked: dict[str, _Checked] = field(factory=dict)
    # By the setting's value, if it is a text: JSON, or `file:PATH`.
    _by_text: dict[str, _Checked] = field(factory=dict)

    def read(self, value: object, path: at.Path) -> JsonObject | bool | None:
        """The setting's schema, shared between equal ones; None if it has a mistake."""
        checked = self._by_text.get(value) if isinstance(value, str) else None
        if checked is None:
            try:
                checked = self._check(self._load(value, path))
            except ValueError as error:
                self.mistakes.add(path, str(error))
                return None
            except RecursionError:
                self.mistakes.add(path, "nested too deeply")
                return None
            if isinstance(value, str):
                self._by_text[value] = checked
        for place, why in checked.wrong:
            self.mistakes.add((*path, *place), why)
        return None if checked.wrong else checked.schema

    def _check(self, document: Any) -> _Checked:
        text = json.dumps(document)
        if text not in self._checked:
            self._checked[text] = _Checked(document, tuple(_find_wrong(document)))
        return self._checked[text]

    def _load(self, value: object, path: at.Path) -> Any:
        if isinstance(value, bool):
            return value
        if isinstance(value, dict):
            return as_json(value, path, self.mistakes)
        if isinstance(value, str):
            if re.fullmatch(r"[^\s{}\[\]]+\.json", value) and not value.startswith(FILE_PREFIX):
                raise ValueError(f"looks like a file: write {show(FILE_PREFIX + value)}")
            document = _parse_json(self._read_file(value) if value.startswith(FILE_PREFIX) else value)
            if not isinstance(document, dict | bool):
                raise ValueError("a JSON Schema is an object or a boolean")
            return document
        raise ValueError(f'expected a table, a boolean, JSON text or "file:PATH", found {describe(value)}')

    def _read_file(self, reference: str) -> str:
        return read_text(self.folder / reference.removeprefix(FILE_PREFIX), MAX_SCHEMA_BYTES)


def as_json(value: object, path: at.Path, mistakes: Mistakes) -> Json:
    """A TOML value as JSON: decimals become floats; dates, infinities and too deep values are mistakes."""
    if isinstance(value, dict | list) and len(path) > MAX_DEPTH:
        mistakes.add(path[:MAX_DEPTH], "nested too deeply")
    elif isinstance(value, dict):
        return {key: as_json(item, (*path, key), mistakes) for key, item in value.items()}
    elif isinstance(value, list):
        return [as_json(item, (*path, index), mistakes) for index, item in enumerate(value)]
    elif isinstance(value, Decimal):
        number = float(value) if value.is_finite() else None
        if number is not None and abs(number) != float("inf"):
            return number
        mistakes.add(path, "JSON has no such number")
    elif isinstance(value, int) and value.bit_length() > 1024:
        # Beyond a double's range. Python would refuse to print the longest of these numbers.
        mistakes.add(path, "JSON has no such number")
    elif isinstance(value, bool | int | str):
        return value
    else:
        mistakes.add(path, f"JSON has no type for {describe(value)}")
    return None


def _parse_json(text: str) -> Any:
    if len(text) > MIB:
        raise ValueError(f"{len(text)} characters are above {MIB}")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (at line {error.lineno}, column {error.colno})") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"not JSON: {name}")


def _find_wrong(schema: Any) -> list[tuple[at.Path, str]]:
    named = schema.get("$schema", _DRAFT_7) if isinstance(schema, dict) else _DRAFT_7
    draft = _DRAFTS.get(named.removesuffix("#")) if isinstance(named, str) else None
    if draft is None:
        shown = show(named) if isinstance(named, str) else describe(named)
        return [(("$schema",), f"{shown} is no draft we know: {', '.join(_DRAFTS)}")]
    if draft == "Draft4Validator" and (errors := _explain(schema, draft)):
        # jsonschema_rs takes some of these: an `enum` without values, or with the same one twice.
        return errors
    try:
        # The same options as in stages/schemas: a schema that compiles here compiles there.
        compile_schema = getattr(jsonschema_rs, draft)
        compile_schema(schema, offline=True, pattern_options=jsonschema_rs.RegexOptions())
    except jsonschema_rs.ValidationError as error:
        return _explain(schema, draft) or [(tuple(error.instance_path), _compiler_said(error))]
    except jsonschema_rs.ReferencingError as error:
        return _explain(schema, draft) or [((), _why(str(error)))]
    except (RecursionError, ValueError):
        return [((), "nested too deeply or beyond JSON's numbers")]
    return []


def _explain(schema: Any, draft: str) -> list[tuple[at.Path, str]]:
    """Where and why a schema breaks its draft's meta-schema; nothing if it only cannot be compiled."""
    # Loaded for a mistake only: it takes 40 ms and 3 MB, and the supervisor and each worker read all schemas.
    import jsonschema

    explain = getattr(jsonschema, draft)
    try:
        errors = list(explain(explain.META_SCHEMA).iter_errors(schema))
    except RecursionError:
        return [((), "nested too deeply or beyond JSON's numbers")]
    return [(tuple(error.absolute_path), _why(error.message)) for error in errors]


def _compiler_said(error: jsonschema_rs.ValidationError) -> str:
    if error.message.endswith('"regex"'):
        return "not a regular expression, or one that linear-time matching cannot do (look-around, back-references)"
    if "is not present in a registry" in error.message:
        missing = error.message.removeprefix("Resource '").partition("'")[0]
        return f"the reference to {show(missing)} leaves the schema, and nothing is ever fetched"
    return _why(error.message)


def _why(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= WHY_CHARS else f"{line[: WHY_CHARS - 1]}…"
