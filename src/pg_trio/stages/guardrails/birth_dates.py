"""Dates of birth: a whole date after a word that says so. A date alone is none."""

from __future__ import annotations

import re
from datetime import date

from pg_trio.stages.guardrails.surroundings import Span

_WORDS = (
    r"(?i:\b(?:d\.?o\.?b\.?|dates?[ _\-]?of[ _\-]?birth|dateofbirth|birth[ _\-]?dates?|birth[ _\-]?days?|born"
    r"|geb(?:oren)?|geburtsdatum|geburtstag|date de naissance|née?s?|fecha de nacimiento|nacid[oa]s?|nacimiento"
    r"|data di nascita|nat[oa] (?:il|a)|nascit[ao]|data de nascimento|nascid[oa]|nascimento|geboortedatum"
    r"|data urodzenia|ur\.|fødselsdato|födelsedatum)|生年月日|出生日期|出生年月日|生日|дата рождения)"
)
_GAP = r"[^0-9\n]{0,40}"
_NAME = r"[A-Za-z\x{C0}-\x{24F}]{3,10}"
_NUMBERS = r"(?:\d{4}([-./])\d{1,2}[-./]\d{1,2}|\d{1,2} ?[-./] ?\d{1,2} ?[-./] ?(?:\d{4}|\d{2}))"
_WITH_MONTH = rf"\d{{1,2}}(?:st|nd|rd|th|er|º|\.)?(?: of| de| d')?[ \-]{_NAME}\.?,?(?: de| del)?[ \-]\d{{4}}"
_CJK = r"\d{4} ?年 ?\d{1,2} ?月 ?\d{1,2} ?日"
_MONTH_FIRST = rf"{_NAME}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}"
DATE_OF_BIRTH = (
    rf"{_WORDS}{_GAP}(?:{_NUMBERS}(?:\b|T\d)|{_WITH_MONTH}\b)|{_WORDS}{_GAP}\b{_MONTH_FIRST}\b|{_WORDS}{_GAP}{_CJK}"
)

_MONTHS = (
    *("jan", "gen", "ene", "feb", "fev", "fév", "mar", "mär", "mrt", "apr", "abr", "avr", "may", "mai", "mag", "maj"),
    *("jun", "juin", "giu", "jul", "juil", "lug", "aug", "aoû", "aou", "ago", "sep", "set", "oct", "okt", "ott", "out"),
    *("nov", "dec", "dez", "dic", "déc", "des"),
)
_MONTH_FIRST_AT = re.compile(r"([^\W\d_]{3,10})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})\Z")
_DIGITS = re.compile(r"\d+")
_YEARS = range(1900, 2100)


def check_date_of_birth(buffer: bytes, start: int, end: int, _floor: int) -> Span:
    """The date, without the words in front of it."""
    if buffer[end - 2 : end - 1] == b"T":
        end -= 2  # an hour follows (RFC 3339)
    text = buffer[start:end].decode("utf-8", "replace")
    first_month = _MONTH_FIRST_AT.search(text)
    if first_month is not None and first_month[1].lower().startswith(_MONTHS):
        begin, numbers = first_month.start(), [first_month[2], first_month[3]]
    else:
        found = _DIGITS.search(text)
        assert found is not None
        begin = found.start()
        numbers = _DIGITS.findall(text, begin)
        if len(numbers) == 2 and not _names_month(text[begin:]):
            return None
    if not _is_day(numbers):
        return None
    return start + len(text[:begin].encode()), end


def _names_month(text: str) -> bool:
    return any(word.startswith(_MONTHS) for word in re.findall(r"[^\W\d_]{3,}", text.lower()))


def _is_day(numbers: list[str]) -> bool:
    if len(numbers) == 2:
        return 1 <= int(numbers[0]) <= 31 and _is_year(numbers[1])
    if len(numbers[0]) == 4:
        return _is_year(numbers[0]) and _is_date(int(numbers[1]), int(numbers[2]))
    day, month = int(numbers[0]), int(numbers[1])
    return _is_year(numbers[2]) and (_is_date(month, day) or _is_date(day, month))


def _is_year(text: str) -> bool:
    return len(text) == 2 or int(text) in _YEARS


def _is_date(month: int, day: int) -> bool:
    try:
        date(2000, month, day)
    except ValueError:
        return False
    return True
