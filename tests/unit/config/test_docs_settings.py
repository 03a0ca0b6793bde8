"""docs/configuration.md has a row for every setting, with the range and the default that the code has."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs
import pytest

from pg_trio.config import guardrail_tables, read_configuration, tables
from pg_trio.config.environment import SECTIONS
from pg_trio.domain import guardrails
from pg_trio.domain.project import Credential, Endpoint, Project

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"

# heading: (what the file holds, where its defaults are)
SECTION_SHAPES: dict[str, tuple[type[attrs.AttrsInstance], type[attrs.AttrsInstance] | None]] = {
    **{f"`[{name}]`": (shape, shape) for name, shape in SECTIONS.items()},
    "`[[credentials]]`": (tables.CredentialTable, Credential),
    "`[providers.NAME]`": (tables.ProviderTable, None),
    "`[[prices]]`": (tables.PriceTable, None),
    "`[[projects]]`": (tables.ProjectTable, Project),
    "`[[projects.endpoints]]`": (tables.EndpointTable, Endpoint),
    "`[[projects.providers]]`": (tables.OpenedProviderTable, None),
    "`failover`": (tables.FailoverTable, None),
    "`pii_filter`": (guardrail_tables.PiiFilterTable, guardrails.PiiFilter),
    "`custom_patterns`": (guardrail_tables.CustomPatternTable, None),
    "`prompt_injection`": (guardrail_tables.PromptInjectionTable, guardrails.PromptInjection),
    "`keyword_blocklist`": (guardrail_tables.KeywordBlocklistTable, guardrails.KeywordBlocklist),
    "`secret_scanner`": (guardrail_tables.SecretScannerTable, guardrails.SecretScanner),
    "`content_length`": (guardrail_tables.ContentLengthTable, guardrails.ContentLength),
    "`webhook`": (guardrail_tables.WebhookTable, guardrails.Webhook),
    "`reversible_redaction`": (guardrail_tables.ReversibleRedactionTable, guardrails.ReversibleRedaction),
    "`output.prompt_leak`": (guardrail_tables.PromptLeakTable, guardrails.PromptLeak),
    "`moderation`": (guardrail_tables.ModerationTable, guardrails.Moderation),
}

# What the field's own default does not say: it depends on the base URL.
DEFAULTS_IN_PROSE = {("`[[credentials]]`", "allow_private_addresses")}


@pytest.mark.parametrize("heading", SECTION_SHAPES)
def test_every_setting_is_described(heading: str) -> None:
    shape, _ = SECTION_SHAPES[heading]

    described = list(_rows(heading))

    # What a table shares with another comes behind its own.
    ordered = sorted(attrs.fields(shape), key=lambda attribute: attribute.inherited)
    assert [attribute.name for attribute in ordered if not _is_described_elsewhere(shape, attribute)] == described


@pytest.mark.parametrize("heading", SECTION_SHAPES)
def test_ranges_are_the_code_s(heading: str) -> None:
    shape, _ = SECTION_SHAPES[heading]
    hints = typing.get_type_hints(shape, include_extras=True)
    declared = {name: _bounds(hint) for name, hint in hints.items()}

    rows = _rows(heading)

    missing = [
        (name, bound)
        for name, bounds in declared.items()
        for bound in bounds
        if name in rows and f" {bound}" not in f" {rows[name][0]}"
    ]
    assert [] == missing


@pytest.mark.parametrize("heading", [heading for heading, (_, owner) in SECTION_SHAPES.items() if owner])
def test_defaults_are_the_code_s(heading: str) -> None:
    shape, owner = SECTION_SHAPES[heading]
    assert owner is not None
    owned = attrs.fields_dict(owner)
    names = [attribute.name for attribute in attrs.fields(shape) if attribute.name in owned]
    declared = {name: owned[name].default for name in names if (heading, name) not in DEFAULTS_IN_PROSE}
    declared = {name: value for name, value in declared.items() if isinstance(value, bool | int | str) and value != ""}

    rows = _rows(heading)

    wrong = {name: rows[name][1] for name, value in declared.items() if f"`{_shown(value)}`" != rows[name][1]}
    assert {} == wrong


def test_example_file_is_accepted() -> None:
    configuration = read_configuration(DOCS.with_name("example.toml"), {"OPENAI_API_KEY": "sk-example-key"})

    assert () == configuration.notes


def _is_described_elsewhere(shape: type[attrs.AttrsInstance], attribute: Any) -> bool:
    """Whether the section refers to another one for this setting: those of calls are under the endpoints."""
    return shape is tables.OpenedProviderTable and attribute.inherited


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rows(heading: str) -> dict[str, tuple[str, str]]:
    """name: (type and range, default) of the first table below the heading; thousands without separators."""
    text = DOCS.read_text(encoding="utf-8")
    lines = text.partition(f"# {heading}\n")[2].splitlines()
    rows: dict[str, tuple[str, str]] = {}
    for line in lines:
        if line.startswith("#"):
            break
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            rows[cells[0].strip("`| ")] = (cells[1].replace(",", ""), cells[2].replace(",", ""))
    return rows


def _bounds(hint: Any) -> list[str]:
    """What the documentation must say of a type: its bounds and its words."""
    if get_origin(hint) is Annotated:
        return [str(bound).split(":")[0] for bound in hint.__metadata__]
    if get_origin(hint) is Literal:
        return [f"`{word}`" for word in get_args(hint)]
    if get_origin(hint) in (Union, types.UnionType, list):
        return [bound for inner in get_args(hint) for bound in _bounds(inner)]
    return []
