"""Telephone numbers: North American, German, and any other country's.

Rules:
1. A number is accepted by its shape (`+49 30 1234567`, `(212) 555-2368`, `0171/1234567`) or by the word before it
   ("call me at 2125552368"). Digits alone are not a telephone number, because ids, counters and dates look like that.
2. The shape must fit its plan: area codes and exchanges (NANP), lengths (E.164 and `dial_plans`).
3. The nearest word before it decides: a number after "ticket" or "invoice no." is rejected in any shape.
4. Dates, rows of figures, counts ("12345678 bytes") and a diff's added lines are rejected.
5. An extension is part of its number.
"""

from __future__ import annotations

import re

from pg_trio.stages.guardrails.cards import is_ean
from pg_trio.stages.guardrails.dial_plans import national_lengths
from pg_trio.stages.guardrails.surroundings import (
    NOT_DIGITS,
    Span,
    before,
    count_digits,
    ends_there,
    groups_of,
    has_unit,
    is_id_word,
    is_in_list,
    is_named_id,
    is_phone_word,
    starts_afresh,
    window_before,
    without_last_group,
    words_of,
)
from pg_trio.stages.guardrails.words import (
    ANSWER_WORDS,
    CALL_CONNECTORS,
    CALL_WORDS,
    NUMBER_WORDS,
    POSSESSIVES,
)

# ── what every plan shares ───────────────────────────────────────────────────────────────────────────────────────────

_NUMBER_START = re.compile(rb"[(+]{0,2}[0-9]")
_EXTENSION = re.compile(
    rb"[ ,;(]{0,3}(?i:x|ext\.?|extn\.?|extension|durchwahl|dw|poste|anexo|interno|ramal|toestel|#)"
    rb"[ .:\-]{0,3}[0-9]{1,6}(?!\w)\)?"
)
# "+7 (227) 695-4918": the number is another country's.
_FOREIGN_CODE = re.compile(rb"\+[2-9][0-9]{0,2}[ .\-]?\Z")
# "invoice 77: +49 …": the word has its number.
_TOLD_ID = re.compile(rb"[0-9]:[ \t]{1,4}\Z")
_GAPS = re.compile(rb"[^0-9()+]+")
_NOT_GAPS = b"0123456789()+"
# A date anywhere at the front or the end of a candidate: 2024-05-06, 06.05.2024, 2024/05/06, 20240506-
_DATE = re.compile(
    rb"\+?(?:(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])(?!\d)"
    rb"|(?:0?[1-9]|[12]\d|3[01])[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:19|20)\d\d(?!\d)"
    rb"|(?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])[-./ ](?:19|20)\d\d(?!\d)"
    rb"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)|(?:19|20)\d\d ?- ?(?:19|20)?\d\d(?!\d))"
)
_DOTTED_QUAD = re.compile(rb"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\Z")
# Lines of a unified diff begin with "-", "+" or "@@"; a list's "- " has a space.
_DIFF_LINE = re.compile(rb"(?:\A|\n)(?:@@ |-[^ \n-]|--- |\+\+\+ )")
# 400 bytes: some ten lines of a diff.
_DIFF_BYTES = 400
# Other words allowed between a telephone's word and its number: "Phone (John Smith): …".
_OTHER_WORDS = 2
# "+49 30 1234567-0": the number of a switchboard.
_SWITCHBOARD = re.compile(rb"-[0-9](?![\w-]|\.[0-9])")
_DIRECTIONS = frozenset(b"at on to under via unter auf au al op".split())
# Words that give "call" and "cell" another meaning: "function call 2125552368".
_OTHER_CALLS = frozenset(b"function api system method rpc tool http procedure per each last table margin roll".split())
# How clearly a word means a telephone: "T:", "call me at", "phone".
_LETTER, _LIKELY, _CLEAR = 1, 2, 3


def _begin_of_number(buffer: bytes, start: int, end: int) -> int:
    found = _NUMBER_START.search(buffer, start, end)
    return end if found is None else found.start()


