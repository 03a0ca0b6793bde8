"""What exists is documented: errors, routes, commands, providers. (Settings: tests/unit/config.)"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import fields

from pg_trio import errors
from pg_trio.cli import make_parser
from pg_trio.config import parse_settings
from pg_trio.domain.provider import PROVIDERS, Provider
from pg_trio.web.introspection import make_web_app
from scripts.provider_docs import FILE, TOLD, fill

ROOT = Path(__file__).parents[3]
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def deliberate_errors(base: type[errors.GatewayError] = errors.GatewayError) -> Iterator[str]:
    for child in base.__subclasses__():
        yield from deliberate_errors(child)
        if child.__subclasses__() == []:
            yield child.__name__


@pytest.mark.parametrize("name", sorted(set(deliberate_errors())))
def test_error_is_documented(name: str) -> None:
    assert f"| {name}" in API


def test_routes_are_documented() -> None:
    rules = {str(rule).replace("<project>", "{uuid}") for rule in make_web_app(lambda: None).url_map.iter_rules()}

    # The last one answers for all paths of `/v1` that are no route.
    named = {rule.replace("<slug>", "{slug}").replace("<path:model>", "{id}") for rule in rules}
    missing = [rule for rule in named if rule not in API and not rule.endswith("<path:route>")]

    assert [] == missing


def test_commands_are_documented() -> None:
    commands = next(
        action.choices for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)
    )

    assert [] == [name for name in commands if f"`pg-trio {name}" not in OPERATIONS]


def test_providers_are_documented() -> None:
    providers = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")

    assert [] == [name for name in PROVIDERS if f"| `{name}` |" not in providers]


def test_provider_tables_are_up_to_date() -> None:
    """`scripts/provider-docs` makes them: what the code's table has, and what its adapters do when they are asked."""
    text = FILE.read_text(encoding="utf-8")

    assert 3 == text.count("<!-- end -->")
    assert fill(text) == text
    assert {field.name for field in fields(Provider)} == TOLD


def test_readme_configuration_is_sound() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [configuration] = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)

    settings = parse_settings(configuration, "README.md", ROOT, {"OPENAI_API_KEY": "sk-x"})

    assert ["summarize"] == [slug for project in settings.projects.values() for slug in project.endpoints]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
