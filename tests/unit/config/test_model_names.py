"""Notes on names of models that no request can reach."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.config import read_configuration
from pg_trio.config.model_names import covers
from tests.support.config import CREDENTIAL, PROJECT_HEAD

WRAPPER = CREDENTIAL + PROJECT_HEAD + 'project_type = "ai_wrapper"\n'


def endpoint(slug: str, *names: str, more: str = "") -> str:
    head = f'[[projects.endpoints]]\nslug = "{slug}"\ncredential = "main"\nmodel = "m"\n'
    return f"{head}model_names = {list(names)}\n{more}"


def opened(*models: str, more: str = "") -> str:
    given = f"models = {list(models)}\n" if models else ""
    return f'[[projects.providers]]\ncredential = "main"\n{given}{more}'


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (endpoint("a", "gpt-4*") + endpoint("b", "gpt-5"), []),
        (endpoint("a", "a", "gpt-4*", "gpt-4o"), []),
        (
            endpoint("a", "b") + endpoint("b"),
            ['endpoints[0].model_names[0]: has no effect, because "b" is a slug, which comes first'],
        ),
        (endpoint("a", "b") + endpoint("b", more="is_active = false\n"), []),
        (
            endpoint("a", "gpt-4*") + endpoint("b", "x", "gpt-4o-*", "gpt-4o"),
            [
                'endpoints[1].model_names[1]: has no effect, because "gpt-4*" of a comes first',
                'endpoints[1].model_names[2]: has no effect, because "gpt-4*" of a comes first',
            ],
        ),
        (endpoint("a", "gpt-4*", more="is_active = false\n") + endpoint("b", "gpt-4o"), []),
        (endpoint("a", "gpt-4o") + endpoint("b", "gpt-4*"), []),
        (
            endpoint("a", "two words", "[a", "[a-c]x", "ü*"),
            [
                f"endpoints[0].model_names[{number}]: matches no model: names have letters, digits and . _ : / @ + -"
                for number in (0, 1, 3)
            ],
        ),
        (
            endpoint("a", "*") + opened("small"),
            ['providers[0].models[0]: has no effect, because "*" of a comes first'],
        ),
        (
            opened("gpt-4*") + opened("gpt-4o", "o4"),
            ['providers[1].models[0]: has no effect, because "openai:gpt-4*" of providers[0] comes first'],
        ),
        (opened() + opened(), ['providers[1]: has no effect, because "openai:*" of providers[0] comes first']),
        (opened(more="is_active = false\n") + opened(), []),
        (
            opened("gpt-4o", "made-up", "x*", more="monthly_budget_usd = 5\n"),
            [
                'providers[0].monthly_budget_usd: does not count "made-up": no price is known, and no '
                "estimated_cost_per_1k_tokens_usd is given",
                "providers[0].monthly_budget_usd: counts only models with a known price; "
                "estimated_cost_per_1k_tokens_usd holds for the others",
            ],
        ),
        (opened("x*", more="monthly_budget_usd = 5\nestimated_cost_per_1k_tokens_usd = 0.01\n"), []),
    ],
)
def test_names_without_effect_are_noted(tmp_path: Path, text: str, notes: list[str]) -> None:
    path = tmp_path / "pg.toml"
    path.write_text(WRAPPER + text)

    assert [f"projects[0].{note}" for note in notes] == list(read_configuration(path).notes)


globs = st.text("ab*?[]!", min_size=1, max_size=6)


@given(globs, globs, st.text("ab!]", max_size=6))
def test_covering_is_certain(first: str, second: str, name: str) -> None:
    if covers(first, second) and fnmatchcase(name, second):
        assert fnmatchcase(name, first)
