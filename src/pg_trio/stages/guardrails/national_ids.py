"""Numbers of persons that states give out, with their check digits or letters.

Sources: Germany: § 139b AO and the Bundeszentralamt's description of its check digit (ISO 7064, MOD 11,10). United
Kingdom: HMRC, NIM39110. France: INSEE, key of 97. Spain: Real Decreto 1553/2005 (letter of 23) and Orden EHA/451/2008.
Italy: Decreto 23/12/1976, omocodia included. United States: Department of State (passports have no check digit).
"""

from __future__ import annotations

import re

from pg_trio.stages.guardrails.surroundings import (
    NOT_DIGITS,
    Span,
    before,
    ends_there,
    is_named_id,
    starts_afresh,
)

_GAP = r"[ \x{A0}./\-]?"
_LETTERS_OUT = bytes(byte for byte in range(256) if not chr(byte).isascii() or not chr(byte).isalnum())

US_PASSPORT = (
    r"(?i:\b(?:passports?|pasaportes?|passeports?|reisep[aä]ss\w*))[^0-9\n]{0,40}?\b(?:[A-Za-z]\d{8}|\d{9})\b"
    r"|\b(?:[A-Z]\d{8}|\d{9})[ ,(]{1,3}(?i:(?:is )?(?:my |the |us |u\.s\. |american )*passport\b)"
)
DE_TAX_ID = rf"\b\d\d(?:{_GAP}\d{{3}}){{3}}\b"
UK_NINO = r"\b[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z](?:[ \-]?\d\d){3}[ \-]?[A-Da-d]\b"
FR_NIR = rf"\b[1-478]{_GAP}\d\d{_GAP}\d\d{_GAP}\d[0-9ABab]{_GAP}\d{{3}}{_GAP}\d{{3}}{_GAP}\d\d\b"
ES_NIF = (
    r"\b(?:\d{8}[ \-]?[A-HJ-NP-TV-Za-hj-np-tv-z]|\d{1,2}\.\d{3}\.\d{3}[ \-]?[A-HJ-NP-TV-Za-hj-np-tv-z]"
    r"|[XYZxyz][ \-]?\d{7}[ \-]?[A-HJ-NP-TV-Za-hj-np-tv-z]|[A-HJ-NP-SUVWKLM][ \-]?\d{7}[ \-]?[0-9A-Ja-j])\b"
)
_OMO = "[0-9LMNPQRSTUVlmnpqrstuv]"
IT_CODICE_FISCALE = (
    rf"\b[A-Za-z]{{3}} ?[A-Za-z]{{3}} ?{_OMO}{{2}}[A-EHLMPRSTa-ehlmprst]{_OMO}{{2}} ?[A-Za-z]{_OMO}{{3}} ?[A-Za-z]\b"
)

