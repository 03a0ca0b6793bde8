"""A JSON Schema, compiled: whether a value matches, and where and why it does not.

Rules (docs/decisions/001-json-schema.md has the figures):
1. Validity and explanation both come from jsonschema-rs with linear-time regexes and no retrieval of references.
2. An explanation holds no client data. Values are masked by the library; property names are shown only where the
   schema itself spells them; texts that would quote a name are our own.
3. An explanation costs about what validity costs. The library describes every failing branch of `anyOf` and `oneOf`,
   which took 30 s for one array of a million numbers; so the explaining copy of the schema asks for the branches
   through a double `not`, which only asks whether they match.
4. The error reported is the library's first one: the same value and schema give the same text.
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

# 300 characters: an `enum` of a thousand words is the schema author's business, not the client's reading.
MAX_CHARS = 300
MASK = "value"

_BRANCHES = ("anyOf", "oneOf")
# Keywords whose value is data, not a schema.
_DATA_KEYWORDS = frozenset({"enum", "const", "default", "examples"})
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REGEXES = jsonschema_rs.RegexOptions()

# Texts for the errors whose own message would quote a property name the client chose, or say too little.
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
class Failure:
    """Why a value does not match: a JSON path (`$.messages[0].content`) and a text without client data."""

    where: str
    why: str


@frozen(slots=True, eq=False)
class CompiledSchema:
    """A schema ready to check values; made by `compile_schema`."""

    _judge: Any  # jsonschema_rs.Validator, of which there are several classes
    _explainer: Any
    _names: frozenset[str]

    def find_failure(self, value: Json) -> Failure | None:
        """None if the value matches, else the first reason it does not."""
        try:
            return None if self._judge.is_valid(value) else self._explain(value)
        except ValueError:
            # "Recursion limit reached": the library stops at 255 levels. A model's answer may be deeper.
            return Failure("$", "value is nested too deeply to be checked")

    def _explain(self, value: Json) -> Failure:
        try:
            self._explainer.validate(value)
        except jsonschema_rs.ValidationError as error:
            return Failure(_path(error.instance_path, self._names), _reason(error))
        # Only a schema whose annotations cross an `anyOf` (unevaluated…) can get here: see rule 3.
        return Failure("$", "value does not match the schema")


def compile_schema(schema: JsonObject | bool) -> CompiledSchema:
    """The compiled schema, shared between equal schemas. Draft 7 unless `$schema` names another.

    Raises: ValueError saying what is wrong, for what is no schema, a reference that leaves the document, or a pattern
    that linear-time matching cannot do (look-around, back-references).
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
        # A `$ref` that points into an `anyOf` finds nothing in the rewritten copy; then the judge explains.
        explainer = judge
    return CompiledSchema(judge, explainer, frozenset(_spelled_names(schema)))


def _validator(schema: Json) -> Any:
    names_its_draft = isinstance(schema, dict) and "$schema" in schema
    make = jsonschema_rs.validator_for if names_its_draft else jsonschema_rs.Draft7Validator
    return make(schema, mask=MASK, offline=True, pattern_options=_REGEXES)


def _without_branch_errors(schema: Json) -> Json:
    """The same schema, with `anyOf: […]` as `allOf: [{not: {not: {anyOf: […]}}}]`, and `oneOf` alike."""
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
            # After the author's own: `$ref`s that point into an `allOf` keep their index.
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
