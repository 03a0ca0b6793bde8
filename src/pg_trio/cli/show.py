"""`pg-trio show`: one request of the log, and its race on one time axis.

Each attempt is a bar: what came before its first token is lighter. Stages before and after the providers are a line
each. The deadline is a line at the right, if it is near.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from pg_trio.cli.columns import fit, printable
from pg_trio.cli.logs import parse_request_id
from pg_trio.cli.place import add_place, locate, open_log
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.errors import StoreError

LABEL_CHARS = 28
LEAST_AXIS_CHARS = 40
MOST_AXIS_CHARS = 120
# What an attempt's end is said in, behind its bar.
NOTE_CHARS = 40
TICKS = 4
# A deadline that is further away than this many times the latency is not on the axis: bars would be dots.
NEAR_DEADLINE = 3.0
# Stages in which attempts run; the bars show them.
_RACING = frozenset({"provider", "stream", "repair"})


@frozen
class Glyphs:
    """The characters of the picture."""

    answering: str
    waiting: str
    first_token: str
    cut: str
    stage: str
    deadline: str
    dot: str


BLOCKS = Glyphs("█", "▒", "◆", "░", "▌", "│", "·")
ASCII = Glyphs("#", "=", "*", "~", "|", "!", "-")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("show", help="show one request: its race on a time axis", description=__doc__)
    add_place(parser, "where the log is, without a configuration")
    parser.add_argument("request_id", metavar="REQUEST_ID", type=parse_request_id, help="its X-Request-Id")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the request. Raises: ConfigError, or StoreError whose text says what to do."""
    from pg_trio.store.log_reader import LogFilter

    place = locate(arguments, "pg-trio show")
    with open_log(place) as reader:
        rows = reader.last(LogFilter(request_id=arguments.request_id), 1)
    if not rows:
        raise StoreError(f"the log has no request {arguments.request_id}; `pg-trio logs` shows the last ones")
    columns = shutil.get_terminal_size((120, 24)).columns
    print("\n".join(draw(rows[0], columns, choose_glyphs(sys.stdout.encoding))))
    return 0


def choose_glyphs(encoding: str | None) -> Glyphs:
    """Blocks, or ASCII where the terminal has no blocks."""
    try:
        "█▒◆░▌│·".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def draw(row: LogRow, columns: int, glyphs: Glyphs = BLOCKS) -> Iterator[str]:
    """The lines of the picture."""
    yield from _head(row, glyphs)
    yield ""
    axis = Axis.of(row, columns, glyphs)
    yield axis.ticks()
    before, after = _stages(row)
    if before:
        yield axis.stages(before)
    for attempt in row.attempts:
        yield axis.attempt(attempt)
    if after:
        yield axis.stages(after)


def _head(row: LogRow, glyphs: Glyphs) -> Iterator[str]:
    at = datetime.fromtimestamp(row.at, UTC).isoformat(timespec="milliseconds")[:23]
    parts = [f"{row.status} {row.outcome or ''}".strip(), row.surface, row.endpoint_slug, row.provider, row.model]
    parts.append(row.node)
    shown = [printable(part) for part in parts if part]
    yield f"{row.request_id}  {at}Z  " + f" {glyphs.dot} ".join([*shown, f"{row.latency_ms:.1f} ms"])
    if row.prompt_tokens is not None:
        cost = "" if row.cost_nano_usd is None else f", {row.cost_nano_usd / 1e9:.6f} USD"
        yield f"{row.prompt_tokens} + {row.completion_tokens} tokens{cost}"
    if row.error:
        yield printable(row.error)
    for verdict in row.guardrails:
        yield printable(f"{verdict.phase} {verdict.guardrail}: {verdict.action} {verdict.rule} ({verdict.count})")


