"""Numbers of persons that states give out, with their check digits or letters.

Sources: Germany: § 139b AO and the Bundeszentralamt's description of its check digit (ISO 7064, MOD 11,10). United
Kingdom: HMRC, NIM39110. France: INSEE, key of 97. Spain: Real Decreto 1553/2005 (letter of 23) and Orden EHA/451/2008.
Italy: Decreto 23/12/1976, omocodia included. United States: Department of State (passports have no check digit).
"""

from __future__ import annotations

import re
from functools import lru_cache

from pg_trio.stages.guardrails.detector import sift_by
from pg_trio.stages.guardrails.surroundings import (
    KEPT_WINDOWS,
    NOT_DIGITS,
    Span,
    before,
    ends_there,
    is_id_word,
    is_named_id,
    starts_afresh,
    window_before,
    words_of,
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
# Simpler patterns that match wherever those do: six digits with a gap between two of them, or all without a gap.
_GAPPED = "|".join(rf"\d{{{first}}}{_GAP.removesuffix('?')}\d(?:{_GAP}\d){{{5 - first}}}" for first in range(1, 6))
DE_TAX_ID_OUTLINE = rf"{_GAPPED}|\b\d{{11}}\b"
FR_NIR_OUTLINE = rf"{_GAPPED}|\d[ABab]{_GAP}\d{{3}}|\b\d{{15}}\b"
_OMO = "[0-9LMNPQRSTUVlmnpqrstuv]"
IT_CODICE_FISCALE = (
    rf"\b[A-Za-z]{{3}} ?[A-Za-z]{{3}} ?{_OMO}{{2}}[A-EHLMPRSTa-ehlmprst]{_OMO}{{2}} ?[A-Za-z]{_OMO}{{3}} ?[A-Za-z]\b"
)

_OWN_WORDS = re.compile(
    rb"(?i)\b(?:steuer\w*|idnr|id-?nr|tax|tin|nino?|insurance|nir|insee|sociale?|s\xc3\xa9cu|vitale|ss|dni|nif|nie|cif"
    rb"|codice|fiscale|cf|taxpayer|identifi\w*)\b"
)
_GAPS = re.compile(rb"[^0-9]+")
_NINO_PREFIXES_OUT = (b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ")
_CORSICA = {b"2A": b"19", b"2B": b"18"}
_SPANISH_LETTERS = b"TRWAGMYFPDXBNJZSQVHLCKE"
_CIF_LETTERS = b"JABCDEFGHI"
# Organisations whose last character is always a letter, or always a digit.
_CIF_LETTER_ALONE, _CIF_DIGIT_ALONE = b"PQRSNWKLM", b"ABEH"
# The value of a letter in an odd place is its place here; a digit has the value of the letter A to J.
_ITALIAN_ODD = b"BAKPLCQDREVOSFTGUHMINJWZYX"
_AS_LETTERS = bytes.maketrans(b"0123456789", b"ABCDEFGHIJ")
_ODD_VALUES = bytes.maketrans(_ITALIAN_ODD, bytes(range(26)))
_FOREIGNERS = bytes.maketrans(b"XYZ", b"012")
# The sum of the digits of twice a digit.
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_OMO_DIGITS = bytes.maketrans(b"LMNPQRSTUV", b"0123456789")


def check_us_passport(buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """The number, without the word passport."""
    found = re.search(rb"(?<![0-9A-Za-z])[A-Za-z]?[0-9]{8,9}(?![0-9A-Za-z])", buffer[start:end])
    return None if found is None else (start + found.start(), start + found.end())


def check_de_tax_id(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """Eleven digits of which, in the first ten, exactly one occurs twice or three times; and the check digit."""
    digits = buffer[start:end].translate(None, NOT_DIGITS)
    if not _fits_tax_id(digits):
        return None
    # Only numbers for tests begin with 0; and "92581 436060" is a row of figures.
    gaps = len(_GAPS.findall(buffer, start, end))
    if (digits[0] == 0x30 or gaps not in (0, 3)) and not _OWN_WORDS.search(before(buffer, start, floor)):
        return None
    return _alone(buffer, start, end, floor)


def _fits_tax_id(written: bytes) -> bool:
    digits = written.translate(None, NOT_DIGITS)
    return _repeats_one(digits[:10]) and _fits_mod_11_10(digits)


def _repeats_one(digits: bytes) -> bool:
    """Whether exactly one of ten digits occurs twice or three times."""
    different = len(set(digits))
    if different != 8:
        return different == 9
    return max(map(digits.count, set(digits))) == 3


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
    return _alone(buffer, start, end, floor) if _fits_nir(buffer[start:end]) else None


def _fits_nir(written: bytes) -> bool:
    text = written.translate(None, _LETTERS_OUT).upper()
    number = text[:5] + _CORSICA.get(text[5:7], text[5:7]) + text[7:13]
    if not number.isdigit() or 97 - int(number) % 97 != int(text[13:]):
        return False
    month = int(text[3:5])
    return 1 <= month <= 12 or 20 <= month <= 42 or month >= 50


def check_es_nif(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """DNI and NIE with their letter of 23; organisations' numbers with their digit or letter."""
    return _alone(buffer, start, end, floor) if _fits_nif(buffer[start:end]) else None


def _fits_nif(written: bytes) -> bool:
    text = written.translate(None, _LETTERS_OUT).upper()
    return _fits_cif(text) if text[:1].isalpha() and text[0] not in b"XYZ" else _fits_dni(text)


def _fits_dni(text: bytes) -> bool:
    number = text[:-1].translate(_FOREIGNERS)
    return number.isdigit() and _SPANISH_LETTERS[int(number) % 23] == text[-1]


def _fits_cif(text: bytes) -> bool:
    control = -(sum(text[1:8:2].translate(_DOUBLED)) + sum(text[2:8:2]) - 3 * 48) % 10
    if text[0] in _CIF_LETTER_ALONE:
        return text[-1] == _CIF_LETTERS[control]
    if text[0] in _CIF_DIGIT_ALONE:
        return text[-1] == 48 + control
    return text[-1] in (48 + control, _CIF_LETTERS[control])


def check_it_codice_fiscale(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """Sixteen characters with a possible day and the check letter."""
    return _alone(buffer, start, end, floor) if _fits_codice(buffer[start:end]) else None


def _fits_codice(written: bytes) -> bool:
    text = written.translate(None, _LETTERS_OUT).upper()
    letters = text.translate(_AS_LETTERS)
    odd, even = sum(letters[:15:2].translate(_ODD_VALUES)), sum(letters[1:15:2]) - 7 * 65
    if text[15] != 65 + (odd + even) % 26:
        return False
    day = text[9:11].translate(_OMO_DIGITS)
    return day.isdigit() and 1 <= (int(day) - 1) % 40 + 1 <= 31 and int(day) <= 71


def _alone(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The span, unless it touches other digits or letters, or the words before it say an order, a part …"""
    if not starts_afresh(buffer, start, floor) or not ends_there(buffer, end):
        return None
    if is_named_id(buffer, start, floor) and not _is_own(window_before(buffer, start, floor)):
        return None
    return start, end


@lru_cache(maxsize=KEPT_WINDOWS)
def _is_own(window: bytes) -> bool:
    window = before(window, len(window), 0)
    if _OWN_WORDS.search(window) is not None:
        return True
    # "id" alone means a person's; "order id" does not.
    words = [word.lower() for word in words_of(window)]
    return b"id" in words and not any(is_id_word(word) for word in words if word != b"id")


def _bytes_pattern(source: str) -> re.Pattern[bytes]:
    return re.compile(source.replace(_GAP, r"(?:[ ./\-]|\xc2\xa0)?").encode())


sift_tax_ids = sift_by(_bytes_pattern(DE_TAX_ID), _fits_tax_id)
sift_nirs = sift_by(_bytes_pattern(FR_NIR), _fits_nir)
sift_nifs = sift_by(_bytes_pattern(ES_NIF), _fits_nif)
sift_codici = sift_by(_bytes_pattern(IT_CODICE_FISCALE), _fits_codice)
sift_ninos = sift_by(_bytes_pattern(UK_NINO), lambda written: written[:2].upper() not in _NINO_PREFIXES_OUT)
