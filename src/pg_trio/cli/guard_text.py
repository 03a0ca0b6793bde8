"""`pg-trio guard`: reads a text from standard input, and shows what each guardrail of an endpoint finds in it.

The text is checked as a client's message, or with `--output` as an answer. Nothing is sent or stored: webhooks and
moderations are asked only with `--remote`. Places are offsets in characters of the text as the earlier guardrails left
it. Exit status 1: a guardrail would refuse it; 0: none would; 2: there was nothing to check it with.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg_trio.cli.columns import printable
from pg_trio.config.location import CONFIG_VARIABLE, find_configuration
from pg_trio.config.mistakes import suggest
from pg_trio.config.settings import Settings
from pg_trio.domain.guardrails import GuardPhase
from pg_trio.domain.project import Endpoint, Project
from pg_trio.errors import ConfigError

if TYPE_CHECKING:
    from pg_trio.stages.guardrails.inspection import Inspection

NAME_CHARS = 22
# More would not be read; `--json` has all.
PLACES_SHOWN = 8
NOTHING_CHECKED = 2


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("guard", help="show what an endpoint's guardrails find in a text", description=__doc__)
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"configuration file (default: ${CONFIG_VARIABLE})")
    parser.add_argument("--endpoint", metavar="SLUG", required=True, help="whose guardrails")
    parser.add_argument(
        "--project", metavar="P", help="its project, by slug, name or UUID, where several have such an endpoint"
    )
    parser.add_argument("--output", action="store_true", help="check the text as an answer")
    parser.add_argument(
        "--remote", action="store_true", help="also ask the webhook and the moderation: the text is sent"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for each guardrail")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show what each guardrail does with the text."""
    from pg_trio.config import load_settings

    try:
        settings = load_settings(find_configuration(arguments.config))
        project, endpoint = find_endpoint(settings, arguments.endpoint, arguments.project)
        text = read_text_of(sys.stdin.buffer.read(settings.gateway.max_body_bytes + 1), settings)
    except (ConfigError, ValueError) as error:
        # Not 1, which says that the text would be refused.
        print(f"pg-trio: {error}", file=sys.stderr)
        return NOTHING_CHECKED
    found = list(inspect(endpoint, text, is_answer=arguments.output))
    services = list_services(endpoint, is_answer=arguments.output)
    if arguments.remote and services:
        from pg_trio.cli.guard_services import Asking, ask_services

        phase: GuardPhase = "output" if arguments.output else "input"
        found += ask_services(settings, Asking(project, endpoint, phase), found[-1].text if found else text)
        services = []
    show = show_json if arguments.json else show_lines
    for line in show(found, services, text):
        print(line)
    return 1 if any(each.refusal is not None for each in found) else 0


def find_endpoint(settings: Settings, slug: str, project: str | None) -> tuple[Project, Endpoint]:
    """The endpoint, and its project. Raises ValueError if there is none, or if there are several."""
    projects = [
        each
        for each in settings.projects.values()
        if project is None or project in (each.slug, each.name) or project.lower() == str(each.uuid)
    ]
    if not projects:
        slugs = [each.slug for each in settings.projects.values()]
        raise ValueError(f"no project has the slug, name or UUID {project!r}{suggest(project or '', slugs)}")
    found = [(each, each.endpoints[slug]) for each in projects if slug in each.endpoints]
    if not found:
        known = [name for each in projects for name in each.endpoints]
        raise ValueError(f"no endpoint has the slug {slug!r}{suggest(slug, known)}")
    if len(found) > 1:
        slugs = [each.slug for each, _ in found]
        raise ValueError(f"several projects have such an endpoint: give --project, one of {', '.join(slugs)}")
    return found[0]


def read_text_of(data: bytes, settings: Settings) -> str:
    """The text without the line's end that shells add. Raises ValueError."""
    limit = settings.gateway.max_body_bytes
    if len(data) > limit:
        raise ValueError(f"the text is over {limit} bytes (gateway.max_body_bytes)")
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not UTF-8 (byte {error.start})") from None


def inspect(endpoint: Endpoint, text: str, *, is_answer: bool) -> Iterator[Inspection]:
    """What the endpoint's local guardrails find."""
    from pg_trio.stages.guardrails.inspection import inspect_answer, inspect_request

    if is_answer:
        return inspect_answer(endpoint.guardrails.output, endpoint.prompt, text)
    return inspect_request(endpoint.guardrails, text)


def list_services(endpoint: Endpoint, *, is_answer: bool) -> list[str]:
    """The guardrails that other services would decide."""
    rules = endpoint.guardrails
    webhook, moderation = rules.webhook, rules.moderation
    if webhook is not None and ("output" if is_answer else "input") not in webhook.phase:
        webhook = None
    if is_answer:
        webhook, moderation = rules.output.webhook or webhook, rules.output.moderation
    services = (("webhook", webhook), ("moderation", moderation))
    return [name for name, rule in services if rule is not None and rule.enabled]


def show_lines(found: Sequence[Inspection], services: Sequence[str], text: str) -> Iterator[str]:
    """A line for each guardrail, and the text where it changed it."""
    if not found and not services:
        yield "no guardrail is in force there"
    for each in found:
        yield f"{each.guardrail.ljust(NAME_CHARS)} {describe(each)}   {each.took_us:.1f} µs"
        if each.text != text:
            yield from (f"    {printable(line)}" for line in each.text.split("\n"))
        text = each.text
    for name in services:
        yield f"{name.ljust(NAME_CHARS)} not asked (--remote asks it)"


def describe(found: Inspection) -> str:
    """What one guardrail did, in a line."""
    counts = ", ".join(f"{each.action} {each.rule} × {each.count}" for each in found.verdicts)
    places = [f"{place.rule} {place.start}–{place.end}" for place in found.places[:PLACES_SHOWN]]
    more = len(found.places) - len(places)
    parts = [
        f"REFUSES {found.refusal.status}: {found.refusal.text}" if found.refusal is not None else counts or "passes",
        f"({', '.join(places)}{f', and {more} more' if more else ''})" if places else "",
    ]
    return printable(" ".join(part for part in parts if part))


def show_json(found: Sequence[Inspection], services: Sequence[str], text: str) -> Iterator[str]:
    """An object for each guardrail. No part of the text that it matched, but the text as it leaves it."""
    for each in found:
        yield json.dumps(_as_object(each))
    for name in services:
        yield json.dumps({"guardrail": name, "asked": False})


def _as_object(found: Inspection) -> dict[str, Any]:
    refusal = found.refusal
    return {
        "guardrail": found.guardrail,
        "places": [{"rule": each.rule, "start": each.start, "end": each.end} for each in found.places],
        "verdicts": [{"rule": each.rule, "action": each.action, "count": each.count} for each in found.verdicts],
        "status": None if refusal is None else refusal.status,
        "error": None if refusal is None else refusal.text,
        "text": found.text,
        "microseconds": round(found.took_us, 1),
    }
