"""Where the matches are: offsets in the text as it was given, for one text and for many pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.guardrails import CustomPattern
from pg_trio.stages.guardrails.detection import Match, mask_matches
from pg_trio.stages.guardrails.detectors import pii_finder
from pg_trio.stages.guardrails.match_width import widest_match

ALL = pii_finder(None)
PIECES = st.sampled_from(
    [
        "max@example.com",
        "10.0.0.1",
        "DE89370400440532013000",
        "+49 30 12345678",
        "ä",
        "日本",
        " ",
        "x",
        ", ",
        "4111 1111",
    ]
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)


def test_match_has_offsets_of_the_text() -> None:
    text = "Grüße, max@example.com und 日本 10.0.0.1"

    assert [
        Match(7, 22, "email", "E-Mail"),
        Match(30, 38, "ip_address", "IP address"),
    ] == ALL.find(text)
    assert "Grüße, [E-Mail REDACTED] und 日本 [IP address REDACTED]" == mask_matches(text, ALL.find(text))


@given(TEXTS)
def test_matches_are_in_order_and_apart(text: str) -> None:
    found = ALL.find(text)

    assert all(match.start < match.end for match in found)
    assert all(first.end <= second.start for first, second in itertools.pairwise(found))
    assert [] == ALL.find(mask_matches(text, found))


@given(st.lists(TEXTS, max_size=6))
def test_pieces_are_as_if_alone(pieces: list[str]) -> None:
    alone = {piece: ALL.find(piece) for piece in pieces}

    assert {piece: found for piece, found in alone.items() if found} == ALL.find_each(pieces)


def test_half_a_character_takes_the_whole() -> None:
    finder = pii_finder((), (CustomPattern("Byte", r"\x{C3}|\C\z"),))

    assert "a[Byte REDACTED]" == mask_matches("aé", finder.find("aé"))


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [
        (r"\bEMP-\d{6}\b", 11),
        (r"a|bcd", 4),
        (r"(?i)straße{1,3}", 9),
        (r"x+", None),
        (r"\pN{3}", None),
        (r"a{,5}", None),
        (r"[[:alpha:]]{3}", None),
        (r"\Qa\E", None),
    ],
)
def test_width_is_known_or_unbounded(pattern: str, longest: int | None) -> None:
    assert longest == widest_match(pattern)


def test_bound_of_a_label_is_its_widest() -> None:
    finder = pii_finder(("email",), (CustomPattern("Badge", "a{3}"), CustomPattern("Badge", "b{9}")))

    assert {"email": 256, "Badge": 10} == finder.longest_match_chars