_OWN_WORDS = re.compile(
    rb"(?i)\b(?:steuer\w*|idnr|id-?nr|tax|tin|nino?|insurance|nir|insee|sociale?|s\xc3\xa9cu|vitale|ss|dni|nif|nie|cif"
    rb"|codice|fiscale|cf|taxpayer|identifi\w*|id)\b"
)
_NINO_PREFIXES_OUT = (b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ")
_CORSICA = {b"2A": b"19", b"2B": b"18"}
_SPANISH_LETTERS = b"TRWAGMYFPDXBNJZSQVHLCKE"
_CIF_LETTERS = b"JABCDEFGHI"
# Organisations whose last character is always a letter, or always a digit.
_CIF_LETTER_ALONE, _CIF_DIGIT_ALONE = b"PQRSNWKLM", b"ABEH"
# The value of a letter in an odd place is its place here; a digit has the value of the letter A to J.
_ITALIAN_ODD = b"BAKPLCQDREVOSFTGUHMINJWZYX"
_AS_LETTERS = bytes.maketrans(b"0123456789", b"ABCDEFGHIJ")
_OMO_DIGITS = bytes.maketrans(b"LMNPQRSTUV", b"0123456789")


def check_us_passport(buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """The number, without the word passport."""
    found = re.search(rb"(?<![0-9A-Za-z])[A-Za-z]?[0-9]{8,9}(?![0-9A-Za-z])", buffer[start:end])
    return None if found is None else (start + found.start(), start + found.end())


def check_de_tax_id(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """Eleven digits of which, in the first ten, exactly one occurs twice or three times; and the check digit."""
    digits = buffer[start:end].translate(None, NOT_DIGITS)
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    if counts[-1] not in (2, 3) or counts[-2] > 1 or not _fits_mod_11_10(digits):
        return None
    # Only numbers for tests begin with 0.
    if digits[0] == 0x30 and not _OWN_WORDS.search(before(buffer, start, floor)):
        return None
    return _alone(buffer, start, end, floor)


def _fits_mod_11_10(digits: bytes) -> bool:
    product = 10
    for digit in digits[:-1]:
        total = (digit - 48 + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == digits[-1] - 48


def check_uk_nino(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """Two letters of the allowed ones, six digits, A to D."""
    if buffer[start : start + 2].upper() in _NINO_PREFIXES_OUT:
        return None
    return _alone(buffer, start, end, floor)


def check_fr_nir(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """Thirteen characters and their key; Corsica's departments are 2A and 2B."""
    text = buffer[start:end].translate(None, _LETTERS_OUT).upper()
    month = int(text[3:5])
    if not (1 <= month <= 12 or 20 <= month <= 42 or month >= 50):
        return None
    number = text[:5] + _CORSICA.get(text[5:7], text[5:7]) + text[7:13]
    if not number.isdigit() or 97 - int(number) % 97 != int(text[13:]):
        return None
    return _alone(buffer, start, end, floor)


def check_es_nif(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """DNI and NIE with their letter of 23; organisations' numbers with their digit or letter."""
    text = buffer[start:end].translate(None, _LETTERS_OUT).upper()
    fits = _fits_cif if text[:1].isalpha() and text[0] not in b"XYZ" else _fits_dni
    return _alone(buffer, start, end, floor) if fits(text) else None


def _fits_dni(text: bytes) -> bool:
    number = text[:-1].translate(bytes.maketrans(b"XYZ", b"012"))
    return number.isdigit() and _SPANISH_LETTERS[int(number) % 23] == text[-1]


def _fits_cif(text: bytes) -> bool:
    digits = [byte - 48 for byte in text[1:8]]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[::2])
    control = -(doubled + sum(digits[1::2])) % 10
    if text[0] in _CIF_LETTER_ALONE:
        return text[-1] == _CIF_LETTERS[control]
    if text[0] in _CIF_DIGIT_ALONE:
        return text[-1] == 48 + control
    return text[-1] in (48 + control, _CIF_LETTERS[control])


def check_it_codice_fiscale(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """Sixteen characters with a possible day and the check letter."""
    text = buffer[start:end].translate(None, _LETTERS_OUT).upper()
    day = text[9:11].translate(_OMO_DIGITS)
    if not (day.isdigit() and 1 <= (int(day) - 1) % 40 + 1 <= 31 and int(day) <= 71):
        return None
    letters = text.translate(_AS_LETTERS)
    odd = sum(_ITALIAN_ODD.index(byte) for byte in letters[:15:2])
    even = sum(byte - 65 for byte in letters[1:15:2])
    return _alone(buffer, start, end, floor) if text[15] == 65 + (odd + even) % 26 else None


def _alone(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The span, unless it touches other digits or letters, or the words before it say an order, a part …"""
    if not starts_afresh(buffer, start, floor) or not ends_there(buffer, end):
        return None
    if is_named_id(buffer, start, floor) and not _OWN_WORDS.search(before(buffer, start, floor)):
        return None
    return start, end
