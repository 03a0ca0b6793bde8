"""Operators' overrides, applied to a running gateway. An override wins over the file until it is taken back.

Rules:
1. A target that the configuration no longer has is left alone: the override holds again when the target is back.
2. An override that the file's rules refuse (another release wrote it) is logged and left out. The target's others hold:
   what was switched off stays off.
3. Applying the same overrides again changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from attrs import define, field

from pg_trio.catalogue import Catalogue, PlanCompiler
from pg_trio.config.changed_settings import override_as_far_as_sound
from pg_trio.config.settings import Settings
from pg_trio.domain.json_value import Json
from pg_trio.domain.operator import Override
from pg_trio.domain.project import Endpoint, Project

logger = logging.getLogger("pg_trio.overrides")

PROVIDER, ENDPOINT = "provider:", "endpoint:"


@define(eq=False)
class Overrides:
    """The overrides of one worker's gateway, as they hold now."""

    settings: Settings
    catalogue: Catalogue
    compiler: PlanCompiler
    # By target, then by the setting's name.
    held: dict[str, dict[str, Json]] = field(factory=dict, init=False)

    def apply(self, overrides: Sequence[Override]) -> None:
        """Let these overrides hold, and no others, for requests that begin from here on."""
        wanted: dict[str, dict[str, Json]] = {}
        for override in overrides:
            wanted.setdefault(override.target, {})[override.field] = override.value
        before, self.held = self.held, wanted
        disabled = self.disabled_providers()
        if disabled != self.compiler.provider_call.disabled_providers:
            self.compiler.provider_call.disabled_providers = disabled
            self.catalogue.replace_all(self.compiler.compile)
        for project, slugs in self._changed_endpoints(before).items():
            self.catalogue.replace(project, [self.endpoint(project, slug) for slug in slugs])

    def disabled_providers(self) -> frozenset[str]:
        """The providers that are switched off, by the file or by an operator."""
        disabled = set(self.settings.disabled_providers)
        for target, changes in self.held.items():
            if target.startswith(PROVIDER) and isinstance(changes.get("is_active"), bool):
                name = target.removeprefix(PROVIDER)
                disabled = disabled - {name} if changes["is_active"] else disabled | {name}
        return frozenset(disabled)

    def endpoint(self, project: Project, slug: str) -> Endpoint:
        """The endpoint as it holds. The project must have it."""
        own, changes = project.endpoints[slug], self.held.get(endpoint_target(project.uuid, slug), {})
        endpoint, mistakes = override_as_far_as_sound(own, changes)
        if mistakes:
            logger.error("overrides of %s/%s are left out: %s", project.slug, slug, "; ".join(mistakes))
        return endpoint

    def _changed_endpoints(self, before: Mapping[str, dict[str, Json]]) -> dict[Project, list[str]]:
        changed: dict[Project, list[str]] = {}
        for target in before.keys() | self.held.keys():
            if before.get(target) != self.held.get(target):
                for project, slug in self._find_endpoint(target):
                    changed.setdefault(project, []).append(slug)
        return changed

    def _find_endpoint(self, target: str) -> Iterator[tuple[Project, str]]:
        if target.startswith(ENDPOINT):
            uuid, _, slug = target.removeprefix(ENDPOINT).partition("/")
            project = self.settings.projects.get(UUID(uuid))
            if project is not None and slug in project.endpoints:
                yield project, slug


def endpoint_target(project: UUID, slug: str) -> str:
    """The target of an endpoint's overrides."""
    return f"{ENDPOINT}{project}/{slug}"


def provider_target(name: str) -> str:
    """The target of a provider's overrides."""
    return f"{PROVIDER}{name}"
