"""Vehicle identification numbers (ISO 3779). North American ones have a check digit (49 CFR 565.15); others need a word
before them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from operator import mul

from pg_trio.stages.guardrails.linear import compile_pattern
from pg_trio.stages.guardrails.surroundings import WINDOW_BYTES, Span, before, ends_there, is_named_id, starts_afresh

VIN = r"\b[A-HJ-NPR-Za-hj-npr-z0-9]{17}\b"

_VALUES = bytes.maketrans(b"ABCDEFGHJKLMNPRSTUVWXYZ", b"12345678123457923456789")
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_ALL_WEIGHTS = sum(_WEIGHTS)
_CHECK_AT, _RESTS = 8, b"0123456789X"
# In small letters.
_NAMES = r"(?:vins?|vehicle|chassis|fahrgestell\w*|fin|frame|fahrzeug\w*|ident\w*|bastidor|telaio|châssis|car)"
_NAMED = compile_pattern(rf"\b{_NAMES}\b")
# The bytes that count may begin inside a word.
_MAY_NAME = compile_pattern(rf"{_NAMES}\b")
_CANDIDATE = re.compile(VIN.encode())


def sift_vins(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Where numbers begin whose check digit is right, or that a word may name: see detector.Sift."""
    for found in _CANDIDATE.finditer(buffer, start):
        written, begin = found[0], found.start()
        if written.isdigit() or written.isalpha():
            continue
        may_fit = written.isupper() and written[-4:].isdigit() and _fits(written)
        if may_fit or _MAY_NAME.search(buffer[max(begin - WINDOW_BYTES, 0) : begin].lower()) is not None:
            yield begin, begin + 1


def check_vin(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The number: letters and digits, and a right check digit or a word that says so."""
    if not starts_afresh(buffer, start, floor) or not ends_there(buffer, end):
        return None
    written = buffer[start:end]
    if written.isdigit() or written.isalpha():
        return None
    if _NAMED.search(before(buffer, start, floor).lower()):
        return start, end
    if not written.isupper() or not written[-4:].isdigit() or is_named_id(buffer, start, floor):
        return None
    return (start, end) if _fits(written) else None


def _fits(vin: bytes) -> bool:
    rest: int = (sum(map(mul, vin.translate(_VALUES), _WEIGHTS)) - 48 * _ALL_WEIGHTS) % 11
    return vin[_CHECK_AT] == _RESTS[rest]
