"""A compiled JSON Schema: decides whether a value matches, and says where and why it does not.

Rules (docs/decisions/001-json-schema.md has the figures):
1. Validity and explanation both come from jsonschema-rs with linear-time regexes and no retrieval of references.
2. An explanation holds no client data. The library masks values. Property names are shown only if the schema contains
   them. This module writes the texts that would quote a name.
3. An explanation costs about as much as the check of validity. The library describes every failing branch of `anyOf`
   and `oneOf`, which took 30 s for one array of a million numbers. So the explaining copy of the schema puts the
   branches behind a double `not`, which only checks whether they match.
4. The reported error is the library's first one, so the same value and schema give the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs
from attrs import frozen

from pg_trio.domain.chat import Json, JsonObject

# 300 characters: a client does not need an `enum` of a thousand words.
MAX_CHARS = 300
MASK = "value"

_BRANCHES = ("anyOf", "oneOf")
# Keywords whose value is data, not a schema.
_DATA_KEYWORDS = frozenset({"enum", "const", "default", "examples"})
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REGEXES = jsonschema_rs.RegexOptions()

# Texts for errors whose own message would quote a client's property name, or says too little.
_OWN_TEXTS = {
    "additionalProperties": "additional properties are not allowed",
    "unevaluatedProperties": "unevaluated properties are not allowed",
    "propertyNames": "a property name is not allowed",
    "anyOf": "value matches none of the alternatives of anyOf",
    "oneOf": "value does not match exactly one of the alternatives of oneOf",
    "not": "value matches what the schema forbids with not",
    "contains": "no item matches contains",
    "falseSchema": "no value is allowed here",
}

_UNUSABLE_REGEX = "not a regular expression, or one that linear-time matching cannot do (look-around, back-references)"


@frozen(slots=True)
class SchemaFailure:
    """Why a value does not match: a JSON path (`$.messages[0].content`) and a text without client data."""

    where: str
    why: str


@frozen(slots=True, eq=False)
class CompiledSchema:
    """A schema prepared for checks; made by `compile_schema`."""

    _judge: Any  # a jsonschema_rs validator, one class for each draft
    _explainer: Any
    _names: frozenset[str]

    def find_failure(self, value: Json) -> SchemaFailure | None:
        """None if the value matches; otherwise the first reason why not."""
        try:
            return None if self._judge.is_valid(value) else self._explain(value)
        except ValueError:
            # "Recursion limit reached": the library stops at 255 levels, and a model's answer may be deeper.
            return SchemaFailure("$", "value is nested too deeply to be checked")

    def _explain(self, value: Json) -> SchemaFailure:
        try:
            self._explainer.validate(value)
        except jsonschema_rs.ValidationError as error:
            return SchemaFailure(_path(error.instance_path, self._names), _reason(error))
        # Only a schema whose annotations cross an `anyOf` (unevaluated…) gets here: see rule 3.
        return SchemaFailure("$", "value does not match the schema")


def compile_schema(schema: JsonObject | bool) -> CompiledSchema:
    """The compiled schema, shared between equal schemas. Draft 7 unless `$schema` names another.

    Raises: ValueError, which says what is wrong, for an invalid schema, a reference that leaves the document, or a
    pattern without linear-time matching (look-around, back-references).
    """
    try:
        return _compile(json.dumps(schema))
    except jsonschema_rs.ValidationError as error:
        where = "".join(f"/{step}" for step in error.instance_path)
        why = _UNUSABLE_REGEX if error.message.endswith('"regex"') else error.message
        raise ValueError(f"{where or '/'}: {why}") from None


# 1,024: more distinct schemas than any configuration seen; an entry is a few kilobytes.
@lru_cache(maxsize=1024)
def _compile(text: str) -> CompiledSchema:
    schema = json.loads(text)
    judge = _validator(schema)
    try:
        explainer = _validator(_without_branch_errors(schema))
    except jsonschema_rs.ValidationError:
        # A `$ref` into an `anyOf` finds nothing in the rewritten copy; then the original schema explains.
        explainer = judge
    return CompiledSchema(judge, explainer, frozenset(_spelled_names(schema)))


def _validator(schema: Json) -> Any:
    names_its_draft = isinstance(schema, dict) and "$schema" in schema
    make = jsonschema_rs.validator_for if names_its_draft else jsonschema_rs.Draft7Validator
    return make(schema, mask=MASK, offline=True, pattern_options=_REGEXES)


def _without_branch_errors(schema: Json) -> Json:
    """The same schema, with `anyOf: […]` as `allOf: [{not: {not: {anyOf: […]}}}]`; `oneOf` likewise."""
    if isinstance(schema, list):
        return [_without_branch_errors(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    rewritten = {
        key: value if key in _DATA_KEYWORDS else _without_branch_errors(value) for key, value in schema.items()
    }
    for keyword in _BRANCHES:
        if isinstance(rewritten.get(keyword), list):
            branches = {keyword: rewritten.pop(keyword)}
            # Appended to the author's own list, so that `$ref`s into an `allOf` keep their index.
            rewritten["allOf"] = [*rewritten.get("allOf", []), {"not": {"not": branches}}]
    return rewritten


def _spelled_names(schema: Json) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema
        for value in schema.values():
            yield from _spelled_names(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _spelled_names(item)


def _path(steps: list[str | int], names: frozenset[str]) -> str:
    return _cut("$" + "".join(_step(step, names) for step in steps))


def _step(step: str | int, names: frozenset[str]) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if step not in names:
        return "[*]"
    return f".{step}" if _PLAIN_NAME.fullmatch(step) else f"[{json.dumps(step, ensure_ascii=False)}]"


def _reason(error: jsonschema_rs.ValidationError) -> str:
    keyword = error.kind.name
    if keyword == "not":
        keyword = _rewritten_keyword(error.kind.value) or keyword
    elif "propertyNames" in error.schema_path:
        keyword = "propertyNames"
    why = _OWN_TEXTS.get(keyword) or error.message
    return _cut(why)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def _rewritten_keyword(forbidden: object) -> str | None:
    if isinstance(forbidden, Mapping) and list(forbidden) == ["not"] and isinstance(forbidden["not"], Mapping):
        return next((keyword for keyword in _BRANCHES if list(forbidden["not"]) == [keyword]), None)
    return None
