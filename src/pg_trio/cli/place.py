"""The data directory and the project that a command's options name."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from attrs import frozen

from pg_trio.config.cluster_settings import ClusterSettings
from pg_trio.config.location import CONFIG_VARIABLE
from pg_trio.domain.project import Project
from pg_trio.errors import ConfigError

if TYPE_CHECKING:
    from pg_trio.stores.administration import LogRows


@frozen(slots=True)
class Place:
    """The data directory of tokens and the log. `projects` is None if no configuration was read; otherwise `source`
    names the configuration."""

    data_dir: Path
    projects: tuple[Project, ...] | None
    source: str
    # None: one machine, or no configuration was read.
    cluster: ClusterSettings | None = None
    timezone: str = "UTC"


def add_place(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--config` and `--data-dir` to the parser; `what` is the help text of `--data-dir`."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--config", type=Path, metavar="FILE", help="the configuration (default: $PG_TRIO_CONFIG)")
    place.add_argument("--data-dir", type=Path, metavar="DIR", help=what)


def add_actions(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    run: Callable[[argparse.Namespace], int],
    where: str,
) -> Callable[[str, str], argparse.ArgumentParser]:
    """What adds an action of a command, by its name and its help, with a place. `where` is the help of `--data-dir`."""

    def add_action(name: str, what: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=what, description=what)
        add_place(parser, where)
        parser.set_defaults(run=run)
        return parser

    return add_action


def locate(arguments: argparse.Namespace, command: str) -> Place:
    """The place that `--config` or `--data-dir` names. Raises: ConfigError."""
    if arguments.data_dir is not None:
        return Place(arguments.data_dir, None, "--data-dir")
    config = arguments.config or os.environ.get(CONFIG_VARIABLE, "").strip()
    if not config:
        raise ConfigError(command, [f"no configuration: give --config FILE, set {CONFIG_VARIABLE}, or --data-dir DIR"])
    from pg_trio.config import load_settings

    settings = load_settings(Path(config))
    limits, projects = settings.gateway, tuple(settings.projects.values())
    return Place(limits.data_dir, projects, str(config), settings.cluster, limits.timezone)


def open_log(place: Place) -> LogRows:
    """The log of a place, for reading. Says on standard error what is missing in it. Raises StoreError."""
    from pg_trio.stores.administration import administer

    rows = administer(place.data_dir, place.cluster).open_log()
    if rows.note is not None:
        print(rows.note, file=sys.stderr)
    return rows


def find_project(place: Place, wanted: str, command: str) -> UUID:
    """The project's UUID by its uuid, slug or name; without a configuration, by its uuid. Raises: ConfigError."""
    if place.projects is None:
        try:
            return UUID(wanted)
        except ValueError as exc:
            mistake = f"--project: {wanted!r} is not a UUID; slugs and names need --config FILE in place of --data-dir"
            raise ConfigError(command, [mistake]) from exc
    matches = [project for project in place.projects if _is_meant(project, wanted)]
    if len(matches) == 1:
        return matches[0].uuid
    if matches:
        listed = _list_projects(matches)
        raise ConfigError(place.source, [f"--project: several projects are named {wanted!r}; use a uuid: {listed}"])
    listed = _list_projects(place.projects)
    raise ConfigError(
        place.source, [f"--project: no project has the uuid, slug or name {wanted!r}; there are: {listed}"]
    )


def _is_meant(project: Project, wanted: str) -> bool:
    return wanted in (project.slug, project.name) or wanted.lower() == str(project.uuid)


def _list_projects(projects: Iterable[Project]) -> str:
    return ", ".join(f"{project.slug} ({project.uuid})" for project in projects) or "none"
