"""How much personal data the guardrails find, how many look-alikes they take for it, and what that costs.

"found": the share of lines whose value is gone. "taken wrongly": the share of harmless lines that were changed or
refused. Both corpora are of tests/recordings/guardrails; see docs/guardrails.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from attrs import field, frozen

from pg_trio.domain.guardrails import PiiFilter
from pg_trio.errors import InjectionBlocked
from pg_trio.stages.guardrails.pii import PiiScanner
from pg_trio.stages.guardrails.prompt_injection import injection_scanner
from scripts.bench.benches.guardrails.corpus import PARTS, Line, read_lookalikes, read_personal
from scripts.bench.benches.guardrails.costs import measure_adversarial, measure_clean, measure_hostile
from scripts.bench.benches.guardrails.held_streams import tabulate_streams
from scripts.bench.benches.guardrails.peers_report import compare
from scripts.bench.benches.stages import CLEAN
from scripts.bench.harness.cli import Options, Parser, Reports, positive
from scripts.bench.harness.processes import ROOT
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import repeat
from scripts.bench.harness.timing import time_rounds

CLEAN_CHARS, RUNS = 960, 2_000
# Texts of each template of the peers' material.
PEER_TIMES = 30


@frozen
class Score:
    """Lines by kind, and those of them that went wrong."""

    lines: Counter[str] = field(factory=Counter)
    wrong: Counter[str] = field(factory=Counter)
    examples: dict[str, str] = field(factory=dict)

    def add(self, line: Line, is_wrong: bool) -> None:
        self.lines[line.kind] += 1
        if is_wrong:
            self.wrong[line.kind] += 1
            self.examples.setdefault(line.kind, line.text)

    def share_wrong(self, kind: str | None = None) -> float:
        """Of one kind, or of all."""
        if kind is not None:
            return self.wrong[kind] / self.lines[kind]
        return self.wrong.total() / self.lines.total()


def score_personal(scanner: PiiScanner, lines: Iterable[Line]) -> Score:
    """Wrong: the value is still there."""
    score = Score()
    for line in lines:
        score.add(line, line.value is not None and line.value in scanner.mask(line.text))
    return score


def score_lookalikes(scanner: PiiScanner, lines: Iterable[Line]) -> Score:
    """Wrong: the text was changed, or refused as an injection."""
    score = Score()
    for line in lines:
        score.add(line, scanner.mask(line.text) != line.text or _is_refused(line.text))
    return score


def _is_refused(text: str) -> bool:
    try:
        injection_scanner().check(text)
    except InjectionBlocked:
        return True
    return False


def add_options(parser: Parser) -> None:
    parser.add_argument("--times", type=positive, help="lines made of each template (default 20, quick 5)")
    parser.add_argument("--peers", action="store_true", help="beside Presidio and LLM Guard (400 MB, installed once)")
    parser.add_argument("--cache", type=Path, default=ROOT / "build/peers", help="the folder for installed peers")
    parser.add_argument("--missed", action="store_true", help="an example of each kind that went wrong")


def run(options: Options) -> Reports:
    times, scanner = options.times or (5 if options.quick else 20), PiiScanner.compile(PiiFilter())
    built_with, held_out = (score_personal(scanner, read_personal(held, times)) for held in (False, True))
    found = []
    for kind in built_with.lines:
        shares = [f"{1 - score.share_wrong(kind):.3f}" for score in (built_with, held_out)]
        found.append((kind, *shares, f"{built_with.lines[kind] + held_out.lines[kind]:,}"))
    missed = [f"{kind}: {text!r}" for kind, text in held_out.examples.items()]
    scores = {part: score_lookalikes(scanner, read_lookalikes(part, times)) for part in PARTS}
    taken = [(part, f"{score.share_wrong():.2%}", f"{score.lines.total():,}") for part, score in scores.items()]
    wrong = [
        f"{part}: {count} × {score.examples[kind]!r}"
        for part, score in scores.items()
        for kind, count in score.wrong.most_common()
    ]
    clean_us = min(time_rounds(partial(scanner.mask, repeat(CLEAN["clean"], CLEAN_CHARS)), least=RUNS).wall_us)
    note = f"clean text of {CLEAN_CHARS} characters, all types: {clean_us:.1f} µs"
    head = ("personal data, found", "built with", "held out", "lines")
    tables = [Table(head, found, missed if options.missed else [])]
    notes = [*(wrong if options.missed else []), note]
    yield Report([*tables, Table(("look-alikes, taken wrongly", "share", "lines"), taken, notes)])
    streams = tabulate_streams(2 if options.quick else 20)
    yield Report([measure_clean(options.quick), measure_hostile(options.quick), streams])
    yield Report([measure_adversarial(options.quick)])
    if options.peers:
        yield Report(list(compare(options.cache, 5 if options.quick else PEER_TIMES)))
