"""The command line of every bench.

A bench is a module or package in `benches/`. Its docstring is its help. It has `run(options)`, which yields reports,
and may have `add_options(parser)` and `ROUNDS`, the number of its rounds: (in full, with --quick).
Exit status: 0; 1 where something is not as promised or could not be measured; 2 for a wrong option; 130 interrupted.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import importlib
import json
import pkgutil
import shlex
import signal
import sys
from argparse import ArgumentParser as Parser
from argparse import Namespace as Options
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from scripts.bench import benches
from scripts.bench.harness.machine import describe_machine
from scripts.bench.harness.processes import BenchError, PeerUnavailableError
from scripts.bench.harness.tables import Found, Report

__all__ = ["Options", "Parser", "Reports", "list_benches", "main", "positive", "read_options", "say", "take_turns"]

Reports = Iterator[Report]
_FACTS = ("cpu", "kernel", "python", "commit", "load average")


def say(text: str) -> None:
    """Progress, on standard error beside the tables."""
    print(text, file=sys.stderr, flush=True)


def take_turns(rounds: int, rows: Mapping[str, Callable[[], Mapping[str, float]]], tell: str) -> Found:
    """What each row measures, round after round, so that a slow minute of the machine hits all. `tell`: a format."""
    found: Found = {name: [] for name in rows}
    for number in range(1, rounds + 1):
        for name, measure in rows.items():
            found[name].append({"round": number, **measure()})
            say(f"round {number}: {name}: {tell.format(**found[name][-1])}")
    return found


@functools.cache
def list_benches() -> dict[str, str]:
    """Every bench's name and the first line of its help; no bench is imported."""
    found, folder = {}, Path(benches.__path__[0])
    for module in pkgutil.iter_modules(benches.__path__):
        file = folder / module.name / "__init__.py" if module.ispkg else folder / f"{module.name}.py"
        found[module.name] = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]
    return found


def main(arguments: Sequence[str]) -> int:
    """Run the bench that the first argument names; the exit status."""
    known = list_benches()
    if not arguments or arguments[0] not in known:
        print("usage: scripts/bench/NAME [--quick] [--json FILE] [--help]\n")
        print("\n".join(f"  {name:14} {summary}" for name, summary in known.items()))
        return 0 if not arguments or arguments[0] in ("-h", "--help") else 2
    name = arguments[0]
    bench = importlib.import_module(f"{benches.__name__}.{name}")
    options = read_options(name, bench, arguments[1:])
    # A terminated bench leaves its `with` blocks as an interrupted one does, so that all processes are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _run(name, bench, options)
    except (BenchError, PeerUnavailableError, OSError) as error:
        say(f"{name}: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"{name}: interrupted; everything that was started has been stopped")
        return 130


def read_options(name: str, bench: ModuleType, arguments: Sequence[str]) -> Options:
    """The options of a bench; a wrong one and --help end the program."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog=f"scripts/bench/{name}", description=bench.__doc__, formatter_class=shape)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, shorter runs, rougher figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    rounds: tuple[int, int] | None = getattr(bench, "ROUNDS", None)
    if rounds:
        parser.add_argument("--rounds", type=positive, metavar="N", help=f"default {rounds[0]}, quick {rounds[1]}")
    if hasattr(bench, "add_options"):
        bench.add_options(parser)
    options = parser.parse_args(arguments)
    if rounds and options.rounds is None:
        options.rounds = rounds[options.quick]
    return options


def positive(text: str) -> int:
    """A count on the command line, as an option's type."""
    try:
        number = int(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from exc
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _run(name: str, bench: ModuleType, options: Options) -> int:
    wrong: list[str] = []
    tables: list[object] = []
    raw: dict[str, object] = {"command": shlex.join([f"scripts/bench/{name}", *sys.argv[2:]]), "tables": tables}
    # Closed in every case: a report that cannot be printed must not leave processes behind.
    with contextlib.closing(bench.run(options)) as reports:
        for report in reports:
            print("\n" + "\n\n".join(map(str, report.tables)) + "\n", flush=True)
            tables += report.tables
            raw |= {"machine": describe_machine(), **report.raw}
            if options.json:
                write_json(options.json, raw)
            for text in report.wrong:
                say(f"{name}: {text}")
            wrong += report.wrong
    machine = describe_machine()
    print(", ".join(f"{fact} {machine[fact]}" for fact in _FACTS))
    return int(bool(wrong))


def write_json(file: Path, raw: dict[str, object]) -> None:
    """All figures are in `file`; the tables are there as their cells."""

    def plain(value: Any) -> Any:
        is_value = attrs.has(type(value))
        return attrs.asdict(value, filter=lambda own, _: own.repr is not False) if is_value else str(value)

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(raw, indent=1, ensure_ascii=False, default=plain) + "\n")
