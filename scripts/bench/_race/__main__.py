"""The command: which tables, one after the other, and how it ends."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scripts.bench._limits.command import make_parser, report, run_command, say
from scripts.bench._race import breaker, chaos, deadlines, hedging, scoreboard, storm, streams
from scripts.bench._race.report import Table
from scripts.bench._race.site import make_site

TABLES: Mapping[str, Callable[..., Table]] = {
    "scoreboard": scoreboard.run,
    "hedging": hedging.run,
    "breaker": breaker.run,
    "deadlines": deadlines.run,
    "storm": storm.run,
    "streams": streams.run,
    "chaos": chaos.run,
}
_BUILD = Path(__file__).resolve().parents[3] / "build"


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; usage errors and --help end the program."""
    parser = make_parser("race", "Failover, hedging, deadlines, cancellation and streams against simulated providers.")
    parser.add_argument(
        "tables", nargs="+", metavar="TABLE", choices=[*TABLES, "all"], help=", ".join([*TABLES, "all"])
    )
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Measure and report; 1 if anything is not as promised."""
    _allow_open_files()
    _BUILD.mkdir(exist_ok=True)
    wrong: list[str] = []
    raw: dict[str, object] = {}
    for name in TABLES if "all" in options.tables else options.tables:
        say(f"race: {name} …")
        with tempfile.TemporaryDirectory(prefix="race-", dir=_BUILD) as folder:
            table = TABLES[name](make_site(Path(folder)), quick=options.quick)
        raw[name] = {**table.raw, "wrong": table.wrong}
        report("race", f"{name}\n\n{table.text}", raw, options.json)
        wrong += [f"{name}: {text}" for text in table.wrong]
    for text in wrong:
        say(f"race: {text}")
    return int(bool(wrong))


def _allow_open_files() -> None:
    # Inherited by gateway and providers.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(run_command("race", lambda: run(read_arguments(sys.argv[1:]))))
