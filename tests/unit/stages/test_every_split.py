"""2,000 generated texts with what guardrails for answers look for, as streams: no forbidden character passes.

Each is cut in two at every place, into single characters, and at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from pg_trio.stages.guardrails.detection import mask_matches
from tests.unit.stages.test_output_streams import (
    BESIDE,
    BLOCKLISTS,
    DISGUISES,
    GUARDS,
    KEYWORDS,
    MATTER,
    WORDS,
    cut,
    mask_streamed,
    mask_whole,
    one_mask,
    outcome,
)

TEXTS, RANDOM_CUTS = 2_000, 2
DISGUISED = [disguise(word) for word in KEYWORDS for disguise in DISGUISES]
BETWEEN = [" ", " ", " ", "\n", ", ", ". ", "", "-", ": ", " ("]


def disguised_text(random: Random) -> str:
    """Configured words in a disguise, and what looks like them."""
    return "".join(
        (random.choice(DISGUISED) if random.random() < 0.5 else random.choice(BESIDE)) + random.choice(BETWEEN)
        for _ in range(random.randint(1, 7))
    )


def personal_text(random: Random, matter: list[str]) -> str:
    """Matches, near-misses and words that change what they mean."""
    parts = []
    for _ in range(random.randint(1, 7)):
        kind = random.random()
        number = "".join(random.choices("0123456789", k=random.randint(1, 11)))
        parts.append(number if kind < 0.2 else random.choice(matter if kind < 0.6 else WORDS))
        parts.append(random.choice(BETWEEN))
    return "".join(parts)


def splits_of(text: str, random: Random) -> Iterator[list[str]]:
    yield from ([text[:at], text[at:]] for at in range(1, len(text)))
    yield list(text)
    for _ in range(RANDOM_CUTS):
        yield cut(text, random.choices(range(1, 13), k=len(text)))


@pytest.mark.slow
@pytest.mark.parametrize("match", ["substring", "word"])
def test_no_disguised_word_passes_at_any_cut(match: str) -> None:
    masking, blocking = BLOCKLISTS["mask", match], BLOCKLISTS["block", match]
    random = Random(f"words {match}")
    for _ in range(TEXTS):
        text = disguised_text(random)
        found = masking.rules.acting[0].finder.find(text)
        whole = mask_matches(text, found)

        for pieces in splits_of(text, random):
            assert whole == mask_streamed(masking, pieces)
            if found:
                passed: list[str] = []
                assert outcome(blocking, pieces, passed) is None
                assert text[: found[0].start].startswith("".join(passed))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(GUARDS))
def test_nothing_forbidden_passes_at_any_cut(name: str) -> None:
    guards, random = GUARDS[name], Random(name)
    for _ in range(TEXTS // len(GUARDS)):
        text = personal_text(random, MATTER[name])
        whole = one_mask(mask_whole(guards, text))

        for pieces in splits_of(text, random):
            assert whole == one_mask(mask_streamed(guards, pieces))
