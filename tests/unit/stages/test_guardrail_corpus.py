"""How much is found and how much is taken wrongly, on both corpora; `scripts/bench/guardrails` prints the table."""

from __future__ import annotations

import pytest

from pg_trio.domain.guardrails import PiiFilter
from pg_trio.stages.guardrails.pii import PiiScanner
from scripts.bench.benches.guardrails import score_lookalikes, score_personal
from scripts.bench.benches.guardrails.corpus import read_lookalikes, read_personal

SCANNER = PiiScanner.compile(PiiFilter())
TIMES = 10
# One harmless line in two hundred.
MOST_TAKEN_WRONGLY = 0.005
LEAST_FOUND = 0.98


@pytest.mark.parametrize("part", ["built with", "held out"])
def test_lookalikes_are_left_alone(part: str) -> None:
    score = score_lookalikes(SCANNER, read_lookalikes(part, TIMES))

    assert score.lines.total() > 2000
    assert score.share_wrong() <= MOST_TAKEN_WRONGLY, score.examples


@pytest.mark.parametrize("held_out", [False, True], ids=["built with", "held out"])
def test_personal_data_is_found(held_out: bool) -> None:
    score = score_personal(SCANNER, read_personal(held_out, TIMES))

    found = {kind: 1 - score.share_wrong(kind) for kind in score.lines}
    assert {kind for kind, share in found.items() if share < LEAST_FOUND} == set(), score.examples


def test_corpora_are_the_same_each_time() -> None:
    assert [*read_lookalikes("held out", 2)] == [*read_lookalikes("held out", 2)]
    assert [*read_personal(True, 2)] == [*read_personal(True, 2)]


def test_mask_takes_the_value_alone() -> None:
    """What stands around a value stays, but for what belongs to it."""
    for line in read_personal(False, 4):
        assert line.value is not None
        before, _, after = line.text.partition(line.value)
        masked = SCANNER.mask(line.text)

        assert masked.startswith(before)
        assert masked.endswith(after), (line.text, masked)
