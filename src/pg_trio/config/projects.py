"""`[[projects]]` and their endpoints -> domain values: references, slugs, identifiers, templates, schemas."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

import attrs
from attrs import define, field

from pg_trio.config.bounds import show
from pg_trio.config.guardrail_rules import narrow_rules
from pg_trio.config.mistakes import Mistakes, Path, show_path, suggest
from pg_trio.config.prices import LIST, find_price
from pg_trio.config.schemas import SchemaReader, as_json
from pg_trio.config.tables import EndpointTable, FailoverTable, ProjectTable
from pg_trio.domain.guardrails import GuardrailRules
from pg_trio.domain.prices import PriceRule, TokenPrice
from pg_trio.domain.project import RESERVED_SLUGS, Candidate, Credential, Endpoint, Project
from pg_trio.domain.provider import MIN_THINKING_TOKENS, PROVIDERS

PLACEHOLDER = "{{input}}"

# Wires with budgets of thinking. On all of them the answer's limit includes it.
THINKING_IN_LIMIT = frozenset({"anthropic", "google", "cohere"})

# Settings without effect unless another one is set: not mistakes, but notes.
NEEDED = {
    "session_ttl_seconds": "sessions_enabled",
    "session_max_messages": "sessions_enabled",
    "session_max_tokens": "sessions_enabled",
    "stream_deadline_ms": "streaming_enabled",
    "first_token_timeout_ms": "streaming_enabled",
    "idle_timeout_ms": "streaming_enabled",
    "enforce_output_schema": "output_schema",
    "output_repair": "output_schema",
    "output_repair_attempts": "output_schema",
    "hedge_after_ms": "failover",
    "hedge_after": "failover",
}

# Settings that Endpoint has under the same name and that need only their own check.
_COPIED = tuple(
    attribute.name
    for attribute in attrs.fields(Endpoint)
    if attribute.name in {setting.name for setting in attrs.fields(EndpointTable)}
    and attribute.name not in {"uuid", "slug", "name", "input_schema", "output_schema", "guardrails"}
)


@define
class Resolver:
    """Resolves the projects of one configuration."""

    credentials: Mapping[str, Credential | None]
    schemas: SchemaReader
    mistakes: Mistakes
    prices: tuple[PriceRule, ...]
    # The limit of an answer where a budget of money needs one and the endpoint has none.
    default_output_tokens: int
    _owners: dict[Hashable, Path] = field(factory=dict)

    def resolve_project(self, table: ProjectTable, path: Path, wider: GuardrailRules) -> Project | None:
        """The project with its endpoints; None if a mistake leaves it without a name or identifier."""
        rules = narrow_rules(wider, table.guardrails, (*path, "guardrails"), self.mistakes)
        metadata = as_json(table.metadata or {}, (*path, "metadata"), self.mistakes)
        slug = table.slug
        if slug is None and table.name is not None and not self.mistakes.has((*path, "slug")):
            slug = derive_slug(table.name, table.uuid)
        self._claim("uuid", table.uuid, (*path, "uuid"))
        self._claim("slug", slug, (*path, "slug"))
        endpoints: dict[str, Endpoint] = {}
        for index, item in enumerate(table.endpoints or ()):
            place: Path = (*path, "endpoints", index)
            endpoint = self._resolve_endpoint(item, place, rules, table.uuid) if item is not None else None
            if endpoint is not None:
                endpoints[endpoint.slug] = endpoint
        if table.uuid is None or table.name is None or slug is None:
            return None
        given = {name: getattr(table, name) for name in ("project_type", "env", "is_active")}
        return Project(
            uuid=table.uuid,
            name=table.name,
            slug=slug,
            metadata=metadata,
            endpoints=endpoints,
            **{name: value for name, value in given.items() if value is not None},
        )

    def _resolve_endpoint(
        self, table: EndpointTable, path: Path, wider: GuardrailRules, project: UUID | None
    ) -> Endpoint | None:
        self._check_slug(table, path)
        self._check_template(table, path)
        self._check_hedging(table, path)
        self._check_thinking(table, path)
        self._note_what_has_no_effect(table, path)
        candidates = self._resolve_candidates(table, path)
        flat = table.estimated_cost_per_1k_tokens_usd
        prices = tuple(find_price(candidate, self.prices, flat) for candidate in candidates)
        self._note_budget(table, candidates, prices, path)
        self._note_thinking(table, candidates, prices, path)
        rules = narrow_rules(wider, table.guardrails, (*path, "guardrails"), self.mistakes)
        schemas = {name: self._read_schema(table, name, path) for name in ("input_schema", "output_schema")}
        uuid = table.uuid
        if uuid is None and project is not None and table.slug is not None:
            uuid = uuid5(project, table.slug)
        # A derived UUID repeats only if the slug or the project does, which is reported there.
        if table.uuid is not None or not (self.mistakes.has((*path, "slug")) or self.mistakes.has((*path[:2], "uuid"))):
            self._claim("endpoint", uuid, (*path, "uuid"))
        if uuid is None or table.slug is None:
            return None
        given = {name: getattr(table, name) for name in _COPIED}
        return Endpoint(
            uuid=uuid,
            slug=table.slug,
            name=table.name or table.slug,
            candidates=candidates,
            guardrails=rules,
            prices=prices,
            **schemas,
            **{name: value for name, value in given.items() if value is not None},
        )

    def _resolve_candidates(self, table: EndpointTable, path: Path) -> tuple[Candidate, ...]:
        """The endpoint's own candidate, then its failover; those with a mistake are left out and reported."""
        places: list[tuple[EndpointTable | FailoverTable | None, Path]] = [(table, path)]
        places += [(item, (*path, "failover", index)) for index, item in enumerate(table.failover or ())]
        candidates = []
        for item, place in places:
            if item is None or item.credential is None:
                continue
            if item.credential not in self.credentials:
                close = suggest(item.credential, self.credentials)
                self.mistakes.add((*place, "credential"), f"no credential is named {show(item.credential)}{close}")
                continue
            credential = self.credentials[item.credential]
            if credential is not None and item.model is not None:
                candidates.append(Candidate(credential, item.model))
        return tuple(candidates)

    def _check_slug(self, table: EndpointTable, path: Path) -> None:
        if table.slug in RESERVED_SLUGS:
            self.mistakes.add((*path, "slug"), f'"{table.slug}" is a word that the routes use')
        # Slugs are unique within their project, and the path names it.
        self._claim(("endpoint slug", path[:-1]), table.slug, (*path, "slug"))

    def _check_template(self, table: EndpointTable, path: Path) -> None:
        template = table.user_prompt_template
        if template is not None and PLACEHOLDER not in template:
            self.mistakes.add(
                (*path, "user_prompt_template"), f"has no {PLACEHOLDER}, so the user's text would be lost"
            )
        if table.streaming_enabled and table.output_schema is not None:
            self.mistakes.add((*path, "streaming_enabled"), "not together with output_schema")

    def _check_hedging(self, table: EndpointTable, path: Path) -> None:
        if table.hedge_after is not None and table.hedge_after_ms is not None:
            self.mistakes.add((*path, "hedge_after"), "not together with hedge_after_ms")

    def _check_thinking(self, table: EndpointTable, path: Path) -> None:
        effort, budget = table.reasoning_effort, table.thinking_budget_tokens
        # The wires would differ in which of the two wins.
        if effort is not None and budget is not None and (effort == "none") != (budget == 0):
            self.mistakes.add(
                (*path, "thinking_budget_tokens"), f"{budget} contradicts reasoning_effort {show(effort)}"
            )

    def _note_what_has_no_effect(self, table: EndpointTable, path: Path) -> None:
        for name, needed in NEEDED.items():
            value = getattr(table, needed)
            # 0 is a valid price.
            lacks = value is None or value is False or value == []
            if lacks and getattr(table, name) is not None:
                self.mistakes.note((*path, name), f"has no effect without {needed}")
        if table.hedge_tools and table.hedge_after is None and table.hedge_after_ms is None:
            self.mistakes.note((*path, "hedge_tools"), "has no effect without hedge_after or hedge_after_ms")
        if table.on_stream_failure not in (None, "error") and not (table.streaming_enabled and table.failover):
            self.mistakes.note((*path, "on_stream_failure"), "has no effect without streaming_enabled and failover")

    def _note_budget(
        self,
        table: EndpointTable,
        candidates: Sequence[Candidate],
        prices: Sequence[TokenPrice | None],
        path: Path,
    ) -> None:
        """Say what a budget goes by, where that is not the file's own price for each candidate."""
        if table.monthly_budget_usd is None or not candidates:
            return
        path = (*path, "monthly_budget_usd")
        if not any(prices):
            self.mistakes.note(path, "has no effect without [[prices]] or estimated_cost_per_1k_tokens_usd")
            return
        for candidate, price in zip(candidates, prices, strict=True):
            name = f"{candidate.provider}'s {show(candidate.model)}"
            if price is None:
                self.mistakes.note(path, f"{name} has no price, so the dearest of the other candidates' holds for it")
            elif price.source.startswith(LIST):
                self.mistakes.note(path, f"{name} has no price here, so that of the shipped {price.source} holds")

    def _note_thinking(
        self,
        table: EndpointTable,
        candidates: Sequence[Candidate],
        prices: Sequence[TokenPrice | None],
        path: Path,
    ) -> None:
        """Say where the limit of the answer leaves no room for thinking, or thinking leaves none for the answer."""
        limit, whose = table.max_output_tokens, "max_output_tokens"
        if limit is None and table.monthly_budget_usd is not None and any(prices):
            limit, whose = self.default_output_tokens, "gateway.default_output_tokens"
        budget, effort = table.thinking_budget_tokens, table.reasoning_effort
        if limit is None or (not budget and effort in (None, "none")):
            return
        path = (*path, "thinking_budget_tokens" if budget else "reasoning_effort")
        wires = {PROVIDERS[candidate.provider].wire for candidate in candidates}
        said = f"the answer's limit of {limit} tokens ({whose})"
        if "anthropic" in wires and limit <= MIN_THINKING_TOKENS:
            self.mistakes.note(
                path, f"{said} leaves Claude up to 4.5 no room: it thinks with {MIN_THINKING_TOKENS} or more"
            )
        elif budget and budget >= limit and wires & THINKING_IN_LIMIT:
            self.mistakes.note(path, f"{said} includes thinking, so {budget} tokens leave no room for the answer")

    def _read_schema(self, table: EndpointTable, name: str, path: Path) -> Any:
        value = getattr(table, name)
        return None if value is None else self.schemas.read(value, (*path, name))

    def _claim(self, kind: Hashable, value: Hashable | None, path: Path) -> None:
        """Record the value for its owner; it is a mistake if the value is already taken."""
        if value is None:
            return
        owner = self._owners.setdefault((kind, value), path)
        if owner != path:
            self.mistakes.add(path, f"{show(value)} belongs to {show_path(owner[:-1])} already")


def derive_slug(name: str, uuid: UUID | None) -> str | None:
    """A project's slug from its name: lower case, other characters as hyphens; from its UUID if nothing is left."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:64].strip("-")
    return slug or (f"project-{str(uuid)[:8]}" if uuid is not None else None)