def _stages(row: LogRow) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The stages before the first attempt, and those after the last."""
    from pg_trio.web.admin.request_shapes import place_stages

    stages = place_stages(row)
    racing = [place for place, stage in enumerate(stages) if stage["name"] in _RACING]
    if not racing:
        return stages, []
    return stages[: racing[0]], [stage for stage in stages[racing[0] :] if stage["name"] not in _RACING]


@frozen
class Axis:
    """Time from 0 to `span_ms` in `chars` characters."""

    span_ms: float
    chars: int
    deadline_ms: int | None
    glyphs: Glyphs

    @classmethod
    def of(cls, row: LogRow, columns: int, glyphs: Glyphs) -> Axis:
        """The axis of a request in a terminal of so many columns."""
        chars = max(LEAST_AXIS_CHARS, min(MOST_AXIS_CHARS, columns - LABEL_CHARS - NOTE_CHARS - 2))
        longest_ms = max([row.latency_ms, *(attempt.ended_ms for attempt in row.attempts), 0.001])
        deadline_ms = row.deadline_ms
        if deadline_ms is None or deadline_ms > NEAR_DEADLINE * longest_ms:
            return cls(longest_ms, chars, None, glyphs)
        # The line is the last character.
        return cls(max(longest_ms, float(deadline_ms)), chars, deadline_ms, glyphs)

    def place(self, at_ms: float) -> int:
        """The character of a time."""
        return min(self.chars - 1, max(0, int(at_ms / self.span_ms * self.chars)))

    def ticks(self) -> str:
        """The numbers along the axis."""
        cells = [" "] * self.chars
        for number in range(TICKS):
            at_ms = self.span_ms * number / TICKS
            text = f"{at_ms:.0f} ms" if number == 0 else f"{at_ms:.0f}"
            start = self.place(at_ms)
            cells[start : start + len(text)] = list(text)
        end = f"{self.span_ms:.0f} ms"
        if self.deadline_ms is not None:
            cells = cells[: self.chars]
            cells[self.place(self.deadline_ms)] = self.glyphs.deadline
            end = f"deadline {self.deadline_ms}"
        return f"{' ' * LABEL_CHARS}{''.join(cells[: self.chars])} {end}".rstrip()

    def stages(self, stages: Sequence[dict[str, Any]]) -> str:
        """Stages that follow one another, as one bar."""
        start_ms, end_ms = stages[0]["start_ms"], stages[-1]["end_ms"]
        names = f" {self.glyphs.dot} ".join(stage["name"] for stage in stages)
        spent = f"{sum(stage['end_ms'] - stage['start_ms'] for stage in stages):.1f} ms"
        first, last = self.place(start_ms), self.place(end_ms)
        if len(names) >= LABEL_CHARS + first:
            # They are longer than what is left of their bar.
            return f"{names} {self.glyphs.stage} {spent}"
        return f"{names.ljust(LABEL_CHARS + first)}{self.glyphs.stage * (last - first + 1)} {spent}"

    def attempt(self, attempt: AttemptRow) -> str:
        """An attempt's bar, and how it ended."""
        glyphs, kind = self.glyphs, attempt.kind
        first, last = self.place(attempt.started_ms), self.place(attempt.ended_ms)
        cells = [" "] * self.chars
        if self.deadline_ms is not None:
            cells[self.place(self.deadline_ms)] = glyphs.deadline
        if kind == "skipped":
            cells[first] = glyphs.dot
        else:
            token_ms = attempt.first_token_ms
            token = None if token_ms is None else self.place(token_ms)
            for place in range(first, last + 1):
                cells[place] = glyphs.answering if token is None or place > token else glyphs.waiting
            if token is not None:
                cells[token] = glyphs.first_token
            if kind in ("lost", "cancelled"):
                cells[last] = glyphs.cut
        label = fit(f"{attempt.provider}/{attempt.model}", LABEL_CHARS - 1)
        return f"{label} {''.join(cells)} {self._note(attempt)}".rstrip()

    def _note(self, attempt: AttemptRow) -> str:
        kind = attempt.kind
        if kind == "skipped":
            return f"not asked: {printable(attempt.why or attempt.outcome)}"
        said = {"won": "won", "lost": "cancelled", "failed": "failed", "cancelled": "cancelled"}[kind]
        why = {"won": "", "lost": ": another won"}.get(kind, f": {printable(attempt.why)}" if attempt.why else "")
        more = []
        if attempt.is_hedge:
            more.append(f"hedge at {attempt.started_ms:.0f}")
        if attempt.first_token_ms is not None:
            more.append(f"first token {self.glyphs.first_token} {attempt.first_token_ms:.0f}")
        shown = f"   ({', '.join(more)})" if more else ""
        return f"{said} at {attempt.ended_ms:.0f}{why}{shown}"
