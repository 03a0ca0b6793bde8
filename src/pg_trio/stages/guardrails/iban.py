"""IBANs: a registered country, its length, and the check number. Source: SWIFT's IBAN registry; ISO 13616."""

from __future__ import annotations

from pg_trio.stages.guardrails.surroundings import WORD, Span

# Separators between groups: space, no-break spaces, dot, slash, hyphens and the en dash.
GAP = r"[ \x{A0}\x{202F}./\-\x{2010}\x{2011}\x{2013}]"
IBAN = rf"\b[A-Za-z]{{2}}\d{{2}}(?:{GAP}?[A-Za-z0-9]){{11,30}}"

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


def check_iban(buffer: bytes, start: int, found_end: int, _floor: int) -> Span:
    """The number. The candidate may include following words; the country's length says where the number ends."""
    chars = buffer[start:found_end].translate(None, _NOT_ALNUM).upper()
    length = _CHARS.get(chars[:2])
    if length is None or len(chars) < length:
        return None
    end = _offset_after(buffer, start, length)
    if end < len(buffer) and buffer[end] in WORD:
        return None
    moved = chars[4:length] + chars[:4]
    return (start, end) if int("".join([_VALUES[byte] for byte in moved])) % 97 == 1 else None


def _offset_after(buffer: bytes, start: int, chars: int) -> int:
    offset = start
    while chars:
        chars -= buffer[offset] not in _NOT_ALNUM
        offset += 1
    return offset