def _sign_strength(between: bytes) -> int:
    """How clearly the words from a telephone's word up to the number mean one. `between` begins with that word."""
    if b"REDACTED]" in between or b"\xff" in between or b"\xfe" in between:
        return 0
    words = words_of(between)
    if not words:
        return 0
    # "at", "on": the number reaches a person, even with the person's name between.
    directed = words[-1].lower() in _DIRECTIONS
    others, number_named = 0, False
    for word in reversed(words):
        lower = word.lower()
        if is_phone_word(word) or (lower.endswith(b"phone") and not is_id_word(word)):
            return _CLEAR
        if others == 0 and directed and lower in ANSWER_WORDS:
            return _LETTER
        if lower in CALL_WORDS and others <= directed:
            return _LETTER if len(lower) == 1 else _CLEAR if directed else _LIKELY
        if number_named and lower in POSSESSIVES:
            return _LIKELY if others else _CLEAR
        others += lower not in CALL_CONNECTORS
        number_named = number_named or lower in NUMBER_WORDS
        if others > _OTHER_WORDS or (is_id_word(word) and lower not in NUMBER_WORDS):
            return 0
    return 0


def _last_word(buffer: bytes, start: int, floor: int) -> bytes:
    words = words_of(before(buffer, start, floor))
    return words[-1].lower() if words else b""


def _named_start(buffer: bytes, start: int, end: int, floor: int, least_for_bare: int) -> int:
    """Where the number begins in a candidate that begins with a word; -1 if the words do not mean a telephone.

    Digits without gaps need clearer words: `least_for_bare`.
    """
    begin = _begin_of_number(buffer, start, end)
    if begin == end:
        return -1
    # "my number is": the word before it counts too.
    words_from = max(floor, start - 16) if buffer[start] in b"nN" else start
    strength = _sign_strength(buffer[words_from:begin])
    if strength == _LIKELY and _last_word(buffer, start, floor) in _OTHER_CALLS:
        return -1
    is_bare = _GAPS.search(buffer[begin : _trim_x(buffer, end)]) is None and buffer[begin] != 0x2B
    return begin if strength >= (least_for_bare if is_bare else _LETTER) else -1


def _trim_x(buffer: bytes, end: int) -> int:
    return end - 1 if buffer[end - 1] in b"xX" else end


def _with_extension(buffer: bytes, end: int) -> int:
    found = _EXTENSION.match(buffer, end)
    return end if found is None else found.end()


def _is_counted(buffer: bytes, start: int, end: int) -> bool:
    """Money, a count, a dotted quad or a date: rule 4."""
    if _DATE.match(buffer, start) or _DOTTED_QUAD.match(buffer[start:end]):
        return True
    return has_unit(buffer, end)


