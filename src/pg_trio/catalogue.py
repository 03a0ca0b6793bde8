"""Every endpoint as what it needs: compiled once, when it is first asked for, and swapped as one value.

Rules:
1. A request takes its plan once, and keeps it to its end. What an operator changes meanwhile (a provider switched off,
   a limit) is a new plan, for the requests that begin after it.
2. A plan is compiled when its endpoint is first asked for, so that starting costs nothing an endpoint. Whatever may be
   wrong in one is found when the configuration is loaded: the loader compiles every schema and every guardrail.
3. What an endpoint does not use is None in its plan, and costs its requests no step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen

from pg_trio.domain.project import Endpoint, Project
from pg_trio.domain.secret import mask_client_text
from pg_trio.errors import EndpointNotFound
from pg_trio.stages.budget import Budget, SpendPlan
from pg_trio.stages.guardrails import Chain, compile_chain
from pg_trio.stages.prompt import PromptPlan, compile_prompt
from pg_trio.stages.provider_call import CallPlan, ProviderCall
from pg_trio.stages.rate_limit import LimitPlan, RateLimit
from pg_trio.stages.schemas.input_schema import InputSchema
from pg_trio.stages.schemas.output_schema import OutputSchema


@frozen(slots=True, eq=False)
class EndpointPlan:
    """What the requests of one endpoint need, each stage's part made by that stage."""

    endpoint: Endpoint
    limits: LimitPlan
    spend: SpendPlan
    guards: Chain | None
    input_schema: InputSchema | None
    prompt: PromptPlan
    call: CallPlan
    output_schema: OutputSchema | None


@frozen(slots=True, eq=False)
class PlanCompiler:
    """Compiles endpoints for the stages of one worker."""

    rate_limit: RateLimit
    budget: Budget
    provider_call: ProviderCall

    def compile(self, endpoint: Endpoint) -> EndpointPlan:
        """The endpoint's plan. Raises ValueError for a guardrail or schema that the loader would have refused."""
        spend, chain = self.budget.compile(endpoint), compile_chain(endpoint.guardrails)
        return EndpointPlan(
            endpoint=endpoint,
            limits=self.rate_limit.compile(endpoint),
            spend=spend,
            guards=chain if chain.is_in_force else None,
            input_schema=None if endpoint.input_schema is None else InputSchema.compile(endpoint.input_schema),
            prompt=compile_prompt(endpoint, spend.output_limit_tokens),
            call=self.provider_call.compile(endpoint),
            output_schema=_compile_output(endpoint),
        )


def _compile_output(endpoint: Endpoint) -> OutputSchema | None:
    if endpoint.output_schema is None:
        return None
    repairs = endpoint.output_repair == "lenient"
    return OutputSchema.compile(endpoint.output_schema, repairs=repairs, more_rounds=endpoint.more_rounds)


class Catalogue:
    """The plans of all projects' active endpoints."""

    def __init__(self, compile_plan: Callable[[Endpoint], EndpointPlan]) -> None:
        self._compile = compile_plan
        # Projects are compared by identity: those of another configuration are others, though their UUIDs are the same.
        self._plans: dict[Project, dict[str, EndpointPlan]] = {}
        # Endpoints as they were replaced: they hold in place of the project's own.
        self._replaced: dict[Project, dict[str, Endpoint]] = {}

    def find(self, project: Project, slug: str) -> EndpointPlan:
        """The plan of the project's own active endpoint of that slug. Raises EndpointNotFound."""
        try:
            return self._plans[project][slug]
        except KeyError:
            return self._compile_first(project, slug)

    def replace(self, project: Project, endpoints: Iterable[Endpoint]) -> None:
        """These endpoints take the place of the project's of the same slugs, for requests that begin from here on.

        All are compiled before any is in force: where one cannot be, nothing has changed. Raises ValueError.
        """
        changed = {endpoint.slug: endpoint for endpoint in endpoints}
        compiled = {slug: self._compile(endpoint) for slug, endpoint in changed.items() if endpoint.is_active}
        kept = {slug: plan for slug, plan in self._plans.get(project, {}).items() if slug not in changed}
        self._plans = {**self._plans, project: kept | compiled}
        self._replaced.setdefault(project, {}).update(changed)

    def replace_all(self, compile_plan: Callable[[Endpoint], EndpointPlan]) -> None:
        """Compile every plan anew when it is next asked for: something that all of them hold has changed."""
        self._compile, self._plans = compile_plan, {}

    def _compile_first(self, project: Project, slug: str) -> EndpointPlan:
        endpoint = self._replaced.get(project, {}).get(slug) or project.endpoints.get(slug)
        if endpoint is None or not endpoint.is_active:
            raise EndpointNotFound(mask_client_text(slug))
        plan = self._plans.setdefault(project, {})[slug] = self._compile(endpoint)
        return plan
