"""IBANs: a registered country, its length, and the check number. Source: SWIFT's IBAN registry; ISO 13616."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pg_trio.stages.guardrails.surroundings import WORD, Span

# Separators between groups: space, no-break spaces, dot, slash, hyphens and the en dash.
GAP = r"[ \x{A0}\x{202F}./\-\x{2010}\x{2011}\x{2013}]"
IBAN = rf"\b[A-Za-z]{{2}}\d{{2}}(?:{GAP}?[A-Za-z0-9]){{11,30}}"
# A simpler pattern that matches wherever that one does, as in the other files of detectors.
IBAN_OUTLINE = rf"\b[A-Za-z]{{2}}\d{{2}}(?:{GAP}?[A-Za-z0-9]){{11}}"

_NOT_ALNUM = bytes(byte for byte in range(256) if not chr(byte).isascii() or not chr(byte).isalnum())
# Letters have the values 10 to 35 in the check.
_VALUES = {ord(str(digit)): str(digit) for digit in range(10)} | {65 + i: str(10 + i) for i in range(26)}
_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20"
    " EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30"
    " KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23"
    " PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26"
    " UA29 VA22 VG24 XK20 YE30"
)
_CHARS = {entry[:2].encode(): int(entry[2:]) for entry in _LENGTHS.split()}
_NO_LENGTH = 1000
_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])")
_COUNTRIES = {country: "".join([_VALUES[byte] for byte in country]).encode() for country in _CHARS}
# For Python's `re`, which finds many candidates faster than RE2 finds one by one: at most thirty characters, and a
# separator of three bytes before each.
_CANDIDATE = re.compile(
    rb"[A-Za-z](?<![0-9A-Za-z_].)(?=[A-Za-z][0-9]{2}([0-9A-Za-z ./\-\xc2\xa0\xe2\x80\xaf\x90\x91\x93]{11,120}))",
    re.DOTALL,
)


def check_iban(buffer: bytes, start: int, found_end: int, _floor: int) -> Span:
    """The number. The candidate may include following words; the country's length says where the number ends."""
    if _UUID.match(buffer, start):
        return None
    chars = buffer[start:found_end].translate(None, _NOT_ALNUM).upper()
    length = _CHARS.get(chars[:2], _NO_LENGTH)
    if len(chars) < length or not _fits(chars[:length]):
        return None
    end = _offset_after(buffer, start, length)
    return None if end < len(buffer) and buffer[end] in WORD else (start, end)


def sift_ibans(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Where numbers begin whose check fits: see detector.Sift."""
    for found in _CANDIDATE.finditer(buffer, start):
        begin = found.start()
        length = _CHARS.get(buffer[begin : begin + 2].upper())
        if length is not None:
            chars = buffer[begin : found.end(1)].translate(None, _NOT_ALNUM)[:length]
            if len(chars) == length and _fits(chars.upper()):
                yield begin, begin + 1


def _fits(chars: bytes) -> bool:
    """Whether the rest of 97 is right (ISO 7064, MOD 97-10)."""
    number = chars[4:]
    if not number.isdigit():
        number = "".join([_VALUES[byte] for byte in number]).encode()
    return int(number + _COUNTRIES[chars[:2]] + chars[2:4]) % 97 == 1


def _offset_after(buffer: bytes, start: int, chars: int) -> int:
    """The offset behind so many letters and digits."""
    end = start + chars
    while (missing := chars - len(buffer[start:end].translate(None, _NOT_ALNUM))) > 0:
        end += missing
    return end
