"""The plans of all endpoints. A plan is compiled once, when it is first needed, and replaced as one value.

Rules:
1. A request takes its plan once and keeps it to its end. An operator's change (a provider switched off, a limit) makes
   a new plan, for the requests that begin after it.
2. A plan is compiled at its endpoint's first request, so the start takes no time for each endpoint. Loading the
   configuration finds every mistake in a plan, because the loader compiles every schema and every guardrail.
3. A client token is told of no endpoint but those that it names. A holder's budget makes a plan of its own, in which
   every answer has a limit and every candidate a price (`SpendPlan.for_holders`).
4. A feature that an endpoint does not use is None in its plan and costs its requests nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from itertools import islice

from attrs import evolve, field, frozen

from pg_trio.domain.guardrails import NO_RULES
from pg_trio.domain.project import MODEL_NAME, Caller, Endpoint, ModelName, OpenedProvider, Project
from pg_trio.domain.secret import mask_client_text
from pg_trio.errors import EndpointNotFound, EndpointNotGranted, ModelNotFound
from pg_trio.stages.budget import Budget, SpendPlan
from pg_trio.stages.guardrails import (
    Chain,
    OutputGuards,
    RemoteCaller,
    RemoteGuards,
    compile_chain,
    compile_output,
    compile_remote,
)
from pg_trio.stages.prompt import PromptPlan, compile_prompt
from pg_trio.stages.provider_call import CallPlan, ProviderCall
from pg_trio.stages.rate_limit import LimitPlan, RateLimit
from pg_trio.stages.schemas.input_schema import InputSchema
from pg_trio.stages.schemas.output_schema import OutputSchema

# Applications name a handful of models. A plan takes some 4 KiB.
MODEL_NAMES_KEPT = 256
# The name under which the results of all further models of a credential are remembered.
OTHER_MODELS = "*"
# The contract's "at most ten names, the nearest first". More names, or more of their characters, are not compared:
# a comparison takes 20 µs.
NAMES_TOLD = 10
NAMES_COMPARED = 200
NAME_CHARS_COMPARED = 64


@frozen(slots=True, eq=False)
class EndpointPlan:
    """What the requests of one endpoint need. Each stage compiles its own part."""

    endpoint: Endpoint
    limits: LimitPlan
    spend: SpendPlan
    guards: Chain | None
    remote: RemoteGuards | None
    input_schema: InputSchema | None
    prompt: PromptPlan
    call: CallPlan
    # The same for surfaces that cannot tell a client to drop the text that it has.
    call_without_restarts: CallPlan
    output_schema: OutputSchema | None
    # The guardrails for answers.
    output_guards: OutputGuards | None = None
    has_guardrails: bool = False
    # Whether any guardrail reads answers.
    guards_answers: bool = field(init=False)

    @guards_answers.default
    def _find_answer_guards(self) -> bool:
        return self.output_guards is not None or (self.remote is not None and bool(self.remote.after))

    @property
    def checks_requests(self) -> bool:
        """Whether any guardrail reads requests."""
        return self.guards is not None or (self.remote is not None and self.remote.reads_requests)

    def for_holders(self) -> EndpointPlan:
        """The plan for requests that a holder's budget pays."""
        spend = self.spend.for_holders(self.endpoint.candidates)
        return evolve(self, spend=spend, prompt=compile_prompt(self.endpoint, spend.output_limit_tokens))


