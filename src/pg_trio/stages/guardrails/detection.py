"""What a guardrail finds in a text: the matches, and how much text a match could still need.

Rules:
1. A finder is compiled once, holds no state and waits for nothing. Its time is linear in the text.
2. Matches are in the order of the text and do not overlap. Offsets are code points of the text as it was given, also
   where the finder compares a normalised form.
3. A finder reads at most `context_chars` before a match. A stream that keeps that many of the characters that it
   already sent, and holds back `longest_match_chars`, finds what the whole text has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol


class Match(NamedTuple):
    """One place in a text. `rule` is for logs (a type, an id), `label` for masks and refusals; neither is the text."""

    start: int
    end: int
    rule: str
    label: str


class Finder(Protocol):
    """One guardrail's rule, compiled."""

    @property
    def longest_match_chars(self) -> Mapping[str, int | None]:
        """For each rule: characters from a match's first one to the last that decides about it. None: no bound."""
        ...

    @property
    def reach_chars(self) -> int | None:
        """The widest of all rules; None if one has no bound."""
        ...

    @property
    def context_chars(self) -> int:
        """How many characters before a match its rules read."""
        ...

    def find(self, text: str) -> list[Match]:
        """All matches."""
        ...

    def find_first(self, pieces: Iterable[str]) -> Match | None:
        """What a refusal names: a match of the first rule, in their order, that matches anywhere."""
        ...

    def find_each(self, pieces: Iterable[str]) -> dict[str, list[Match]]:
        """The pieces that have a match. Cheaper than `find` for each: pieces without a match cost one scan together."""
        ...


def mask_matches(text: str, matches: Sequence[Match]) -> str:
    """The text with `[<label> REDACTED]` for each match."""
    parts: list[str] = []
    done = 0
    for match in matches:
        parts += (text[done : match.start], f"[{match.label} REDACTED]")
        done = match.end
    parts.append(text[done:])
    return "".join(parts)
