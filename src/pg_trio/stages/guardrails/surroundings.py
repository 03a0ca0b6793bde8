"""Checks the text around a candidate: RE2 has no look-around, and the words before a number tell its meaning.

Rules:
1. Only bytes of the candidate's own piece count, and only those after the previous match, which will be masked.
2. Every check is bounded, so that a scan is linear for any text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from pg_trio.stages.guardrails.words import (
    ABBREVIATIONS,
    CONNECTORS,
    ID_ENDINGS,
    ID_ENDINGS_CJK,
    ID_WORDS,
    NUMBER_WORDS,
    NUMBERS_ALONE,
    OF_WORDS,
    OWN_NUMBERS,
    PARTIES,
    PERSONAL_SIGNS,
    PHONE_SIGNS,
    PHONE_WORDS,
    UNITS,
)

# Byte offsets of a match, or None for a rejected candidate.
Span = tuple[int, int] | None
# The text, the candidate's start and end, and the end of the match before it.
Check = Callable[[bytes, int, int, int], Span]

# 48 bytes: some six words. Words further away seldom tell the meaning of a number.
WINDOW_BYTES = 48
# Words between an id's name and its number: "order number is 12".
_MAX_WORDS = 5

DIGITS = b"0123456789"
NOT_DIGITS = bytes(byte for byte in range(256) if byte not in DIGITS)
WORD = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
JOINTS = frozenset(b".-")

# ASCII characters other than letters become spaces; letters beyond ASCII stay in their words.
_TO_WORDS = bytes(byte if byte > 127 or chr(byte).isalpha() else 0x20 for byte in range(256))
# Beyond ASCII: no-break space, quotes and signs of Latin-1 (but the section's, which is a word), general punctuation,
# and that of CJK and of full width.
_PUNCTUATION = re.compile(
    rb"\xc2[\xa0\xa1\xaa\xab\xb0\xb4\xb7\xba\xbb\xbf]|\xe2\x80[\x80-\xbf]|\xe2\x81[\x80-\xaf]|\xe3\x80[\x80-\xbf]|\xef\xbc[\x80-\x8f\x9a-\xa0]"
    rb"|\xef\xbc[\xbb-\xbf]|\xef\xbd[\x80\x9b-\xa5]"
)
# Between pieces (0xFE) and in masks (0xFF, "REDACTED]"): nothing before one of them counts.
_BARRIER = re.compile(rb"\xfe|\xff+|REDACTED\]")
_SENTENCE_END = re.compile(rb"([A-Za-z\x80-\xff]{1,30}|[)\"'\]0-9])[.!?]+[\"')\]]{0,2} {1,8}")
# Room for a word before a number, and what separates them.
_LAST_WORD_BYTES = 20
_LETTER = re.compile(rb"[A-Za-z\x80-\xff]")
# What a window has in it of which not all counts.
_MAY_CUT = re.compile(rb"[.!?][\"')\]]{0,2} |[\xfe\xff]|REDACTED\]")
# 1,024: a text of numbers has few kinds of words before them, which are read once. A window has 48 bytes.
KEPT_WINDOWS = 1024
# Directly before a number and after a word, these make it part of a name: INV-12, /users/12, build_12, ticket#12.
_GLUE = frozenset(b"-_/.#~\\&")
_MONEY = (b"$", "€".encode(), "£".encode(), "¥".encode(), "₹".encode())
_MONEY_BEHIND = tuple(f"{space}{sign}".encode() for space in ("", " ", "\u00a0") for sign in "%€$£")
# "S/N 12", and a weather station's key: `"station": "12"`.
_SERIAL = re.compile(rb"(?i)(?:\b[spm]/n\b[^A-Za-z]{0,4}|\bstation[\"'][^A-Za-z]{0,6})\Z")
_UNIT = re.compile(rb"(?: |\xc2\xa0){0,2}([A-Za-z\xc2\xb5]{1,11})\b")
# A group of a list or a hex dump before or after it: one space, and two to eight hexadecimal digits, one a digit.
_GROUP_BEFORE = re.compile(rb"(?<![^\s|])([0-9a-fA-F]{2,8})[ ]\Z")
_GROUP_BYTES = 9
_GROUP_BEHIND = re.compile(rb"[ ]([0-9a-fA-F]{2,8})(?![^\s|,;])")


def starts_afresh(buffer: bytes, start: int, floor: int) -> bool:
    """True if no letter, digit or plus touches it before, and no digit across a dot or hyphen."""
    if start <= floor:
        return True
    before = buffer[start - 1]
    if before in WORD or before == 0x2B:  # 0x2B is "+"
        return False
    return not (before in JOINTS and start > floor + 1 and buffer[start - 2] in DIGITS)


def ends_there(buffer: bytes, end: int) -> bool:
    """True if no letter or digit touches it after, and no digit across a dot or hyphen."""
    if end >= len(buffer):
        return True
    return buffer[end] not in WORD and not (
        buffer[end] in JOINTS and end + 1 < len(buffer) and buffer[end + 1] in DIGITS
    )


def before(buffer: bytes, start: int, floor: int) -> bytes:
    """The last bytes before `start` that count (rule 1), of the same sentence."""
    window = buffer[max(start - WINDOW_BYTES, floor, 0) : start]
    if _MAY_CUT.search(window) is None:
        return window
    return window[len(window) - len(_counting(window.translate(_ZEROS))) :]


@lru_cache(maxsize=KEPT_WINDOWS)
def _counting(window: bytes) -> bytes:
    """The end of it that counts, of a window as `window_before` gives it."""
    return _last_sentence(_unbarred(window))


def _unbarred(window: bytes) -> bytes:
    if 0xFE in window or 0xFF in window or b"REDACTED]" in window:
        return window[[found.end() for found in _BARRIER.finditer(window)][-1] :]
    return window


def _last_sentence(window: bytes) -> bytes:
    """Without the sentences before; a full stop after an abbreviation ("no. 12") ends none."""
    for found in reversed(list(_SENTENCE_END.finditer(window))):
        word = found[1].lower()
        if len(word) > 1 and word not in ABBREVIATIONS:
            return window[found.end() :]
    return window


def words_of(text: bytes) -> list[bytes]:
    """The words of the text, as written; digits and punctuation are not words."""
    if not text.isascii():
        text = _PUNCTUATION.sub(b" ", text)
    return text.translate(_TO_WORDS).split()


@lru_cache(maxsize=KEPT_WINDOWS)
def is_phone_word(word: bytes) -> bool:
    """Whether a word means a telephone, in any script."""
    return word.lower() in PHONE_WORDS or has_any(word, PHONE_SIGNS)


def is_named_id(buffer: bytes, start: int, floor: int) -> bool:
    """Whether the words before a number say that it belongs to an order, a ticket, a part … (`order no. 12`, `id=12`).

    Also for money ("$12"), "#12", and a number attached to a word ("INV-12").
    """
    window = window_before(buffer, start, floor)
    # Nearly always the last word decides.
    said = _last_word_names_id(window[-_LAST_WORD_BYTES:])
    return _names_id(window) if said is None else said


@lru_cache(maxsize=KEPT_WINDOWS)
def _last_word_names_id(end: bytes) -> bool | None:
    """The same by the end of a window; None if it is not enough."""
    if end.endswith(_MONEY) or _is_glued(end):
        return None if _MAY_CUT.search(end) else True
    # The first word may be the rest of a longer one.
    words = words_of(end)[1 if _LETTER.match(end) else 0 :]
    if not words or _MAY_CUT.search(end):
        return None
    if is_id_word(words[-1]):
        return True
    last = words[-1].lower()
    return None if last in CONNECTORS or last in PARTIES else False


def window_before(buffer: bytes, start: int, floor: int) -> bytes:
    """The bytes before `start` that may count, with 0 for each digit: what is kept for a window holds for all its
    numbers."""
    return buffer[max(start - WINDOW_BYTES, floor, 0) : start].translate(_ZEROS)


@lru_cache(maxsize=KEPT_WINDOWS)
def _names_id(window: bytes) -> bool:
    """The same for the window before it."""
    window = _last_sentence(_unbarred(window))
    if not window:
        return False
    if window.endswith(_MONEY) or _is_glued(window):
        return True
    words = words_of(window)
    if (window[-1] == 0x23 and not words) or _SERIAL.search(window):  # 0x23 is "#"
        return True
    is_numbered, behind = False, b""
    for index, word in enumerate(words[: -_MAX_WORDS - 1 : -1]):
        lower = word.lower()
        if behind == b"s" and lower in PARTIES:
            return False  # "the customer's number is", but "the customer number is"
        behind = lower
        if is_id_word(word) or (lower in PARTIES and (is_numbered or _number_of(words[: -index - 1]))):
            return True
        if lower not in CONNECTORS:
            return False
        is_numbered = is_numbered or lower in NUMBER_WORDS
    return False


def _number_of(words: list[bytes]) -> bool:
    """Whether they end with "number", before words that mean "of": "numéro de"."""
    for word in reversed(words):
        if word.lower() not in OF_WORDS:
            return word.lower() in NUMBER_WORDS
    return False


def is_id_word(word: bytes) -> bool:
    """Whether a word names an identifier: `invoice`, `Kundennummer`, `orderId`."""
    lower = word.lower()
    if lower in ID_WORDS or lower.endswith(ID_ENDINGS) or (len(word) > 2 and word.endswith((b"Id", b"ID"))):
        return True
    if not word.endswith(ID_ENDINGS_CJK) or word in NUMBERS_ALONE or word.endswith(OWN_NUMBERS):
        return False
    return not is_phone_word(word) and not has_any(word, PERSONAL_SIGNS)


def has_any(word: bytes, signs: tuple[bytes, ...]) -> bool:
    """Whether one of the signs, of a script without spaces, is in the word."""
    return not word.isascii() and any(sign in word for sign in signs)


def _is_glued(window: bytes) -> bool:
    return len(window) > 1 and window[-1] in _GLUE and (window[-2] in WORD or window[-2] > 127)


def is_in_list(buffer: bytes, start: int, end: int, floor: int, *, most: int = 0) -> bool:
    """Whether it has more than `most` numbers beside it, one space apart: rows of figures and hex dumps have several,
    a telephone number none."""
    neighbours = 0
    behind = _GROUP_BEHIND.match(buffer, end)
    while behind is not None:
        neighbours += _has_digit(behind[1])
        if neighbours > most:
            return True
        behind = _GROUP_BEHIND.match(buffer, behind.end())
    if start <= floor or buffer[start - 1] != 0x20:  # " "
        return False
    window = before(buffer, start, floor)
    found = _group_before(window)
    while found is not None:
        neighbours += _has_digit(found[1])
        if neighbours > most:
            return True
        window = window[: found.start()]
        found = _group_before(window)
    return False


def _group_before(window: bytes) -> re.Match[bytes] | None:
    return _GROUP_BEFORE.search(window, max(len(window) - _GROUP_BYTES, 0))


def _has_digit(group: bytes) -> bool:
    return bool(group.translate(None, NOT_DIGITS))


def has_unit(buffer: bytes, end: int) -> bool:
    """Whether a unit follows: "bytes", "EUR", "%"."""
    if buffer.startswith(_MONEY_BEHIND, end):
        return True
    unit = _UNIT.match(buffer, end)
    return unit is not None and unit[1].lower() in UNITS


def count_digits(buffer: bytes, start: int, end: int) -> int:
    """Digits between two offsets."""
    return len(buffer[start:end].translate(None, NOT_DIGITS))


def groups_of(text: bytes) -> list[bytes]:
    """The groups of digits in the text."""
    return text.translate(_GROUPED).split()


_ZEROS = bytes(0x30 if byte in DIGITS else byte for byte in range(256))
_GROUPED = bytes(byte if byte in DIGITS else 0x20 for byte in range(256))


def without_last_group(buffer: bytes, start: int, end: int) -> int:
    """The end without the last group of digits and its separator."""
    return start + len(buffer[start:end].rstrip(DIGITS).rstrip(NOT_DIGITS))
