"""`pg-trio check`: is this configuration usable?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pg_trio.cli.notes import describe_notes
from pg_trio.cli.worst_case import describe_worst_cases
from pg_trio.config import Configuration, read_configuration
from pg_trio.config.location import CONFIG_VARIABLE, find_configuration
from pg_trio.config.settings import Settings
from pg_trio.errors import ConfigError
from pg_trio.transport.tls import client_context


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="check a configuration file",
        description="Check a configuration: exit status 0 and a summary, or 1 and every mistake on standard error.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"configuration file (default: ${CONFIG_VARIABLE})")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the file and report the result; nothing is opened, created or sent."""
    try:
        path = find_configuration(arguments.config)
        configuration = read_configuration(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    mistakes = check_certificates(configuration.settings)
    if mistakes:
        print(ConfigError(str(path), mistakes), file=sys.stderr)
        return 1
    print(summarize(str(path), configuration))
    return 0


def check_certificates(settings: Settings) -> list[str]:
    """The mistakes in certificates and keys that only OpenSSL can find."""
    mistakes = []
    for credential in settings.credentials.values():
        if credential.httpx is not None:
            try:
                client_context(credential.httpx)
            except ValueError as error:
                mistakes.append(f"credential {credential.name}: {error}")
    return mistakes


def summarize(source: str, configuration: Configuration) -> str:
    """A summary of the configuration in a few lines, and its notes."""
    settings = configuration.settings
    endpoints = sum(len(project.endpoints) for project in settings.projects.values())
    lines = [
        f"{source}: no mistakes",
        f"  projects: {len(settings.projects)} · endpoints: {endpoints} · credentials: {len(settings.credentials)}",
    ]
    if settings.disabled_providers:
        lines.append(f"  providers switched off: {', '.join(sorted(settings.disabled_providers))}")
    lines += [f"  {line}" for line in describe_worst_cases(settings)]
    lines += [f"  note: {note}" for note in describe_notes(configuration)]
    return "\n".join(lines)
