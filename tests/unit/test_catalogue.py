"""The catalogue: a plan is compiled once, found by its project and slug, and replaced as one value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from attrs import define, evolve, field

from pg_trio.catalogue import MODEL_NAMES_KEPT, Catalogue, EndpointPlan, PlanCompiler
from pg_trio.domain.guardrails import CustomPattern, GuardrailRules, KeywordBlocklist, PiiFilter
from pg_trio.domain.project import Candidate, Credential, Endpoint, OpenedProvider, Project
from pg_trio.errors import EndpointNotFound, ModelNotFound
from pg_trio.ledger.immediate import ImmediateBuckets, ImmediateLeases, ImmediateSpend
from pg_trio.providers import adapter_for
from pg_trio.racing.large_work import LargeWork
from pg_trio.racing.pauses import Pauses
from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.spend import LocalSpend
from pg_trio.shared_memory.token_bucket import LocalBuckets
from pg_trio.stages.budget import Budget
from pg_trio.stages.guardrails import RemoteCaller
from pg_trio.stages.provider_call import ProviderCall
from pg_trio.stages.provider_call.exchange import Exchange
from pg_trio.stages.rate_limit import RateLimit


def make_endpoint(slug: str = "ask", **settings: Any) -> Endpoint:
    candidates = (Candidate(Credential("c", "openai", "http://127.0.0.1:1"), "m"),)
    return Endpoint(UUID(int=len(slug)), slug, slug, candidates, **settings)


def make_project(*endpoints: Endpoint) -> Project:
    return Project(UUID(int=1), "P", "p", endpoints={endpoint.slug: endpoint for endpoint in endpoints})


def make_compiler(disabled: frozenset[str] = frozenset()) -> PlanCompiler:
    spend = LocalSpend()
    return PlanCompiler(
        RateLimit(ImmediateBuckets(LocalBuckets()), ImmediateLeases(LeaseBook(spend)), lambda: 0.0, 1_000),
        Budget(ImmediateSpend(spend), lambda: 0.0, 1_000),
        ProviderCall(Exchange(adapter_for, {}, lambda: 0.0, LargeWork()), disabled, 0.05),
        RemoteCaller({}, LargeWork(), Pauses()),
    )


@define
class CountingCompiler:
    """Notes what it compiles."""

    compiler: PlanCompiler = field(factory=make_compiler)
    compiled: list[str] = field(factory=list)

    def compile(self, endpoint: Endpoint) -> EndpointPlan:
        self.compiled.append(endpoint.slug)
        return self.compiler.compile(endpoint)


def test_plan_is_compiled_when_first_asked_for() -> None:
    counting, project = CountingCompiler(), make_project(make_endpoint("ask"), make_endpoint("other"))
    catalogue = Catalogue(counting.compile)
    before = list(counting.compiled)

    plans = {catalogue.find(project, "ask") for _ in range(3)}

    assert ([], ["ask"], 1) == (before, counting.compiled, len(plans))


@pytest.mark.parametrize("slug", ["off", "nope", "", "ASK", "ask%2f"])
def test_unknown_or_inactive_endpoint_is_not_found(slug: str) -> None:
    project = make_project(make_endpoint("ask"), make_endpoint("off", is_active=False))

    with pytest.raises(EndpointNotFound) as caught:
        Catalogue(make_compiler().compile).find(project, slug)

    assert f"Endpoint '{slug}' not found or inactive." == caught.value.text


def test_token_in_the_slugs_place_is_not_repeated() -> None:
    with pytest.raises(EndpointNotFound) as caught:
        Catalogue(make_compiler().compile).find(make_project(), "pg_live_Zm9vYmFyYmF6cXV4")

    assert "Endpoint '[redacted]' not found or inactive." == caught.value.text


def test_endpoints_of_another_project_are_not_found() -> None:
    catalogue = Catalogue(make_compiler().compile)
    catalogue.find(make_project(make_endpoint("ask")), "ask")

    with pytest.raises(EndpointNotFound):
        catalogue.find(make_project(make_endpoint("other")), "ask")


def test_plain_endpoint_has_nothing_to_do() -> None:
    plan = make_compiler().compile(make_endpoint())

    unused = plan.guards, plan.input_schema, plan.output_schema, plan.limits.buckets, plan.spend.budget_nano_usd
    assert (None,) * 5 == unused
    assert ((), None) == (plan.prompt.system, plan.prompt.template)


def test_plan_holds_what_its_endpoint_uses() -> None:
    endpoint = make_endpoint(
        guardrails=GuardrailRules(keyword_blocklist=KeywordBlocklist(words=("secret",))),
        input_schema={"type": "object"},
        output_schema=True,
        rate_limit_per_hour=7,
        monthly_budget_usd=Decimal("2"),
        estimated_cost_per_1k_tokens_usd=Decimal("1"),
        prompt="Be brief.",
    )

    plan = make_compiler().compile(endpoint)

    assert plan.guards is not None
    assert plan.input_schema is not None
    assert plan.output_schema is not None
    assert plan.limits.buckets is not None
    assert (((7, 3600.0),), 2_000_000_000) == (plan.limits.buckets.limits, plan.spend.budget_nano_usd)
    # What is reserved for an answer is what the provider is told.
    assert (1_000, "Be brief.") == (plan.prompt.options.max_output_tokens, plan.prompt.system[0].content)


def test_replaced_plan_is_for_later_requests() -> None:
    catalogue, endpoint = Catalogue(make_compiler().compile), make_endpoint("ask")
    project = make_project(endpoint, make_endpoint("other"))
    before, other = catalogue.find(project, "ask"), catalogue.find(project, "other")

    catalogue.replace(project, [evolve(endpoint, rate_limit_per_minute=5)])
    after = catalogue.find(project, "ask")

    assert (None, ((5, 60.0),)) == (before.limits.buckets, after.limits.buckets and after.limits.buckets.limits)
    assert other is catalogue.find(project, "other")


def test_plan_that_cannot_be_compiled_replaces_none() -> None:
    catalogue, ask, other = Catalogue(make_compiler().compile), make_endpoint("ask"), make_endpoint("other")
    project = make_project(ask, other)
    plans = catalogue.find(project, "ask"), catalogue.find(project, "other")
    broken = GuardrailRules(pii_filter=PiiFilter(custom_patterns=(CustomPattern("x", "("),)))

    with pytest.raises(ValueError, match="pii_filter"):
        catalogue.replace(project, [evolve(ask, prompt="new"), evolve(other, guardrails=broken)])

    assert plans == (catalogue.find(project, "ask"), catalogue.find(project, "other"))


def test_switched_off_provider_is_a_new_plan() -> None:
    catalogue, project = Catalogue(make_compiler().compile), make_project(make_endpoint())
    before = catalogue.find(project, "ask")

    catalogue.replace_all(make_compiler(disabled=frozenset({"openai"})).compile)
    after = catalogue.find(project, "ask")

    assert (1, 0, "openai") == (len(before.call.candidates), len(after.call.candidates), after.call.first_provider)


def test_what_was_replaced_stays_when_all_are_compiled_anew() -> None:
    catalogue, endpoint = Catalogue(make_compiler().compile), make_endpoint("ask")
    project = make_project(endpoint)
    catalogue.replace(project, [evolve(endpoint, rate_limit_per_minute=5)])

    catalogue.replace_all(make_compiler(disabled=frozenset({"openai"})).compile)
    after = catalogue.find(project, "ask")

    assert (((5, 60.0),), 0) == (after.limits.buckets and after.limits.buckets.limits, len(after.call.candidates))


def test_endpoint_that_is_switched_off_is_found_no_more() -> None:
    catalogue, endpoint = Catalogue(make_compiler().compile), make_endpoint("ask")
    project = make_project(endpoint)
    catalogue.find(project, "ask")

    catalogue.replace(project, [evolve(endpoint, is_active=False)])

    with pytest.raises(EndpointNotFound):
        catalogue.find(project, "ask")


# ── names of models ──────────────────────────────────────────────────────────────────────────────────────────────────


def make_opened(*models: str, name: str = "c", provider: str = "openai", **settings: Any) -> OpenedProvider:
    candidates = (Candidate(Credential(name, provider, "http://127.0.0.1:1"), "*"),)
    endpoint = Endpoint(UUID(int=9), "*", "*", candidates, prices=(None,), **settings)
    return OpenedProvider(models, endpoint, lambda _: None)


def named(project: Project, name: str) -> str | None:
    """The model that a request of this name asks for; None if there is none."""
    try:
        plan = Catalogue(make_compiler().compile).find_model(project, name)
    except ModelNotFound:
        return None
    return f"{plan.endpoint.slug} {plan.endpoint.candidates[0].model}"


def test_slugs_come_before_globs_and_globs_in_order() -> None:
    project = make_project(
        make_endpoint("first", model_names=("g*",)),
        make_endpoint("second", model_names=("g*", "h")),
        make_endpoint("g1"),
    )

    names = {name: named(project, name) for name in ("g1", "g2", "h", "i")}

    assert {"g1": "g1 m", "g2": "first m", "h": "second m", "i": None} == names


def test_inactive_endpoint_answers_to_no_name() -> None:
    project = make_project(
        make_endpoint("off", is_active=False, model_names=("x",)), make_endpoint("on", model_names=("x",))
    )

    assert ("on m", None) == (named(project, "x"), named(project, "off"))


def test_first_opened_provider_that_matches_holds() -> None:
    small, rest = make_opened("gpt-4o*", deadline_ms=1), make_opened(deadline_ms=2)
    project = evolve(make_project(), providers=(small, rest, make_opened("x", provider="groq")))
    catalogue = Catalogue(make_compiler().compile)

    deadlines = {
        name: catalogue.find_model(project, name).endpoint.deadline_ms
        for name in ("openai:gpt-4o-mini", "openai:o3", "groq:x")
    }

    assert {"openai:gpt-4o-mini": 1, "openai:o3": 2, "groq:x": 120_000} == deadlines
    assert [None] * 3 == [named(project, name) for name in ("groq:y", "openai", "openai:")]
    assert ["openai:*", "groq:x"] == [name.id for name in catalogue.list_names(project)]


def test_plan_of_a_name_is_compiled_once_and_given_up_with_its_endpoint() -> None:
    project, counting = make_project(make_endpoint("ask", model_names=("x*",))), CountingCompiler()
    catalogue = Catalogue(counting.compile)
    first = [catalogue.find_model(project, name) for name in ("x1", "x1", "x2", "ask")]

    catalogue.replace(project, [make_endpoint("ask", model_names=("y*",), deadline_ms=5)])

    assert 1 == len(set(map(id, first)))
    assert 5 == catalogue.find_model(project, "ask").endpoint.deadline_ms


def test_clients_cannot_fill_the_memory_with_names() -> None:
    project = evolve(make_project(), providers=(make_opened(),))
    catalogue = Catalogue(make_compiler().compile)

    names = {
        catalogue.find_model(project, f"openai:m{number}").call.candidates[0].memory_name
        for number in range(3 * MODEL_NAMES_KEPT)
    }

    assert MODEL_NAMES_KEPT + 1 == len(names)
    assert MODEL_NAMES_KEPT >= len(catalogue._named[project])


def test_nearest_names_are_told_first() -> None:
    project = make_project(*[make_endpoint(f"other-{number}") for number in range(30)], make_endpoint("summarize"))

    with pytest.raises(ModelNotFound) as caught:
        Catalogue(make_compiler().compile).find_model(project, "sumarise")

    assert (10, "summarize") == (len(caught.value.names), caught.value.names[0])
