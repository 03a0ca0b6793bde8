"""Vehicle identification numbers (ISO 3779). North American ones have a check digit (49 CFR 565.15); others need a word
before them."""

from __future__ import annotations

import re

from pg_trio.stages.guardrails.surroundings import Span, before, ends_there, is_named_id, starts_afresh

VIN = r"\b[A-HJ-NPR-Za-hj-npr-z0-9]{17}\b"

_VALUES = bytes.maketrans(b"ABCDEFGHJKLMNPRSTUVWXYZ", b"12345678123457923456789")
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_CHECK_AT = 8
_NAMED = re.compile(
    rb"(?i)\b(?:vins?|vehicle|chassis|fahrgestell\w*|fin|frame|fahrzeug\w*|ident\w*|bastidor|telaio|ch\xc3\xa2ssis|car)\b"
)


def check_vin(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The number: letters and digits, and a right check digit or a word that says so."""
    if not starts_afresh(buffer, start, floor) or not ends_there(buffer, end):
        return None
    written = buffer[start:end]
    if written.isdigit() or written.isalpha():
        return None
    if _NAMED.search(before(buffer, start, floor)):
        return start, end
    if not written.isupper() or not written[-4:].isdigit() or is_named_id(buffer, start, floor):
        return None
    return (start, end) if _fits(written) else None


def _fits(vin: bytes) -> bool:
    rest = sum((byte - 48) * weight for byte, weight in zip(vin.translate(_VALUES), _WEIGHTS, strict=True)) % 11
    return vin[_CHECK_AT] == b"0123456789X"[rest]
