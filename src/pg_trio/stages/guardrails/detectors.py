"""Detectors for each type of personal data: a pattern finds candidates, and a check accepts or rejects them.

A pattern alone cannot express "a valid IBAN" or "after the word invoice" (RE2 has no look-around). So a check gets the
candidate with its surroundings, and returns where the match begins and ends, or None. After None the search continues
one byte later if candidates have a bounded length, or later (`resume`) if they are whole runs. Both ways are linear.

Each type has its own file: mail, addresses, iban, cards, ssn, phones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import field, frozen

from pg_trio.domain.guardrails import PII_LABELS
from pg_trio.stages.guardrails.cards import CARD, check_card
from pg_trio.stages.guardrails.iban import IBAN, check_iban
from pg_trio.stages.guardrails.ip_addresses import IPV4, IPV6, check_address, rest_of_run
from pg_trio.stages.guardrails.linear import Pattern, compile_pattern
from pg_trio.stages.guardrails.mail import EMAIL, after_at, check_email
from pg_trio.stages.guardrails.phones import (
    PHONE_DE,
    PHONE_GENERIC,
    PHONE_US,
    check_generic_phone,
    check_german_phone,
    check_us_phone,
)
from pg_trio.stages.guardrails.ssn import SSN, check_ssn
from pg_trio.stages.guardrails.surroundings import Check, Span

# Where the search continues after a rejected candidate. Arguments: the text, the candidate's start and end.
Resume = Callable[[bytes, int, int], int]


def _take(_buffer: bytes, start: int, end: int, _floor: int) -> Span:
    return start, end


def _next_byte(_buffer: bytes, start: int, _end: int) -> int:
    return start + 1


@frozen(slots=True, eq=False)
class Detector:
    """One kind of personal data. `source` is its pattern; `placeholder` stands for a match until all are found."""

    label: str
    source: str
    check: Check = _take
    resume: Resume = _next_byte
    placeholder: bytes = b""
    _pattern: Pattern = field(init=False)

    @_pattern.default
    def _compile(self) -> Pattern:
        return compile_pattern(self.source)

    def find(self, buffer: bytes) -> tuple[int, int] | None:
        """Byte offsets of the first match."""
        return next(self.find_all(buffer), None)

    def find_all(self, buffer: bytes) -> Iterator[tuple[int, int]]:
        """Byte offsets of every match, in order."""
        search, check, resume = self._pattern.search, self.check, self.resume
        done = 0
        found = search(buffer)
        while found is not None:
            begin, end = found
            # An empty match (`\b` in a custom pattern) masks nothing, and would be found again and again.
            taken = check(buffer, begin, end, done) if end > begin else None
            if taken is None:
                found = search(buffer, resume(buffer, begin, end))
                continue
            yield taken
            done = taken[1]
            found = search(buffer, done)

    def replace_all(self, buffer: bytes) -> bytes:
        """The text with the placeholder for every match; the same object if there was none.

        It runs twice: a number that was rejected because of the number after it may be accepted once that is masked.
        """
        masked = self._replace_once(buffer)
        return buffer if masked is buffer else self._replace_once(masked)

    def _replace_once(self, buffer: bytes) -> bytes:
        pieces, done = [], 0
        for begin, end in self.find_all(buffer):
            pieces.append(buffer[done:begin])
            done = end
        if not pieces:
            return buffer
        pieces.append(buffer[done:])
        return self.placeholder.join(pieces)


def custom_detector(label: str, pattern: str) -> Detector:
    """A configured pattern. Raises: ValueError if RE2 rejects it, or if it matches the empty text."""
    detector = Detector(label, pattern)
    if compile_pattern(pattern).search(b"") is not None:
        raise ValueError("matches the empty text")
    return detector


_BUILT_IN: dict[str, tuple[str, Check, Resume]] = {
    "email": (EMAIL, check_email, after_at),
    "ip_address": (f"{IPV6}|{IPV4}", check_address, rest_of_run),
    "iban": (IBAN, check_iban, _next_byte),
    "credit_card": (CARD, check_card, _next_byte),
    "ssn_us": (SSN, check_ssn, _next_byte),
    "phone_us": (PHONE_US, check_us_phone, _next_byte),
    "phone_de": (PHONE_DE, check_german_phone, _next_byte),
    "phone_generic": (PHONE_GENERIC, check_generic_phone, _next_byte),
}

DETECTORS: dict[str, Detector] = {
    name: Detector(PII_LABELS[name], source, check, resume) for name, (source, check, resume) in _BUILT_IN.items()
}
