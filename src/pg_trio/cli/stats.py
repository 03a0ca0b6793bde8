"""`pg-trio stats`: sums of the log: requests, errors, latencies, tokens, cost, hedges; in total, by endpoint, by
provider. The log is only read, with or without a running gateway."""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from pg_trio.cli.columns import line_of
from pg_trio.cli.logs import parse_since
from pg_trio.cli.place import Place, add_place, find_project, locate, open_log
from pg_trio.domain.request_filter import RowChoice, parse_filter
from pg_trio.domain.request_sums import Overview, SummedRows, TimeRange, percentile
from pg_trio.errors import ConfigError

DEFAULT_S = 3_600.0
NANO = 1e9
SHARES = (0.5, 0.95, 0.99)
_COLUMNS = (
    ("", 28),
    ("REQUESTS", -9),
    ("ERRORS", -8),
    ("DEADLINE", -8),
    ("MEAN MS", -9),
    ("TOKENS IN", -10),
    ("OUT", -10),
    ("USD", -10),
)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("stats", help="sum up the log", description=__doc__)
    add_place(parser, "where the log is, without a configuration")
    parser.add_argument(
        "--since", type=parse_since, metavar="TIME", help="from then on: 15m, 6h, 7d ago, or an ISO time (default: 1h)"
    )
    parser.add_argument("--project", metavar="PROJECT", help="only this one's: uuid, slug or name")
    parser.add_argument(
        "--filter", default="", metavar="WORDS", help="only these: status:5xx provider:openai endpoint:ask …"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the sums. Raises: ConfigError, or StoreError whose text says what to do."""

    place = locate(arguments, "pg-trio stats")
    try:
        words = parse_filter(arguments.filter)
    except ValueError as error:
        raise ConfigError("pg-trio stats", [f"--{error}"]) from None
    if any(word.kind == "token" for word in words.words):
        raise ConfigError("pg-trio stats", ["--filter: token: is for the pages alone"])
    project = find_project(place, arguments.project, "pg-trio stats") if arguments.project else None
    now = time.time()
    since = now - DEFAULT_S if arguments.since is None else min(arguments.since, now)
    within = TimeRange(since, now + 1.0, now + 1.0 - since)
    with open_log(place) as reader:
        found = reader.overview(RowChoice(words, project=project), within)
    if arguments.json:
        print(json.dumps(describe(found, _slugs(place))))
    else:
        print("\n".join(draw(found, _slugs(place))))
    return 0


def describe(found: Overview, slugs: Mapping[UUID, str]) -> dict[str, Any]:
    """The sums, for programs."""
    total, endpoints, providers = _group(found, slugs)
    return {
        "since": found.since,
        "is_partial": found.is_partial,
        "total": {**_fields(total), **_latencies(found), "saved_ms": found.saved_ms},
        "endpoints": {name: _fields(sums) for name, sums in endpoints.items()},
        "providers": {name: _fields(sums) for name, sums in providers.items()},
    }


def draw(found: Overview, slugs: Mapping[UUID, str]) -> Iterator[str]:
    """The sums, for people."""
    total, endpoints, providers = _group(found, slugs)
    yield line_of([heading for heading, _ in _COLUMNS], _COLUMNS)
    yield _line("all", total)
    for name, sums in endpoints.items():
        yield _line(name, sums)
    for name, sums in providers.items():
        yield _line(f"provider {name}", sums)
    yield ""
    shown = {name: "-" if value is None else f"{value:.1f} ms" for name, value in _latencies(found).items()}
    yield "  ".join(f"{name.removesuffix('_ms').replace('_', ' ')} {value}" for name, value in shown.items())
    if total.hedges:
        saved = "" if found.saved_ms is None else f"; they saved about {found.saved_ms / 1000:.1f} s"
        yield f"hedges {total.hedges}, won {total.hedges_won}{saved}"
    if found.is_partial:
        yield "The range has more rows than are read at once; these are the newest."


def _line(name: str, sums: SummedRows) -> str:
    mean = f"{sums.latency_ms / sums.requests:.1f}" if sums.requests else "-"
    counts = [sums.requests, sums.errors, sums.deadline_misses]
    tokens = [sums.prompt_tokens, sums.completion_tokens]
    cells = [name, *map(str, counts), mean, *map(str, tokens), f"{sums.cost_nano_usd / NANO:.4f}"]
    return line_of(cells, _COLUMNS)


def _fields(sums: SummedRows) -> dict[str, Any]:
    return {
        "requests": sums.requests,
        "errors": sums.errors,
        "deadline_misses": sums.deadline_misses,
        "mean_ms": sums.latency_ms / sums.requests if sums.requests else None,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "cost_usd": sums.cost_nano_usd / NANO,
        "hedges": sums.hedges,
        "hedges_won": sums.hedges_won,
    }


def _latencies(found: Overview) -> dict[str, float | None]:
    taken = [one for step in found.latencies.values() for one in step]
    firsts = [one for step in found.first_tokens.values() for one in step]
    return {
        **{f"p{share * 100:.0f}_ms": percentile(taken, share) for share in SHARES},
        "first_token_p50_ms": percentile(firsts, 0.5),
    }


def _group(
    found: Overview, slugs: Mapping[UUID, str]
) -> tuple[SummedRows, dict[str, SummedRows], dict[str, SummedRows]]:
    """In total, by endpoint and by provider, those with the most requests first."""
    total = SummedRows()
    endpoints: defaultdict[str, SummedRows] = defaultdict(SummedRows)
    providers: defaultdict[str, SummedRows] = defaultdict(SummedRows)
    for (_, endpoint, provider), sums in found.sums.items():
        total = total.plus(sums)
        name = "no endpoint" if endpoint is None else slugs.get(endpoint, str(endpoint))
        endpoints[name] = endpoints[name].plus(sums)
        providers[provider or "none"] = providers[provider or "none"].plus(sums)
    return total, _sort(endpoints), _sort(providers)


def _sort(sums: Mapping[str, SummedRows]) -> dict[str, SummedRows]:
    return dict(sorted(sums.items(), key=lambda item: -item[1].requests))


def _slugs(place: Place) -> dict[UUID, str]:
    """The endpoints' slugs, as far as a configuration was read."""
    return {
        endpoint.uuid: f"{project.slug}/{slug}"
        for project in place.projects or ()
        for slug, endpoint in project.endpoints.items()
    }
