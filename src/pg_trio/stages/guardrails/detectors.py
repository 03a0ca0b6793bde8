"""The types of personal data, each with its detector. Each has its own file: mail, ip_addresses, iban, cards, ssn …"""

from __future__ import annotations

from pg_trio.domain.guardrails import PII_LABELS, CustomPattern
from pg_trio.stages.guardrails.byte_finder import ByteFinder
from pg_trio.stages.guardrails.cards import CARD, check_card
from pg_trio.stages.guardrails.detector import Detector, Resume, next_byte
from pg_trio.stages.guardrails.iban import IBAN, check_iban
from pg_trio.stages.guardrails.ip_addresses import IPV4, IPV6, check_address, rest_of_run
from pg_trio.stages.guardrails.linear import compile_pattern
from pg_trio.stages.guardrails.mail import EMAIL, after_at, check_email
from pg_trio.stages.guardrails.match_width import widest_match
from pg_trio.stages.guardrails.phones import (
    PHONE_DE,
    PHONE_GENERIC,
    PHONE_US,
    check_generic_phone,
    check_german_phone,
    check_us_phone,
)
from pg_trio.stages.guardrails.ssn import SSN, check_ssn
from pg_trio.stages.guardrails.surroundings import Check

# Parts of a custom pattern that could match at a piece's start or end, or match the separator.
_ANCHORS = ("^", "$", r"\A", r"\z", r"\C")

# `longest_match_chars` of each: the longest match, and what its check reads behind it (a row of figures, a unit, the
# words after a version). 256 for mail: RFC 5321's longest path is 254 without its brackets.
_BUILT_IN: dict[str, tuple[str, Check, Resume, int]] = {
    "email": (EMAIL, check_email, after_at, 256),
    "ip_address": (f"{IPV6}|{IPV4}", check_address, rest_of_run, 128),
    "iban": (IBAN, check_iban, next_byte, 68),
    "credit_card": (CARD, check_card, next_byte, 96),
    "ssn_us": (SSN, check_ssn, next_byte, 68),
    "phone_us": (PHONE_US, check_us_phone, next_byte, 128),
    "phone_de": (PHONE_DE, check_german_phone, next_byte, 128),
    "phone_generic": (PHONE_GENERIC, check_generic_phone, next_byte, 128),
}

DETECTORS: dict[str, Detector] = {
    name: Detector(name, PII_LABELS[name], source, check, resume, longest)
    for name, (source, check, resume, longest) in _BUILT_IN.items()
}


def pii_finder(types: tuple[str, ...] | None, custom_patterns: tuple[CustomPattern, ...] = ()) -> ByteFinder:
    """The detectors of these types (None: the published ones), in the contract's order, then the custom patterns.

    Raises: ValueError for a type or a pattern that cannot be used, with its name.
    """
    detectors = (*_built_in(types), *_custom(custom_patterns))
    return ByteFinder(detectors, not any(anchor in custom.pattern for custom in custom_patterns for anchor in _ANCHORS))


def _built_in(types: tuple[str, ...] | None) -> list[Detector]:
    for name in types or ():
        if name not in PII_LABELS:
            raise ValueError(f"types: unknown type {name!r}")
    return [DETECTORS[name] for name in PII_LABELS if types is None or name in types]


def _custom(patterns: tuple[CustomPattern, ...]) -> list[Detector]:
    detectors = []
    for index, custom in enumerate(patterns):
        try:
            detectors.append(custom_detector(custom.label, custom.pattern))
        except ValueError as error:
            raise ValueError(f"custom_patterns[{index}].pattern: {error}") from None
    return detectors


def custom_detector(label: str, pattern: str) -> Detector:
    """A configured pattern. Raises: ValueError if RE2 rejects it, or if it matches the empty text."""
    detector = Detector(label, label, pattern, longest_match_chars=widest_match(pattern))
    if compile_pattern(pattern).search(b"") is not None:
        raise ValueError("matches the empty text")
    return detector