def _finish(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The number with its extension, if nothing around it contradicts."""
    if not starts_afresh(buffer, start, floor) or _is_counted(buffer, start, end):
        return None
    extended = _with_extension(buffer, end)
    if extended == end and not ends_there(buffer, end):
        return None
    return start, extended


def _finish_shorter(buffer: bytes, start: int, end: int, floor: int, least: int) -> Span:
    """The same, without last groups that touch the following text, to which they belong."""
    if not starts_afresh(buffer, start, floor):
        return None
    switchboard = _SWITCHBOARD.match(buffer, end)
    if switchboard is not None and not _is_counted(buffer, start, end):
        return start, switchboard.end()
    while count_digits(buffer, start, end) >= least:
        found = _finish(buffer, start, end, floor)
        shorter = without_last_group(buffer, start, end)
        if found is not None or not start < shorter < end:
            return found
        end = shorter
    return None


def _is_named_otherwise(buffer: bytes, start: int, floor: int) -> bool:
    """Whether the nearest words give the number another meaning: rule 3."""
    if not is_named_id(buffer, start, floor):
        return False
    window = window_before(buffer, start, floor)
    if buffer[start] == 0x2B and _TOLD_ID.search(before(window, len(window), 0)):  # 0x2B is "+"
        return False
    word = _last_word(buffer, start, floor)
    return not is_phone_word(word) and word not in CALL_WORDS


# ── North America ────────────────────────────────────────────────────────────────────────────────────────────────────


def check_us_phone(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """A number of the North American plan: area code and exchange begin with 2 to 9 and are not N11."""
    named = buffer[start] not in b"(+0123456789"
    if named:
        start = _named_start(buffer, start, end, floor, _LIKELY)
        if start < 0:
            return None
    end = _trim_x(buffer, end)
    if _is_added_line(buffer, start, floor):
        return None
    if not named and _FOREIGN_CODE.search(before(buffer, start, floor)):
        return None
    if not named and (not _has_us_shape(buffer, start, end, floor) or _is_named_otherwise(buffer, start, floor)):
        return None
    return _finish(buffer, start, end, floor)


def _has_us_shape(buffer: bytes, start: int, end: int, floor: int) -> bool:
    text = buffer[start:end]
    if b"(" in text or b"+" in text:
        return True
    digits = text.translate(None, NOT_DIGITS)[-10:]
    gaps = _GAPS.findall(text)
    if digits[1:3] == b"11" or digits[4:6] == b"11" or len(groups_of(text)) < 3:
        return False
    last, exchange = gaps[-1], gaps[-2]
    if b"." in (last, exchange) and last != exchange:
        return False
    return {last, exchange} != {b" "} or not is_in_list(buffer, start, end, floor)


# ── Germany ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# Thirteen digits with the leading 0 are the longest, of large firms. Nine: a shorter number is more often a part number
# than a telephone number.
_DE_DIGITS = 9, 13
# With a word in front: the shortest area code and four digits.
_DE_NAMED_DIGITS = 7
# Boston, MA 02111-1307
_ZIP = re.compile(rb"0[0-9]{4}-[0-9]{4}\Z")
_STATE, _USA = re.compile(rb"\b[A-Z]{2}[,.]?\s{1,4}\Z"), re.compile(rb",? {1,3}USA\b")


def check_german_phone(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """A German number: +49 and six to twelve digits, or a leading 0 and an area code."""
    if buffer[start] not in b"(+0":
        start = _named_start(buffer, start, end, floor, _LIKELY)
        return None if start < 0 else _check_de_national(buffer, start, _trim_x(buffer, end), floor, _DE_NAMED_DIGITS)
    end = _trim_x(buffer, end)
    if buffer.startswith((b"+49", b"(+49", b"0049", b"00 49"), start):
        return check_international(buffer, start, end, floor)
    if _is_named_otherwise(buffer, start, floor) or not _has_german_shape(buffer, start, end, floor):
        return None
    return _check_de_national(buffer, start, end, floor, _DE_DIGITS[0])


def _check_de_national(buffer: bytes, start: int, end: int, floor: int, least: int) -> Span:
    # A date or a number that follows after a space is not part of it.
    digits = count_digits(buffer, start, end)
    while digits > _DE_DIGITS[1]:
        end = without_last_group(buffer, start, end)
        digits = count_digits(buffer, start, end)
    return _finish_shorter(buffer, start, end, floor, least)


def _has_german_shape(buffer: bytes, start: int, end: int, floor: int) -> bool:
    text = buffer[start:end]
    groups = groups_of(text)
    if len(groups) == 1:
        return buffer[start] == 0x28 or not (len(groups[0]) == 12 and is_ean(groups[0]))
    if (
        len(text) == 10
        and _ZIP.match(text)
        and (_STATE.search(buffer[max(start - 8, 0) : start]) or _USA.match(buffer, end))
    ):
        return False
    gaps = text.translate(None, _NOT_GAPS)
    if gaps and not gaps.strip(b" ") and b"  " not in text:
        most = 0 if set(map(len, groups)) == {4} else 1
        if is_in_list(buffer, start, end, floor, most=most):
            return False
    # Groups of four that all begin with 0 are a row of padded figures.
    return len(groups) <= 2 or not all(group[0] == 0x30 for group in groups)


# ── everywhere else ──────────────────────────────────────────────────────────────────────────────────────────────────

# Ten: with fewer digits in a row, "+" is more often an arithmetic sign.
_MIN_BARE_DIGITS = 10
# Eight: no country's numbers are shorter with its code.
_MIN_INTERNATIONAL_DIGITS = 8
# ITU-T E.164: fifteen digits with the country's code. Seven without one: the shortest local number of most countries.
_E164_DIGITS = 15
# With gaps, six: "84 23 30" is a whole number in Greenland.
_LOCAL_DIGITS = 7, 12
_GROUPED_DIGITS = 6
_MAX_GROUPS = 7


def check_generic_phone(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """Any country's number: with its code, in a national shape, or after a telephone's word."""
    if buffer[start] in b"(+0123456789":
        if buffer[end - 1] not in b"0123456789xX":
            return _check_local(buffer, start, start + len(buffer[start:end].rstrip(NOT_DIGITS)), floor)
        end = _trim_x(buffer, end)
        if buffer.startswith((b"+", b"(+", b"00"), start):
            return check_international(buffer, start, end, floor)
        if _is_named_otherwise(buffer, start, floor) or is_in_list(buffer, start, end, floor, most=1):
            return None
        return _finish(buffer, start, end, floor)
    start = _named_start(buffer, start, end, floor, _CLEAR)
    if start < 0:
        return None
    end = _trim_x(buffer, end)
    if buffer.startswith((b"+", b"(+", b"00"), start):
        found = check_international(buffer, start, end, floor)
        # A word that says telephone is enough for zeros that are no country's prefix.
        if found is not None or buffer[start] != 0x30:
            return found
    return _check_local(buffer, start, end, floor)


def check_international(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """A number with its country's code (+ or 00) and a length of that country."""
    end = _fit_country(buffer, start, end)
    if end == start or _is_named_otherwise(buffer, start, floor) or _is_added_line(buffer, start, floor):
        return None
    text = buffer[start:end]
    if not _GAPS.search(text) and b"(" not in text:
        # Digits in a row: 00 is a padded number, and a few digits after + are a figure.
        if text.startswith(b"00") or count_digits(text, 0, len(text)) < _MIN_BARE_DIGITS:
            return None
    elif text.startswith(b"00") and is_in_list(buffer, start, end, floor):
        return None
    return _finish_shorter(buffer, start, end, floor, _MIN_INTERNATIONAL_DIGITS)


def _fit_country(buffer: bytes, start: int, end: int) -> int:
    """The number's end: groups beyond the country's longest number are not part of it. `start` if no length fits."""
    while True:
        text = buffer[start:end]
        # (0): the national prefix, not dialled from abroad.
        dialled = text.replace(b"(0)", b"") if b"(" in text else text
        digits = dialled.translate(None, NOT_DIGITS).removeprefix(b"00")
        plan = national_lengths(digits)
        if plan is None:
            return start
        width, least, most = plan
        length = len(digits) - width
        # A leading 0 may be the national prefix, which is not dialled from abroad, or belong to the number.
        prefixed = digits[width : width + 1] == b"0"
        if length - prefixed <= most and len(digits) <= _E164_DIGITS + 1:
            return end if length >= least else start
        shorter = without_last_group(buffer, start, end)
        if shorter <= start or shorter >= end:
            return start
        end = shorter


def _is_added_line(buffer: bytes, start: int, floor: int) -> bool:
    """Whether the + belongs to a diff: at a line's start, with other lines of a diff before it."""
    if buffer[start] != 0x2B or not (start == 0 or buffer[start - 1] in b"\n\xfe"):
        return False
    earlier = buffer[max(start - _DIFF_BYTES, 0) : start].rpartition(b"\xfe")[2]
    return _DIFF_LINE.search(earlier) is not None or buffer.startswith((b"-", b"@@"), _next_line(buffer, start))


def _next_line(buffer: bytes, start: int) -> int:
    found = buffer.find(b"\n", start, start + 64)
    return len(buffer) if found < 0 else found + 1


def _check_local(buffer: bytes, start: int, end: int, floor: int) -> Span:
    digits = count_digits(buffer, start, end)
    while digits > _LOCAL_DIGITS[1]:
        shorter = without_last_group(buffer, start, end)
        if shorter <= start:
            return None
        end, digits = shorter, count_digits(buffer, start, shorter)
    groups = len(groups_of(buffer[start:end]))
    if digits < (_GROUPED_DIGITS if groups > 2 else _LOCAL_DIGITS[0]) or groups > _MAX_GROUPS:
        return None
    return _finish_shorter(buffer, start, end, floor, _GROUPED_DIGITS if groups > 2 else _LOCAL_DIGITS[0])
