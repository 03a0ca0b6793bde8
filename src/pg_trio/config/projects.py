"""`[[projects]]` and their endpoints -> domain values: references, slugs, identifiers, templates, schemas."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID, uuid5

import attrs
from attrs import define, field

from pg_trio.config.bounds import show
from pg_trio.config.guardrail_rules import narrow_rules
from pg_trio.config.mistakes import Mistakes, Path, show_path, suggest
from pg_trio.config.model_names import note_names
from pg_trio.config.prices import LIST, find_price
from pg_trio.config.remote_rules import RemoteRuleReader
from pg_trio.config.schemas import SchemaReader, as_json
from pg_trio.config.tables import CallTable, EndpointTable, OpenedProviderTable, ProjectTable
from pg_trio.domain.guardrails import GuardrailRules
from pg_trio.domain.origins import AllowedOrigins, check_origins
from pg_trio.domain.prices import PriceRule, TokenPrice
from pg_trio.domain.project import RESERVED_SLUGS, Candidate, Credential, Endpoint, OpenedProvider, Project
from pg_trio.domain.provider import MIN_THINKING_TOKENS, PROVIDERS

PLACEHOLDER = "{{input}}"
WRAPPER = "ai_wrapper"

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
    "resume_window_ms": "resumable_streams",
    "resume_bytes": "resumable_streams",
    "orphan_grace_ms": "resumable_streams",
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
    if attribute.name in {setting.name for setting in attrs.fields(CallTable)}
    and attribute.name not in {"uuid", "name", "input_schema", "output_schema", "guardrails"}
)
# An opened provider's own candidate, until a client names the model.
ANY_MODEL = "*"
FLAT_RATE = "estimated_cost_per_1k_tokens_usd"


@define
class Resolver:
    """Resolves the projects of one configuration."""

    credentials: Mapping[str, Credential | None]
    schemas: SchemaReader
    mistakes: Mistakes
    prices: tuple[PriceRule, ...]
    # The limit of an answer where a budget of money needs one and the endpoint has none.
    default_output_tokens: int
    remote_rules: RemoteRuleReader
    _owners: dict[Hashable, Path] = field(factory=dict)

    def resolve_project(self, table: ProjectTable, path: Path, wider: GuardrailRules) -> Project | None:
        """The project with its endpoints; None if a mistake leaves it without a name or identifier."""
        rules = narrow_rules(wider, table.guardrails, (*path, "guardrails"), self.remote_rules)
        metadata = as_json(table.metadata or {}, (*path, "metadata"), self.mistakes)
        slug = table.slug
        if slug is None and table.name is not None and not self.mistakes.has((*path, "slug")):
            slug = derive_slug(table.name, table.uuid)
        self._claim("uuid", table.uuid, (*path, "uuid"))
        self._claim("slug", slug, (*path, "slug"))
        endpoints: dict[str, Endpoint] = {}
        for index, item in enumerate(table.endpoints or ()):
            place: Path = (*path, "endpoints", index)
            endpoint = self._resolve_endpoint(item, place, rules, table) if item is not None else None
            if endpoint is not None:
                endpoints[endpoint.slug] = endpoint
        providers = self._resolve_providers(table, path, rules)
        note_names(table, path, self.credentials, self.mistakes)
        if table.uuid is None or table.name is None or slug is None:
            return None
        given = {name: getattr(table, name) for name in ("project_type", "env", "is_active")}
        return Project(
            uuid=table.uuid,
            name=table.name,
            slug=slug,
            metadata=metadata,
            endpoints=endpoints,
            providers=providers,
            cors_origins=self._read_origins(table, path),
            **{name: value for name, value in given.items() if value is not None},
        )

    def _read_origins(self, table: ProjectTable, path: Path) -> AllowedOrigins | None:
        entries = tuple(entry for entry in table.cors_origins or () if entry is not None)
        try:
            check_origins(entries)
        except ValueError as error:
            self.mistakes.add((*path, "cors_origins"), str(error))
            return None
        return AllowedOrigins(entries) if entries else None

    def _resolve_endpoint(
        self, table: EndpointTable, path: Path, wider: GuardrailRules, owner: ProjectTable
    ) -> Endpoint | None:
        self._check_slug(table, path)
        self._check_call(table, path)
        candidates = self._resolve_candidates(table, (table.credential, table.model), path)
        flat = table.estimated_cost_per_1k_tokens_usd
        prices = tuple(find_price(candidate, self.prices, flat) for candidate in candidates)
        self._note_budget(table, candidates, prices, path)
        self._note_thinking(table, candidates, prices, path)
        settings = self._read_settings(table, path, wider)
        uuid = table.uuid
        if uuid is None and owner.uuid is not None and table.slug is not None:
            uuid = uuid5(owner.uuid, table.slug)
        # A derived UUID repeats only if the slug or the project does, which is reported there.
        if table.uuid is not None or not (self.mistakes.has((*path, "slug")) or self.mistakes.has((*path[:2], "uuid"))):
            self._claim("endpoint", uuid, (*path, "uuid"))
        if uuid is None or table.slug is None:
            return None
        settings.setdefault("pass_unknown_fields", owner.project_type == WRAPPER)
        return Endpoint(
            uuid=uuid,
            slug=table.slug,
            name=table.name or table.slug,
            candidates=candidates,
            prices=prices,
            model_names=tuple(glob for glob in table.model_names or () if glob is not None),
            **settings,
        )

    def _resolve_providers(self, table: ProjectTable, path: Path, wider: GuardrailRules) -> tuple[OpenedProvider, ...]:
        """The credentials that the project opens to its clients."""
        items = [(item, (*path, "providers", index)) for index, item in enumerate(table.providers or ())]
        if items and table.project_type != WRAPPER:
            self.mistakes.add((*path, "providers"), f"only a project of the type {WRAPPER} opens credentials")
        # Several entries may have one credential, with models of their own.
        counts: Counter[str] = Counter()
        found = []
        for item, place in items:
            if item is None:
                continue
            endpoint = self._resolve_opened(
                item, place, wider, table.uuid or UUID(int=0), counts[item.credential or ""]
            )
            counts[item.credential or ""] += 1
            if endpoint is not None:
                prices = partial(find_price, rules=self.prices, flat_usd_per_1k=item.estimated_cost_per_1k_tokens_usd)
                found.append(OpenedProvider(tuple(glob for glob in item.models or () if glob), endpoint, prices))
        return tuple(found)

    def _resolve_opened(
        self, table: OpenedProviderTable, path: Path, wider: GuardrailRules, project: UUID, number: int
    ) -> Endpoint | None:
        """The settings of an opened provider's calls. `number` counts the earlier entries of its credential."""
        self._check_call(table, path)
        candidates = self._resolve_candidates(table, (table.credential, ANY_MODEL), path)
        settings = self._read_settings(table, path, wider)
        self._note_opened(table, candidates, path)
        if table.uuid is not None:
            self._claim("endpoint", table.uuid, (*path, "uuid"))
        if not candidates or candidates[0].model != ANY_MODEL:
            return None
        settings.setdefault("pass_unknown_fields", True)
        # Applications that name models themselves stream at will.
        settings.setdefault("streaming_enabled", table.output_schema is None)
        flat = table.estimated_cost_per_1k_tokens_usd
        name = f"{candidates[0].provider}:{ANY_MODEL}"
        return Endpoint(
            uuid=table.uuid or uuid5(project, f"providers/{table.credential}/{number}"),
            slug=name,
            name=table.name or name,
            candidates=candidates,
            prices=(None, *[find_price(candidate, self.prices, flat) for candidate in candidates[1:]]),
            **settings,
        )

    def _note_opened(self, table: OpenedProviderTable, candidates: tuple[Candidate, ...], path: Path) -> None:
        """The notes of an endpoint, for the models that the entry names; globs have the prices of what is asked for."""
        flat = table.estimated_cost_per_1k_tokens_usd
        if not candidates or table.monthly_budget_usd is None or flat is not None:
            return
        globs = [glob for glob in table.models or ["*"] if glob]
        named = [glob for glob in globs if not any(sign in glob for sign in "*?[")]
        without = [
            name for name in named if find_price(Candidate(candidates[0].credential, name), self.prices, None) is None
        ]
        place = (*path, "monthly_budget_usd")
        if without:
            told = ", ".join(map(show, without))
            self.mistakes.note(place, f"does not count {told}: no price is known, and no {FLAT_RATE} is given")
        if len(named) < len(globs):
            self.mistakes.note(place, f"counts only models with a known price; {FLAT_RATE} holds for the others")

    def _check_call(self, table: CallTable, path: Path) -> None:
        self._check_template(table, path)
        self._check_hedging(table, path)
        self._check_thinking(table, path)
        self._note_what_has_no_effect(table, path)

    def _read_settings(self, table: CallTable, path: Path, wider: GuardrailRules) -> dict[str, Any]:
        """The settings that are given and need no other table, by their names in Endpoint."""
        rules = narrow_rules(wider, table.guardrails, (*path, "guardrails"), self.remote_rules)
        schemas = {name: self._read_schema(table, name, path) for name in ("input_schema", "output_schema")}
        given = {name: getattr(table, name) for name in _COPIED}
        return {
            "guardrails": rules,
            **schemas,
            **{name: value for name, value in given.items() if value is not None},
        }

    def _resolve_candidates(
        self, table: CallTable, own: tuple[str | None, str | None], path: Path
    ) -> tuple[Candidate, ...]:
        """The endpoint's own candidate, then its failover; those with a mistake are left out and reported."""
        places: list[tuple[str | None, str | None, Path]] = [(*own, path)]
        places += [
            (item.credential, item.model, (*path, "failover", index))
            for index, item in enumerate(table.failover or ())
            if item is not None
        ]
        candidates = []
        for name, model, place in places:
            if name is None:
                continue
            if name not in self.credentials:
                close = suggest(name, self.credentials)
                self.mistakes.add((*place, "credential"), f"no credential is named {show(name)}{close}")
                continue
            credential = self.credentials[name]
            if credential is not None and model is not None:
                candidates.append(Candidate(credential, model))
        return tuple(candidates)

    def _check_slug(self, table: EndpointTable, path: Path) -> None:
        if table.slug in RESERVED_SLUGS:
            self.mistakes.add((*path, "slug"), f'"{table.slug}" is a word that the routes use')
        # Slugs are unique within their project, and the path names it.
        self._claim(("endpoint slug", path[:-1]), table.slug, (*path, "slug"))

    def _check_template(self, table: CallTable, path: Path) -> None:
        template = table.user_prompt_template
        if template is not None and PLACEHOLDER not in template:
            self.mistakes.add(
                (*path, "user_prompt_template"), f"has no {PLACEHOLDER}, so the user's text would be lost"
            )
        if table.streaming_enabled and table.output_schema is not None:
            self.mistakes.add((*path, "streaming_enabled"), "not together with output_schema")
        if table.resumable_streams and not table.streaming_enabled:
            self.mistakes.add((*path, "resumable_streams"), "needs streaming_enabled")

    def _check_hedging(self, table: CallTable, path: Path) -> None:
        if table.hedge_after is not None and table.hedge_after_ms is not None:
            self.mistakes.add((*path, "hedge_after"), "not together with hedge_after_ms")

    def _check_thinking(self, table: CallTable, path: Path) -> None:
        effort, budget = table.reasoning_effort, table.thinking_budget_tokens
        # The wires would differ in which of the two wins.
        if effort is not None and budget is not None and (effort == "none") != (budget == 0):
            self.mistakes.add(
                (*path, "thinking_budget_tokens"), f"{budget} contradicts reasoning_effort {show(effort)}"
            )

    def _note_what_has_no_effect(self, table: CallTable, path: Path) -> None:
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
        table: CallTable,
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

    def _read_schema(self, table: CallTable, name: str, path: Path) -> Any:
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
