"""Any value in any setting gives settings or a ConfigError, never another exception, and never shows the key."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from copy import deepcopy
from datetime import date, datetime, time
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_trio.config import guardrail_tables, parse_settings, tables
from pg_trio.config.environment import SECTIONS
from pg_trio.errors import ConfigError
from tests.support.config import KEY, NOWHERE, PROJECT

SOUND: dict[str, Any] = {
    "gateway": {},
    "upstream": {},
    "server": {},
    "credentials": [{"name": "main", "provider": "openai", "api_key": KEY}],
    "providers": {"openai": {}},
    "guardrails": {"pii_filter": {"custom_patterns": [{"label": "T", "pattern": "T-[0-9]+"}]}},
    "projects": [
        {
            "uuid": PROJECT,
            "name": "Support",
            "endpoints": [
                {
                    "slug": "a",
                    "credential": "main",
                    "model": "gpt",
                    "failover": [{"credential": "main", "model": "x"}],
                    "guardrails": {
                        "pii_filter": {"types": ["email"]},
                        "prompt_injection": {},
                        "keyword_blocklist": {"words": ["x"]},
                        "content_length": {},
                    },
                }
            ],
        }
    ],
}
ENDPOINT_PLACE = ("projects", 0, "endpoints", 0)
RULES_PLACE = (*ENDPOINT_PLACE, "guardrails")

TABLES: dict[tuple[str | int, ...], type[attrs.AttrsInstance]] = {
    (): tables.FileTable,
    **{(name,): shape for name, shape in SECTIONS.items()},
    ("credentials", 0): tables.CredentialTable,
    ("providers", "openai"): tables.ProviderTable,
    ("projects", 0): tables.ProjectTable,
    ENDPOINT_PLACE: tables.EndpointTable,
    (*ENDPOINT_PLACE, "failover", 0): tables.FailoverTable,
    RULES_PLACE: guardrail_tables.GuardrailTables,
    (*RULES_PLACE, "pii_filter"): guardrail_tables.PiiFilterTable,
    (*RULES_PLACE, "prompt_injection"): guardrail_tables.PromptInjectionTable,
    (*RULES_PLACE, "keyword_blocklist"): guardrail_tables.KeywordBlocklistTable,
    (*RULES_PLACE, "secret_scanner"): guardrail_tables.SecretScannerTable,
    (*RULES_PLACE, "reversible_redaction"): guardrail_tables.ReversibleRedactionTable,
    (*RULES_PLACE, "webhook"): guardrail_tables.WebhookTable,
    (*RULES_PLACE, "moderation"): guardrail_tables.ModerationTable,
    (*RULES_PLACE, "output"): guardrail_tables.OutputGuardrailTables,
    (*RULES_PLACE, "output", "pii_filter"): guardrail_tables.OutputPiiFilterTable,
    (*RULES_PLACE, "output", "keyword_blocklist"): guardrail_tables.OutputKeywordBlocklistTable,
    (*RULES_PLACE, "output", "secret_scanner"): guardrail_tables.OutputSecretScannerTable,
    (*RULES_PLACE, "output", "content_length"): guardrail_tables.OutputContentLengthTable,
    (*RULES_PLACE, "output", "prompt_leak"): guardrail_tables.PromptLeakTable,
    (*RULES_PLACE, "content_length"): guardrail_tables.ContentLengthTable,
    ("guardrails", "pii_filter", "custom_patterns", 0): guardrail_tables.CustomPatternTable,
}


def _places() -> Iterator[tuple[str | int, ...]]:
    for place, shape in TABLES.items():
        for attribute in attrs.fields(shape):
            yield (*place, attribute.name)
        yield (*place, "unheard_of")
        if place:
            yield place


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
SCHEMA_WORDS = st.sampled_from(
    ["$ref", "$id", "$schema", "type", "properties", "pattern", "items", "enum", "anyOf", "format", "multipleOf"]
)
TELLING = st.sampled_from(
    [
        "",
        "main",
        "a",
        "chat",
        "env:",
        "env:X",
        "file:",
        "file:.",
        "file:\0",
        "http://[",
        "#",
        "#/a",
        "object",
        "(",
        "{{input}}",
        KEY,
    ]
)
SCALARS = (
    st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats()
    | st.datetimes()
    | st.dates()
    | st.times()
    | TEXTS
    | TELLING
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCHEMA_WORDS | TEXTS, inner, max_size=4),
    max_leaves=10,
)

# The same values in every run, however slow the machine.
EVERYWHERE_THE_SAME = settings(derandomize=True)


@EVERYWHERE_THE_SAME
@given(st.lists(st.tuples(st.sampled_from(list(_places())), VALUES), min_size=1, max_size=3))
def test_any_value_anywhere(changes: list[tuple[tuple[str | int, ...], Any]]) -> None:
    document = deepcopy(SOUND)
    for place, value in changes:
        _put(document, place, value)
    text = "".join(f"{_toml(key)} = {_toml(value)}\n" for key, value in document.items())

    said = _outcome(text)

    assert KEY not in said


@EVERYWHERE_THE_SAME
@given(TEXTS | st.binary(max_size=60).map(lambda content: content.decode("latin-1")))
def test_any_text_for_a_file(text: str) -> None:
    _outcome(text)


@EVERYWHERE_THE_SAME
@given(
    st.sampled_from([f"{name}__{key.name}" for name, shape in SECTIONS.items() for key in attrs.fields(shape)]), TEXTS
)
def test_any_text_in_the_environment(setting: str, value: str) -> None:
    _outcome("", {f"PG_TRIO_{setting.upper()}": value})


@EVERYWHERE_THE_SAME
@given(TEXTS.filter(lambda text: len(text.strip()) >= 12))
def test_any_key_stays_hidden(key: str) -> None:
    said = _outcome('[[credentials]]\nname = "m"\nprovider = "groq"\napi_key = "env:K"\nbase_url = "x"', {"K": key})

    assert key.strip() not in said


def _outcome(text: str, environ: dict[str, str] | None = None) -> str:
    """The readable result: the settings' repr or the report."""
    try:
        return repr(parse_settings(text, "pg.toml", NOWHERE, environ or {}))
    except ConfigError as error:
        return f"{error!s} {error!r}"


def _put(document: Any, place: tuple[str | int, ...], value: Any) -> None:
    for step in place[:-1]:
        document = _at(document, step)
    # Where an earlier change took the table away, this one has nowhere to go.
    if _at(document, place[-1]) is not None or isinstance(document, dict):
        document[place[-1]] = value


def _at(document: Any, step: str | int) -> Any:
    try:
        return document[step]
    except (KeyError, IndexError, TypeError):
        return None


def _toml(value: Any) -> str:
    """A value as TOML writes it inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml(key)} = {_toml(item)}' for key, item in value.items())}}}"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)
