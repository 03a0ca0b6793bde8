"""Which rules a worker compiles after its start, and that they are those that requests use."""

from __future__ import annotations

import pytest
from attrs import evolve

from pg_trio import preparation
from pg_trio.domain.guardrails import NO_RULES, ContentLength, GuardrailRules
from pg_trio.domain.project import Project
from pg_trio.preparation import (
    ENDPOINTS_READ,
    RULES_PREPARED,
    SCHEMAS_PREPARED,
    compile_schemas,
    find_rules,
    give_back_memory,
    prepare_rules,
)
from pg_trio.stages.guardrails import compile_chain
from tests.support.config import ENDPOINT, SOUND, read


def project_of(*rules: GuardrailRules, active: bool = True) -> Project:
    """A project with an endpoint for each."""
    more = "".join(ENDPOINT.replace('"a"', f'"e{number}"') for number in range(len(rules) - 1))
    (project,) = read(SOUND + more).projects.values()
    ruled = zip(project.endpoints.items(), rules, strict=True)
    endpoints = {slug: evolve(endpoint, guardrails=one, is_active=active) for (slug, endpoint), one in ruled}
    return evolve(project, endpoints=endpoints)


def rules(most: int) -> GuardrailRules:
    return evolve(NO_RULES, content_length=ContentLength(max=most))


def test_equal_rules_are_prepared_once_and_unused_ones_not_at_all() -> None:
    projects = [project_of(rules(1), NO_RULES, rules(2), rules(1)), project_of(rules(3), active=False)]

    assert [rules(1), rules(2)] == find_rules(projects)


def test_start_of_a_large_gateway_is_bounded() -> None:
    many = project_of(*[rules(number) for number in range(1, RULES_PREPARED + 10)])
    late = project_of(*[NO_RULES] * ENDPOINTS_READ, rules(1))

    assert (RULES_PREPARED, []) == (len(find_rules([many])), find_rules([late]))


async def test_requests_find_the_rules_compiled() -> None:
    compile_chain.cache_clear()
    await prepare_rules([project_of(rules(7))])
    before = compile_chain.cache_info()

    compile_chain(rules(7))

    assert (before.hits + 1, before.misses) == (compile_chain.cache_info().hits, compile_chain.cache_info().misses)


def schemas_compiled(monkeypatch: pytest.MonkeyPatch, project: Project, limit_s: float) -> list[object]:
    """The schemas that are compiled before the workers are forked. Each is refused, as a wrong one would be."""
    compiled: list[object] = []

    def compile_schema(schema: object) -> None:
        compiled.append(schema)
        raise ValueError("wrong")

    monkeypatch.setattr(preparation, "compile_schema", compile_schema)
    compile_schemas([project], limit_s)
    return compiled


def with_schemas(project: Project) -> Project:
    endpoints = {
        slug: evolve(endpoint, input_schema={"title": slug}, output_schema=True)
        for slug, endpoint in project.endpoints.items()
    }
    return evolve(project, endpoints=endpoints)


def test_schemas_are_compiled_before_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    two = project_of(NO_RULES, NO_RULES)
    first, second = two.endpoints

    assert [] == schemas_compiled(monkeypatch, two, 60)
    assert [{"title": first}, True, {"title": second}, True] == schemas_compiled(monkeypatch, with_schemas(two), 60)


def test_start_waits_for_few_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    many = with_schemas(project_of(*[NO_RULES] * SCHEMAS_PREPARED))

    assert SCHEMAS_PREPARED == len(schemas_compiled(monkeypatch, many, 60))
    assert [] == schemas_compiled(monkeypatch, many, 0)


def test_memory_is_given_back_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    give_back_memory()
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())

    give_back_memory()
