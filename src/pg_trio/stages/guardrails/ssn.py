"""US social security numbers. Source: SSA's rules since 2011: no area 000, 666 or 9xx, no group 00, no serial 0000."""

from __future__ import annotations

import re

from pg_trio.stages.guardrails.surroundings import (
    DIGITS,
    NOT_DIGITS,
    Span,
    count_list_neighbours,
    ends_there,
    has_unit,
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
    in_row = buffer[start + 3] == 0x20 and (
        count_list_neighbours(buffer, start, end, floor) > 0 or has_unit(buffer, end)
    )
    return None if in_row or is_named_id(buffer, start, floor) else (start, end)


def _is_issued(digits: bytes) -> bool:
    area = digits[:3]
    return area not in (b"000", b"666") and area[0] != 0x39 and digits[3:5] != b"00" and digits[5:] != b"0000"