@frozen(slots=True, eq=False)
class PlanCompiler:
    """Compiles endpoints for the stages of one worker."""

    rate_limit: RateLimit
    budget: Budget
    provider_call: ProviderCall
    remote_caller: RemoteCaller

    def compile(self, endpoint: Endpoint) -> EndpointPlan:
        """The endpoint's plan. Raises ValueError for a guardrail or schema that the loader refuses."""
        spend, chain = self.budget.compile(endpoint), compile_chain(endpoint.guardrails)
        call = self.provider_call.compile(endpoint)
        return EndpointPlan(
            endpoint=endpoint,
            limits=self.rate_limit.compile(endpoint),
            spend=spend,
            guards=chain if chain.is_in_force else None,
            remote=compile_remote(endpoint.guardrails, self.remote_caller),
            input_schema=None if endpoint.input_schema is None else InputSchema.compile(endpoint.input_schema),
            prompt=compile_prompt(endpoint, spend.output_limit_tokens),
            call=call,
            call_without_restarts=call.without_restarts(),
            output_schema=_compile_output(endpoint),
            output_guards=compile_output(endpoint.guardrails.output, endpoint.prompt),
            has_guardrails=endpoint.guardrails != NO_RULES,
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
        # Projects are compared by identity, so a project of another configuration is a different key despite its UUID.
        self._plans: dict[Project, dict[str, EndpointPlan]] = {}
        # Plans by the names that requests give as `model`, where these are not slugs.
        self._named: dict[Project, dict[str, EndpointPlan]] = {}
        # The models that clients have named through each opened provider, as far as they are remembered one by one.
        self._models: dict[OpenedProvider, set[str]] = {}
        # Endpoints as they were replaced: they hold in place of the project's own.
        self._replaced: dict[Project, dict[str, Endpoint]] = {}
        # The plans that holders' budgets pay, by the plans that they are made of.
        self._of_holders: dict[EndpointPlan, EndpointPlan] = {}

    def find_for(self, caller: Caller, slug: str) -> EndpointPlan:
        """The plan of the endpoint with that slug, for this caller. Raises EndpointNotFound, EndpointNotGranted."""
        if caller.token.grant is not None:
            return self._find_granted(caller, slug, self.find)
        try:
            return self._plans[caller.project][slug]
        except KeyError:
            return self._compile_first(caller.project, slug)

    def find_named(self, caller: Caller, slug: str | None, model: str) -> EndpointPlan:
        """The plan of the endpoint that a body names, for this caller; without one, of the model (see `find_model`).

        Raises EndpointNotFound, ModelNotFound, EndpointNotGranted.
        """
        if slug is not None:
            return self.find_for(caller, slug)
        if caller.token.grant is not None:
            return self._find_granted(caller, model, self.find_model)
        try:
            # Most name a slug.
            return self._plans[caller.project][model]
        except KeyError:
            return self.find_model(caller.project, model)

    def _find_granted(self, caller: Caller, name: str, find: Callable[[Project, str], EndpointPlan]) -> EndpointPlan:
        """What a client token may call by this name."""
        token, grant = caller.token, caller.token.grant
        try:
            plan = find(caller.project, name)
        except (EndpointNotFound, ModelNotFound):
            if token.may_call(name):
                raise EndpointNotFound(mask_client_text(name)) from None
            raise EndpointNotGranted from None
        if not token.may_call(plan.endpoint.slug):
            raise EndpointNotGranted
        return plan if grant is None or grant.monthly_budget_nano_usd is None else self._for_holders(plan)

    def _for_holders(self, plan: EndpointPlan) -> EndpointPlan:
        found = self._of_holders.get(plan)
        if found is None:
            if len(self._of_holders) >= MODEL_NAMES_KEPT:
                self._of_holders.clear()
            found = self._of_holders[plan] = plan.for_holders()
        return found

    def find(self, project: Project, slug: str) -> EndpointPlan:
        """The plan of the project's active endpoint with that slug. Raises EndpointNotFound."""
        try:
            return self._plans[project][slug]
        except KeyError:
            return self._compile_first(project, slug)

    def find_model(self, project: Project, name: str) -> EndpointPlan:
        """The plan for a request that names a model: a slug, a name that an endpoint answers to, or `provider:model`.

        Raises ModelNotFound.
        """
        try:
            return self._plans[project][name]
        except KeyError:
            pass
        try:
            return self._named[project][name]
        except KeyError:
            return self._find_first(project, name)

    def list_names(self, project: Project) -> Iterator[ModelName]:
        """What a request to the project may name as its model: slugs, `provider:model`, or `provider:*` for any."""
        for slug in project.endpoints:
            endpoint = self._replaced.get(project, {}).get(slug) or project.endpoints[slug]
            if endpoint.is_active:
                yield ModelName(slug, is_alias=True)
        opened = [name for entry in project.providers if entry.endpoint.is_active for name in entry.names()]
        yield from [ModelName(name, is_alias=False) for name in dict.fromkeys(opened)]

    def replace(self, project: Project, endpoints: Iterable[Endpoint]) -> None:
        """Replace the project's endpoints of the same slugs by these, for requests that begin from here on.

        All are compiled before any takes effect. Raises ValueError if one cannot be compiled; then nothing has changed.
        """
        changed = {endpoint.slug: endpoint for endpoint in endpoints}
        compiled = {slug: self._compile(endpoint) for slug, endpoint in changed.items() if endpoint.is_active}
        kept = {slug: plan for slug, plan in self._plans.get(project, {}).items() if slug not in changed}
        self._plans = {**self._plans, project: kept | compiled}
        self._named.pop(project, None)
        self._of_holders.clear()
        self._replaced.setdefault(project, {}).update(changed)

    def replace_all(self, compile_plan: Callable[[Endpoint], EndpointPlan]) -> None:
        """Compile every plan again at its next use, because something that all plans hold has changed."""
        self._compile, self._plans, self._named = compile_plan, {}, {}
        self._of_holders.clear()

    def _find_first(self, project: Project, name: str) -> EndpointPlan:
        if not MODEL_NAME.fullmatch(name):
            raise ModelNotFound(None, self._nearest(project, name))
        plan = self._find_named(project, name)
        if plan is None:
            raise ModelNotFound(mask_client_text(name), self._nearest(project, name))
        plans = self._named.setdefault(project, {})
        if len(plans) >= MODEL_NAMES_KEPT:
            del plans[next(iter(plans))]
        plans[name] = plan
        return plan

    def _find_named(self, project: Project, name: str) -> EndpointPlan | None:
        with suppress(EndpointNotFound):
            return self.find(project, name)
        for slug, endpoint in project.endpoints.items():
            if any(fnmatchcase(name, glob) for glob in endpoint.model_names):
                with suppress(EndpointNotFound):
                    return self.find(project, slug)
        provider, _, model = name.partition(":")
        for entry in project.providers:
            if model and entry.credential.provider == provider and entry.takes(model) and entry.endpoint.is_active:
                return self._compile(entry.endpoint_for(model, remembered_as=self._remember(entry, model)))
        return None

    def _remember(self, entry: OpenedProvider, model: str) -> str | None:
        """Under which name the model's results are remembered; None for its own, which the first models have."""
        models = self._models.setdefault(entry, set())
        if len(models) < MODEL_NAMES_KEPT:
            models.add(model)
        return None if model in models else OTHER_MODELS

    def _nearest(self, project: Project, name: str) -> Sequence[str]:
        names = [each.id for each in islice(self.list_names(project), NAMES_COMPARED)]
        asked = SequenceMatcher(b=name[:NAME_CHARS_COMPARED], autojunk=False)

        def nearness(known: str) -> float:
            asked.set_seq1(known[:NAME_CHARS_COMPARED])
            return asked.quick_ratio()

        return sorted(names, key=nearness, reverse=True)[:NAMES_TOLD]

    def _compile_first(self, project: Project, slug: str) -> EndpointPlan:
        endpoint = self._replaced.get(project, {}).get(slug) or project.endpoints.get(slug)
        if endpoint is None or not endpoint.is_active:
            raise EndpointNotFound(mask_client_text(slug))
        plan = self._plans.setdefault(project, {})[slug] = self._compile(endpoint)
        return plan
