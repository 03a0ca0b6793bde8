"""What the three commands share: their options, the upstream, progress, raw figures, and how they end."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from scripts.bench._peers.errors import BenchError, PeerUnavailableError
from scripts.bench._peers.machine import check_tools, choose_cores, describe_machine
from scripts.bench._peers.measure import Cores
from scripts.bench._peers.nginx import make_upstream_command
from scripts.bench._peers.ports import HOST, find_free_ports
from scripts.bench._peers.processes import run_pinned
from scripts.bench._peers.target import Target, wait_ready

_BUILD = Path(__file__).resolve().parents[3] / "build"


@frozen(slots=True)
class Site:
    """Where to measure: two cores, a folder that is gone afterwards, an upstream that answers."""

    cores: Cores
    folder: Path
    upstream_url: str


def make_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that every command has."""
    parser = argparse.ArgumentParser(prog=f"scripts/bench/{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and shorter runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw figures")
    return parser


@contextlib.contextmanager
def open_site() -> Iterator[Site]:
    """nginx is the upstream for the length of the block. Raises: BenchError."""
    check_tools()
    cores = choose_cores()
    (port,) = find_free_ports(1)
    _BUILD.mkdir(exist_ok=True)
    # Not in /tmp: that may be memory, and a database of a million tokens is on a disk.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_BUILD) as name:
        folder = Path(name)
        command = make_upstream_command(folder / "upstream", port)
        with run_pinned("upstream", command, core=cores.load, log=folder / "upstream.log") as upstream:
            try:
                wait_ready(upstream, Target(port))
            except PeerUnavailableError as exc:
                raise BenchError(str(exc)) from exc
            yield Site(cores, folder, f"http://{HOST}:{port}/v1")


def say(text: str) -> None:
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        fitted = [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
        return f"| {' | '.join(fitted)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(line(cells) for cells in (header, rule, *rows))


def report(name: str, table: str, raw: Mapping[str, object], file: Path | None) -> None:
    """The table on standard output, with what is needed to read it; the raw figures in `file`."""
    machine = describe_machine()
    facts = ", ".join(f"{what} {machine[what]}" for what in ("cpu", "kernel", "python", "commit", "load average"))
    print(f"\n{table}\n\n{facts}")
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        command = shlex.join([f"scripts/bench/{name}", *sys.argv[1:]])
        file.write_text(json.dumps({"command": command, "machine": machine, **raw}, indent=1) + "\n")


def run_command(name: str, run: Callable[[], int]) -> int:
    """The exit status of `run`; whatever was started is stopped whichever way it ends."""
    # A terminated run unwinds its `with` blocks as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run()
    except (BenchError, PeerUnavailableError, TimeoutError) as error:
        say(f"{name}: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"{name}: interrupted; everything that was started has been stopped")
        return 130
