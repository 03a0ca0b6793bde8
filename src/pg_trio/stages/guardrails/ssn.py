"""US social security numbers. Source: SSA's rules since 2011: no area 000, 666 or 9xx, no group 00, no serial 0000."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pg_trio.stages.guardrails.surroundings import (
    DIGITS,
    NOT_DIGITS,
    Span,
    ends_there,
    has_unit,
    is_in_list,
    is_named_id,
    starts_afresh,
)

_HYPHEN = r"[\-\x{2010}\x{2011}\x{2013}]"
# With a word before it, any separator or none.
_NAMED = (
    r"(?i:\b(?:ssns?|social[ -]security(?:[ -](?:number|no|num|nr|#))?|soc\.? ?sec\.?|ss#|ss no))"
    r"[^0-9\n]{0,24}\d{3}[ .\-]?\d{2}[ .\-]?\d{4}\b"
)
SSN = rf"\b\d{{3}}(?:{_HYPHEN}\d{{2}}{_HYPHEN}| \d{{2}} )\d{{4}}\b|{_NAMED}"
# Issued numbers, by Python's `re`, which finds many of them faster than RE2 finds one by one; and numbers with words
# before them. Without regard to case, the long s is an s.
_PARTS = {
    b"start": rb"(?<![0-9A-Za-z_].)",
    b"area": rb"[0-8][0-9]{2}(?<!000)(?<!666)",
    b"serial": rb"(?!0000)[0-9]{4}(?![0-9A-Za-z_]|[.-][0-9])",
    b"hyphen": rb"(?:-|\xe2\x80[\x90\x91\x93])",
    b"s": rb"(?:[sS]|\xc5\xbf)",
    # Not in a row: no other number behind it.
    b"alone": rb"(?! (?=[a-fA-F]{0,7}[0-9])[0-9a-fA-F]{2,8}(?![^\s|,;]))",
}
_ISSUED = re.compile(
    rb"[0-8]%(start)b[0-9]{2}(?<!000)(?<!666)"
    rb"(?:%(hyphen)b(?!00)[0-9]{2}%(hyphen)b%(serial)b| (?!00)[0-9]{2} %(serial)b%(alone)b)"
    rb"|%(s)b(?:%(s)b[nN#]|%(s)b [nN]|[oO][cC](?:[iI]|[.]? ?%(s)b))"
    rb"(?=[^0-9\n]{0,140}+%(area)b[ .-]?(?!00)[0-9]{2}[ .-]?%(serial)b)" % _PARTS,
    re.DOTALL,
)
_FIRST_DIGIT = re.compile(rb"[0-9]")


def check_ssn(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The number, without the words in front of it."""
    named = buffer[start] not in DIGITS
    if named:
        found = _FIRST_DIGIT.search(buffer, start, end)
        # The mask "[SSN REDACTED]" is not a word before a number.
        if found is None or b"REDACTED]" in buffer[start : found.start()] or b"\xff" in buffer[start : found.start()]:
            return None
        start = found.start()
    if not _is_issued(buffer[start:end].translate(None, NOT_DIGITS)):
        return None
    if not starts_afresh(buffer, start, floor) or not ends_there(buffer, end):
        return None
    if named:
        return start, end
    # Three figures in a row ("512 64 2048") usually have other figures around them; an SSN rarely has.
    in_row = buffer[start + 3] == 0x20 and (is_in_list(buffer, start, end, floor) or has_unit(buffer, end))
    return None if in_row or is_named_id(buffer, start, floor) else (start, end)


def sift_ssns(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Where numbers begin that may be issued, or the words before one: see detector.Sift."""
    return ((found.start(), found.start() + 1) for found in _ISSUED.finditer(buffer, start))


def _is_issued(digits: bytes) -> bool:
    area = digits[:3]
    return area not in (b"000", b"666") and area[0] != 0x39 and digits[3:5] != b"00" and digits[5:] != b"0000"
