"""Prints how much personal data is found, and how many look-alikes are taken for it.

usage: scripts/bench/guardrails [--times N] [--missed]
"found": the share of lines whose value is gone. "taken wrongly": the share of harmless lines that were changed or
refused.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable

from attrs import field, frozen

from pg_trio.domain.guardrails import PiiFilter
from pg_trio.errors import InjectionBlocked
from pg_trio.stages.guardrails.pii import PiiScanner
from pg_trio.stages.guardrails.prompt_injection import injection_scanner
from scripts.bench._guardrails.corpus import PARTS, Line, read_lookalikes, read_personal

CLEAN = "The quick brown fox jumps over 12 lazy dogs, and asks for the report of March. " * 12
CLEAN_CHARS = 960
RUNS = 2_000


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


def clean_us(scanner: PiiScanner) -> float:
    """Microseconds for 960 characters of clean text, the best of many."""
    text, best = CLEAN[:CLEAN_CHARS], float("inf")
    for _ in range(RUNS):
        started = time.perf_counter()
        scanner.mask(text)
        best = min(best, time.perf_counter() - started)
    return best * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="lines made of each template (20)")
    parser.add_argument("--missed", action="store_true", help="an example of each kind that went wrong")
    given = parser.parse_args()
    scanner = PiiScanner.compile(PiiFilter())
    print_found(scanner, given.times, given.missed)
    print_taken(scanner, given.times, given.missed)
    print(f"\nclean text of {CLEAN_CHARS} characters, all types: {clean_us(scanner):.1f} µs")


def print_found(scanner: PiiScanner, times: int, missed: bool) -> None:
    built_with, held_out = (score_personal(scanner, read_personal(held, times)) for held in (False, True))
    print(f"{'personal data, found':26} {'built with':>12} {'held out':>12} {'lines':>8}")
    for kind in built_with.lines:
        shares = [f"{1 - score.share_wrong(kind):12.3f}" for score in (built_with, held_out)]
        print(f"{kind:26} {' '.join(shares)} {built_with.lines[kind] + held_out.lines[kind]:8,}")
        if missed and kind in held_out.examples:
            print(f"    {held_out.examples[kind]!r}")


def print_taken(scanner: PiiScanner, times: int, missed: bool) -> None:
    print(f"\n{'look-alikes, taken wrongly':26} {'share':>12} {'lines':>8}")
    for part in PARTS:
        score = score_lookalikes(scanner, read_lookalikes(part, times))
        print(f"{part:26} {score.share_wrong():11.2%}  {score.lines.total():8,}")
        if missed:
            for kind, count in score.wrong.most_common():
                print(f"    {count} × {score.examples[kind]!r}")


if __name__ == "__main__":
    main()
