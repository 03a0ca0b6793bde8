"""`pg-trio doctor`: checks a gateway's configuration and data.

It only reads. With `--fix` it repairs permissions and gives back the reservations of dead workers. Exit status 0: no
problems (notes are allowed); 1: problems, each with what to do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

from attrs import define, field, frozen

from pg_trio.cli.place import add_place, locate
from pg_trio.config.cluster_settings import ClusterSettings
from pg_trio.errors import ConfigError, StoreError

MIB = 1024 * 1024
# 256 MiB: a busy log with bodies fills it in minutes. 1 GiB: enough time to act.
NO_SPACE_BYTES = 256 * MIB
LITTLE_SPACE_BYTES = 1024 * MIB
WORKING_AFTER_S = 2.0

Fix: TypeAlias = Callable[[], None]


@frozen
class Finding:
    """One line of the report. `state`: ok, note or problem. `fix` repairs the problem; None if that is not safe."""

    state: str
    text: str
    fix: Fix | None = None


@define
class WorkingLine:
    """A line on a terminal that says what takes long: after WORKING_AFTER_S, once a second. Files have no known number
    of steps, so it shows the time that has passed."""

    _clock: Callable[[], float] = time.monotonic
    _began_s: float = field(init=False)
    _shown_s: float = WORKING_AFTER_S - 1
    _is_shown: bool = False

    @_began_s.default
    def _begin(self) -> float:
        return self._clock()

    def tell(self, name: str) -> None:
        """The work on `name` goes on."""
        spent_s = self._clock() - self._began_s
        if spent_s - self._shown_s >= 1 and sys.stderr.isatty():
            self._shown_s, self._is_shown = spent_s, True
            print(f"\r{name}: being read for {spent_s:.0f} s", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """The work is done: clear the line, and begin with the next."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._began_s, self._shown_s, self._is_shown = self._clock(), WORKING_AFTER_S - 1, False


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("doctor", help="say what is wrong with configuration and data", description=__doc__)
    add_place(parser, "where the data is, without a configuration")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended without losing anything")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Report every finding; 1 if a problem is left. Raises ConfigError if the data directory is not known."""
    left = 0
    for finding in examine(arguments):
        left += not _report(finding, fixes=arguments.fix)
    return 1 if left else 0


def examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    """Yield each finding at once, because integrity checks read whole files."""
    try:
        place = locate(arguments, "pg-trio doctor")
    except ConfigError as error:
        yield Finding("problem", f"{error}\nNothing else was looked at; with --data-dir DIR the data is.")
        return
    yield Finding("ok", f"{place.source}: no mistakes" if place.projects is not None else f"{place.data_dir}: given")
    yield from _examine_directory(place.data_dir, place.cluster)


def _report(finding: Finding, *, fixes: bool) -> bool:
    """Print the finding, after the repair if `fixes` and there is one. True if no problem is left."""
    state, text = finding.state, finding.text
    if state == "problem" and fixes and finding.fix is not None:
        try:
            finding.fix()
        except (OSError, StoreError) as error:
            text = f"{text} It could not be mended: {error}"
        else:
            state = "fixed"
    elif state == "problem" and finding.fix is not None:
        text = f"{text} (--fix does it.)"
    print(f"{state:8}{text}", flush=True)
    return state != "problem"


# ── what is looked at ────────────────────────────────────────────────────────────────────────────────────────────────


def _examine_directory(data_dir: Path, cluster: ClusterSettings | None) -> Iterator[Finding]:
    if (unusable := _find_unusable(data_dir)) is not None:
        yield unusable
        if cluster is not None:
            # The engines can be looked at from any machine.
            yield from _examine_databases(data_dir, cluster)
        return
    yield from _examine_permissions(data_dir)
    yield _examine_space(data_dir)
    yield from _examine_databases(data_dir, cluster)
    yield _examine_reservations(data_dir)


def _find_unusable(data_dir: Path) -> Finding | None:
    if not data_dir.is_dir():
        what = "a file, not a directory" if data_dir.exists() else "not there; `pg-trio serve` makes it, if it is right"
        return Finding("problem", f"{data_dir}: {what}.")
    if not os.access(data_dir, os.R_OK | os.X_OK):
        return Finding("problem", f"{data_dir}: not readable for this user; run it as the gateway's user.")
    return None


def _examine_permissions(data_dir: Path) -> Iterator[Finding]:
    from pg_trio.shared_memory.segment_file import SEGMENT_NAME
    from pg_trio.store.health import list_files

    found = list(_wrong_modes([data_dir], 0o700))
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        found.append(Finding("problem", f"{data_dir}: not writable for this user; the gateway's user must own it."))
    segment = data_dir / SEGMENT_NAME
    found += _wrong_modes([*list_files(data_dir), *([segment] if segment.exists() else [])], 0o600)
    yield from found or [Finding("ok", f"{data_dir}: for its owner alone")]


def _wrong_modes(paths: list[Path], most: int) -> Iterator[Finding]:
    """A finding for each path that other users may access. `most`: the mode bits that may be set."""
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & ~most & 0o777:
            text = f"{path}: mode {mode:04o}, others may use it; `chmod {most:o} {path}`."
            yield Finding("problem", text, partial(path.chmod, most))


def _examine_space(data_dir: Path) -> Finding:
    free = shutil.disk_usage(data_dir).free
    text = f"{data_dir}: {free / MIB:.0f} MiB free on its disk"
    if free < NO_SPACE_BYTES:
        return Finding("problem", f"{text}; free some, or lower gateway.log_max_bytes.")
    return Finding("note" if free < LITTLE_SPACE_BYTES else "ok", text)


def _examine_databases(data_dir: Path, cluster: ClusterSettings | None) -> Iterator[Finding]:
    from pg_trio.stores.administration import administer

    working = WorkingLine()
    for check in administer(data_dir, cluster).check(working.tell):
        working.clear()
        yield Finding(check.state, check.text)


def _examine_reservations(data_dir: Path) -> Finding:
    from pg_trio.shared_memory.segment_file import SEGMENT_NAME, open_existing
    from pg_trio.shared_memory.spend import count_orphans

    path = data_dir / SEGMENT_NAME
    try:
        segment = open_existing(path)
    except StoreError as error:
        return Finding("problem", str(error))
    if segment is None:
        return Finding("ok", f"{path}: none of this boot; it is made at the next start")
    with closing(segment):
        orphans = count_orphans(segment)
    if orphans:
        text = f"{path}: {orphans} reservations of dead workers block budgets; a running gateway gives them back."
        return Finding("problem", text, partial(_give_back, path))
    return Finding("ok", f"{path}: sound, no orphaned reservations")


def _give_back(path: Path) -> None:
    from pg_trio.shared_memory.segment_file import open_existing
    from pg_trio.shared_memory.spend import give_back_orphans

    segment = open_existing(path)
    if segment is not None:
        with closing(segment):
            give_back_orphans(segment)
