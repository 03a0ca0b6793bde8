"""A configuration file -> `Settings`, or every mistake at once. This file has the steps in order."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from attrs import evolve, field, frozen

from pg_trio.config.brackets import mend_brackets
from pg_trio.config.cluster import resolve_cluster
from pg_trio.config.credentials import find_provider, resolve_credentials
from pg_trio.config.environment import note_misspelt, overlay_environment
from pg_trio.config.guardrail_rules import narrow_rules
from pg_trio.config.mistakes import Mistakes
from pg_trio.config.prices import note_unused_prices, resolve_prices
from pg_trio.config.projects import Resolver
from pg_trio.config.reading import MAX_CONFIG_BYTES, Outside, parse_toml, read_text
from pg_trio.config.remote_rules import RemoteRuleReader
from pg_trio.config.schemas import SchemaReader
from pg_trio.config.settings import GatewaySettings, ObserveSettings, ServerSettings, Settings, UpstreamSettings
from pg_trio.config.structuring import structure_sound
from pg_trio.config.tables import FileTable, ProviderTable
from pg_trio.domain.guardrails import GuardrailRules
from pg_trio.domain.project import Project
from pg_trio.errors import ConfigError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@frozen(slots=True)
class Configuration:
    """Settings, notes for their owner, such as settings without effect, and the text that they were read from."""

    settings: Settings
    notes: tuple[str, ...] = ()
    text: str = field(default="", repr=False)


def load_settings(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a configuration file. Raises: ConfigError with every mistake in it."""
    return read_configuration(path, environ).settings


def parse_settings(text: str, source: str, folder: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a configuration text; `source` names it in errors, `folder` is what its paths are relative to.

    Raises: ConfigError with every mistake in it.
    """
    return parse_configuration(text, source, folder, environ).settings


def read_configuration(path: Path, environ: Mapping[str, str] = os.environ) -> Configuration:
    """The settings of a configuration file with their notes. Raises: ConfigError with every mistake in it."""
    try:
        text = read_text(path, MAX_CONFIG_BYTES)
    except ValueError as error:
        raise ConfigError(str(path), [str(error)]) from None
    # Absolute: the paths in the file must keep their meaning if the working directory changes.
    return parse_configuration(text, str(path), path.absolute().parent, environ)


def read_checked_text(path: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The text of a configuration file that is sound. Raises: ConfigError with every mistake in it."""
    return read_configuration(path, environ).text


def parse_configuration(text: str, source: str, folder: Path, environ: Mapping[str, str] = os.environ) -> Configuration:
    """The settings of a configuration text with their notes. Raises: ConfigError with every mistake in it."""
    with collecting_paused():
        return _parse(text, source, Outside(folder, environ))


@contextmanager
def collecting_paused() -> Iterator[None]:
    """No cyclic garbage collection meanwhile.

    With 10,000 endpoints it takes a fifth of the time: all that is read is kept, and scanned again and again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse(text: str, source: str, outside: Outside) -> Configuration:
    try:
        raw = parse_toml(text)
    except ValueError as error:
        raise ConfigError(source, [str(error)]) from None
    mistakes = Mistakes()
    configuration = _resolve(raw, outside, mistakes)
    lines = mistakes.lines()
    if lines:
        raise ConfigError(source, lines)
    return evolve(configuration, text=text)


def _resolve(raw: dict[str, Any], outside: Outside, mistakes: Mistakes) -> Configuration:
    mend_brackets(raw, FileTable, mistakes)
    file = structure_sound(raw, FileTable, (), mistakes)
    sections = {name: getattr(file, name) or {} for name in ("gateway", "upstream", "server", "observe")}
    # A cluster is where its section is, in the file or in the environment.
    sections |= {} if file.cluster is None else {"cluster": file.cluster}
    overlay_environment(sections, outside.environ, mistakes)
    gateway = structure_sound(sections["gateway"], GatewaySettings, ("gateway",), mistakes)
    credentials = resolve_credentials(file.credentials or (), outside, mistakes)
    prices = resolve_prices(file.prices or (), mistakes)
    schemas = SchemaReader(outside.folder, mistakes)
    remote_rules = RemoteRuleReader(credentials, outside, mistakes)
    resolver = Resolver(credentials, schemas, mistakes, prices, gateway.default_output_tokens, remote_rules)
    settings = Settings(
        gateway=evolve(gateway, data_dir=outside.folder / gateway.data_dir),
        upstream=structure_sound(sections["upstream"], UpstreamSettings, ("upstream",), mistakes),
        server=structure_sound(sections["server"], ServerSettings, ("server",), mistakes),
        observe=structure_sound(sections["observe"], ObserveSettings, ("observe",), mistakes),
        cluster=resolve_cluster(sections.get("cluster"), outside, mistakes),
        credentials={name: credential for name, credential in credentials.items() if credential is not None},
        disabled_providers=_resolve_providers(file.providers or {}, mistakes),
        projects=_resolve_projects(file, resolver),
    )
    _note_own_address(file, settings, mistakes)
    return Configuration(settings, (*note_misspelt(outside.environ), *mistakes.notes))


def _note_own_address(file: FileTable, settings: Settings, mistakes: Mistakes) -> None:
    """A provider that is where this gateway listens: llama.cpp's usual port is ours, too."""
    port = int(settings.server.bind.rpartition(":")[2])
    for index, table in enumerate(file.credentials or ()):
        credential = settings.credentials.get(table.name or "") if table is not None else None
        address = None if credential is None else urlsplit(credential.base_url)
        if address is not None and address.hostname in _LOOPBACK and address.port == port:
            mistakes.note(
                ("credentials", index, "base_url"),
                f"{address.netloc} is where server.bind listens, too: give one of them another port",
            )


def _resolve_providers(tables: Mapping[str, ProviderTable | None], mistakes: Mistakes) -> frozenset[str]:
    known = {
        name: table for name, table in tables.items() if find_provider(name, ("providers", name), mistakes) is not None
    }
    return frozenset(name for name, table in known.items() if table is not None and table.enabled is False)


def _resolve_projects(file: FileTable, resolver: Resolver) -> dict[UUID, Project]:
    rules = narrow_rules(GuardrailRules(), file.guardrails, ("guardrails",), resolver.remote_rules)
    projects = {}
    for index, table in enumerate(file.projects or ()):
        project = resolver.resolve_project(table, ("projects", index), rules) if table is not None else None
        if project is not None:
            projects[project.uuid] = project
    _note_what_is_empty(file, resolver.mistakes)
    note_unused_prices(resolver.prices, list(projects.values()), resolver.mistakes)
    return projects


def _note_what_is_empty(file: FileTable, mistakes: Mistakes) -> None:
    if not file.projects:
        mistakes.note(
            (), "there are no [[projects]], so there is nothing to call (docs/example.toml shows all there may be)"
        )
    for index, project in enumerate(file.projects or ()):
        if project is not None and not project.endpoints and not project.providers:
            mistakes.note(("projects", index), "has no [[projects.endpoints]], so there is nothing to call in it")
