"""The types of personal data, each with its detector. Each has its own file: mail, ip_addresses, iban, cards, ssn …"""

from __future__ import annotations

from functools import cache

from pg_trio.domain.detected_types import PII_LABELS, PUBLISHED_PII_TYPES
from pg_trio.domain.guardrails import CustomPattern
from pg_trio.stages.guardrails.birth_dates import DATE_OF_BIRTH, check_date_of_birth
from pg_trio.stages.guardrails.byte_finder import ByteFinder
from pg_trio.stages.guardrails.cards import CARD, CARD_OUTLINE, check_card, sift_cards
from pg_trio.stages.guardrails.crypto_wallets import (
    CRYPTO_WALLET,
    CRYPTO_WALLET_OUTLINE,
    check_crypto_wallet,
    sift_wallets,
)
from pg_trio.stages.guardrails.detector import Detector, Resume, Sift, next_byte
from pg_trio.stages.guardrails.iban import IBAN, IBAN_OUTLINE, check_iban, sift_ibans
from pg_trio.stages.guardrails.ip_addresses import IPV4, IPV6, check_address, rest_of_run, sift_addresses
from pg_trio.stages.guardrails.linear import compile_pattern
from pg_trio.stages.guardrails.mac_addresses import MAC_ADDRESS, check_mac_address
from pg_trio.stages.guardrails.mail import EMAIL, after_at, check_email, sift_emails
from pg_trio.stages.guardrails.match_width import widest_match
from pg_trio.stages.guardrails.national_ids import (
    DE_TAX_ID,
    DE_TAX_ID_OUTLINE,
    ES_NIF,
    FR_NIR,
    FR_NIR_OUTLINE,
    IT_CODICE_FISCALE,
    UK_NINO,
    US_PASSPORT,
    check_de_tax_id,
    check_es_nif,
    check_fr_nir,
    check_it_codice_fiscale,
    check_uk_nino,
    check_us_passport,
    sift_codici,
    sift_nifs,
    sift_ninos,
    sift_nirs,
    sift_tax_ids,
)
from pg_trio.stages.guardrails.phone_patterns import (
    PHONE_DE,
    PHONE_DE_OUTLINE,
    PHONE_GENERIC,
    PHONE_GENERIC_OUTLINE,
    PHONE_GENERIC_SPLIT,
    PHONE_HINT,
    PHONE_US,
)
from pg_trio.stages.guardrails.phones import check_generic_phone, check_german_phone, check_us_phone
from pg_trio.stages.guardrails.ssn import SSN, check_ssn, sift_ssns
from pg_trio.stages.guardrails.surroundings import Check
from pg_trio.stages.guardrails.url_credentials import URL_CREDENTIALS, check_url_credentials
from pg_trio.stages.guardrails.vehicles import VIN, check_vin, sift_vins

# Parts of a custom pattern that could match at a piece's start or end, or match the separator.
_ANCHORS = ("^", "$", r"\A", r"\z", r"\C")

# `longest_match_chars` of each: the longest match, and what its check reads behind it (a row of figures, a unit, the
# words after a version). 256 for mail: RFC 5321's longest path is 254 without its brackets.
_BUILT_IN: dict[str, tuple[str, Check, Resume, int]] = {
    "url_credentials": (URL_CREDENTIALS, check_url_credentials, next_byte, 224),
    "email": (EMAIL, check_email, after_at, 256),
    "ip_address": (f"{IPV6}|{IPV4}", check_address, rest_of_run, 128),
    "ipv6": (IPV6, check_address, rest_of_run, 64),
    "mac_address": (MAC_ADDRESS, check_mac_address, next_byte, 20),
    "iban": (IBAN, check_iban, next_byte, 68),
    "credit_card": (CARD, check_card, next_byte, 96),
    "ssn_us": (SSN, check_ssn, next_byte, 68),
    "us_passport": (US_PASSPORT, check_us_passport, next_byte, 48),
    "de_tax_id": (DE_TAX_ID, check_de_tax_id, next_byte, 16),
    "uk_nino": (UK_NINO, check_uk_nino, next_byte, 16),
    "fr_nir": (FR_NIR, check_fr_nir, next_byte, 23),
    "es_nif": (ES_NIF, check_es_nif, next_byte, 14),
    "it_codice_fiscale": (IT_CODICE_FISCALE, check_it_codice_fiscale, next_byte, 22),
    "crypto_wallet": (CRYPTO_WALLET, check_crypto_wallet, next_byte, 108),
    "vin": (VIN, check_vin, next_byte, 19),
    "date_of_birth": (DATE_OF_BIRTH, check_date_of_birth, next_byte, 40),
    "phone_us": (PHONE_US, check_us_phone, next_byte, 128),
    "phone_de": (PHONE_DE, check_german_phone, next_byte, 128),
    "phone_generic": (PHONE_GENERIC, check_generic_phone, next_byte, 128),
}


_OUTLINES = {
    "iban": IBAN_OUTLINE,
    "de_tax_id": DE_TAX_ID_OUTLINE,
    "fr_nir": FR_NIR_OUTLINE,
    "crypto_wallet": CRYPTO_WALLET_OUTLINE,
    "credit_card": CARD_OUTLINE,
    "phone_de": PHONE_DE_OUTLINE,
    "phone_generic": PHONE_GENERIC_OUTLINE,
}


_HINTS = {"phone_generic": PHONE_HINT}
_SIFTS: dict[str, Sift] = {
    "credit_card": sift_cards,
    "ssn_us": sift_ssns,
    "ip_address": sift_addresses,
    "ipv6": sift_addresses,
    "iban": sift_ibans,
    "email": sift_emails,
    "de_tax_id": sift_tax_ids,
    "uk_nino": sift_ninos,
    "fr_nir": sift_nirs,
    "es_nif": sift_nifs,
    "it_codice_fiscale": sift_codici,
    "crypto_wallet": sift_wallets,
    "vin": sift_vins,
}


@cache
def pii_detector(name: str) -> Detector:
    """The detector of a type of personal data, compiled when it is first wanted."""
    source, check, resume, longest = _BUILT_IN[name]
    split = PHONE_GENERIC_SPLIT if name == "phone_generic" else None
    return Detector(
        name,
        PII_LABELS[name],
        source,
        check,
        resume,
        longest,
        _OUTLINES.get(name),
        _HINTS.get(name),
        split,
        _SIFTS.get(name),
    )


def pii_finder(types: tuple[str, ...] | None, custom_patterns: tuple[CustomPattern, ...] = ()) -> ByteFinder:
    """The detectors of these types (None: the published ones), in the contract's order, then the custom patterns.

    Raises: ValueError for a type or a pattern that cannot be used, with its name.
    """
    detectors = (*_built_in(types), *_custom(custom_patterns))
    has_anchors = any(anchor in custom.pattern for custom in custom_patterns for anchor in _ANCHORS)
    return ByteFinder(detectors, scans_at_once=not has_anchors, reads_runs=bool(custom_patterns))


def _built_in(types: tuple[str, ...] | None) -> list[Detector]:
    for name in types or ():
        if name not in PII_LABELS:
            raise ValueError(f"types: unknown type {name!r}")
    wanted = PUBLISHED_PII_TYPES if types is None else types
    return [pii_detector(name) for name in PII_LABELS if name in wanted]


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
