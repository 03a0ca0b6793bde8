"""Payment cards: an issuer's range, a length that the issuer has, and Luhn.

Source: ISO/IEC 7812 and the networks' published ranges, as Wikipedia's "Payment card number" lists them (2026-11). A
number after the name of an order, a ticket, an EAN … is not a card, even if it fits: one in forty ids of sixteen digits
fits.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from pg_trio.stages.guardrails.surroundings import (
    NOT_DIGITS,
    Span,
    before,
    count_list_neighbours,
    ends_there,
    is_named_id,
    starts_afresh,
    without_last_group,
    words_of,
)
from pg_trio.stages.guardrails.words import CARD_WORDS

# Between groups: spaces of every width, invisible ones, dots, slashes, underscores and all dashes; " - " has three.
_JOINT = (
    r"[ \t\x{A0}\x{AD}\x{B7}\x{2000}-\x{200D}\x{2010}-\x{2015}\x{2022}\x{202F}\x{205F}\x{2060}\x{2212}\x{3000}\x{FEFF}"
    r"./_\-]{1,3}"
)
CARD = (
    r"\b(?:[2-6]\d{11,18}|1800\d{11}|(?:8600|9860|9792)\d{12}|0604\d{8,15}"
    rf"|[2-6]\d{{3}}{_JOINT}\d{{4}}{_JOINT}\d{{4}}{_JOINT}\d{{1,4}}(?:{_JOINT}\d{{3}})?"
    rf"|(?:0604|[56]\d{{3}}){_JOINT}\d{{4}}{_JOINT}\d{{4,5}}|3\d{{3}}{_JOINT}\d{{6}}{_JOINT}\d{{4,5}})\b"
)

_SIXTEEN_UP = range(16, 20)
_MAESTRO = range(12, 20)
# First six digits from, to, and the lengths. No overlaps; in order.
_RANGES = (
    (60400, 60499, _MAESTRO),  # 0604…: Maestro's oldest
    (180000, 180099, (15,)),  # JCB of old
    (213100, 213199, (15,)),
    (220000, 220499, _SIXTEEN_UP),  # Mir
    (222100, 272099, (16,)),  # Mastercard
    (300000, 305999, range(14, 20)),  # Diners Club
    (309500, 309599, range(14, 20)),
    (340000, 349999, (15,)),  # American Express
    (350000, 359999, _SIXTEEN_UP),  # JCB, whose own is 3528 to 3589
    (360000, 369999, range(14, 20)),  # Diners Club
    (370000, 379999, (15,)),
    (380000, 399999, range(14, 20)),
    (400000, 499999, (13, 16, 19)),  # Visa
    (500000, 509999, _MAESTRO),  # Maestro, Elo, Verve, Dankort
    (510000, 559999, (16,)),  # Mastercard
    (560000, 599999, _MAESTRO),
    (601100, 601199, _SIXTEEN_UP),  # Discover
    (603000, 609999, (16,)),  # RuPay, Hipercard
    (620000, 629999, _SIXTEEN_UP),  # UnionPay
    (630400, 630499, _MAESTRO),
    (636000, 638999, _SIXTEEN_UP),  # InterPayment, InstaPayment, Elo
    (639000, 639099, _MAESTRO),
    (644000, 659999, _SIXTEEN_UP),  # Discover, RuPay, Elo
    (670000, 679999, _MAESTRO),
    (860000, 860099, (16,)),  # Uzcard
    (979200, 979289, (16,)),  # Troy
    (986000, 986099, (16,)),  # Humo
)
_FIRST = [first for first, _, _ in _RANGES]
# Twelve digits are also a UPC: only these prefixes are Maestro's without a word that says card.
# A UPC that begins with 5 is a coupon.
_MAESTRO_PREFIXES = tuple(b"5018 5020 5038 56 57 58 6304 6759 6761 6762 6763 6390".split())
_MIN_DIGITS, _MAX_DIGITS = 12, 19
# With this many more groups of four in the same row, it is a row of figures or a hex dump.
_MAX_NEIGHBOURS = 2
# Luhn: every second digit is doubled, minus 9 if the result has two digits.
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_JOINTS = re.compile(rb"[^0-9]+")
# A field of a table's row; a sentence has a space behind its comma.
_FIELD_BEHIND = re.compile(rb"[,;|\t\"'][^\s]")
_FIELD_BEFORE = re.compile(rb"[,;|\t\"'][0-9]")
_THIRTEEN = re.compile(rb"\b[0-9]{13}\b")
_NEXT_THIRTEEN = re.compile(rb"[^\w\n]{1,6}([0-9]{13})\b")
# Two fields before it.
_TABLE_BYTES = 40
# Dots, slashes and underscores join groups only if all joints are the same, because two adjacent decimals are not a
# card.
_STRICT_JOINTS = frozenset((b".", b"/", b"_"))


def check_card(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The number, without a last group that does not belong to it (its three-digit code)."""
    if not starts_afresh(buffer, start, floor):
        return None
    digits = buffer[start:end].translate(None, NOT_DIGITS)
    while len(digits) >= _MIN_DIGITS:
        if len(digits) <= _MAX_DIGITS and fits_luhn(digits) and _has_issuer(digits):
            return (start, end) if _is_plausible(buffer, start, end, floor, digits) else None
        end = without_last_group(buffer, start, end)
        digits = buffer[start:end].translate(None, NOT_DIGITS)
    return None


def fits_luhn(digits: bytes) -> bool:
    """Whether the last digit is the right check digit."""
    plain, doubled = digits[-1::-2], digits[-2::-2].translate(_DOUBLED)
    return (sum(plain) - 48 * len(plain) + sum(doubled)) % 10 == 0


def _has_issuer(digits: bytes) -> bool:
    prefix = int(digits[:6])
    index = bisect_right(_FIRST, prefix) - 1
    return index >= 0 and prefix <= _RANGES[index][1] and len(digits) in _RANGES[index][2]


def _is_plausible(buffer: bytes, start: int, end: int, floor: int, digits: bytes) -> bool:
    if is_named_id(buffer, start, floor) and not _is_named_card(buffer, start, floor):
        return False
    joints = set(_JOINTS.findall(buffer, start, end))
    if not joints:
        likely = _is_likely_bare(digits) and not (len(digits) == 13 and _is_product(buffer, start, end))
        return ends_there(buffer, end) and (likely or _is_named_card(buffer, start, floor))
    if len(joints) > 1 and not joints.isdisjoint(_STRICT_JOINTS):
        return False
    return joints != {b" "} or count_list_neighbours(buffer, start, end, floor) <= _MAX_NEIGHBOURS


def _is_likely_bare(digits: bytes) -> bool:
    if len(digits) == 12:
        return digits.startswith(_MAESTRO_PREFIXES) and (digits[0] == 0x35 or not is_ean(digits))  # 0x35 is "5"
    if len(digits) in (17, 18):
        return False  # allowed for some issuers, but very rare
    return len(digits) != 13 or digits[0] == 0x34  # 0x34 is "4": Visa's cards of old


def _is_product(buffer: bytes, start: int, end: int) -> bool:
    """Whether these thirteen digits are an EAN in a table or beside another one. One EAN in ten fits Luhn, too."""
    if not is_ean(buffer[start:end]):
        return False
    if _FIELD_BEHIND.match(buffer, end) or _FIELD_BEFORE.match(buffer, max(start - 1, 0)):
        return True
    others = _THIRTEEN.findall(buffer, max(start - _TABLE_BYTES, 0), start)
    following = _NEXT_THIRTEEN.match(buffer, end)
    return any(map(is_ean, others if following is None else [*others, following[1]]))


def is_ean(digits: bytes) -> bool:
    """Whether the last digit is the check digit of an EAN-13 or a UPC-A (GS1)."""
    odd, even = digits[-2::-2], digits[-3::-2]
    return (3 * (sum(odd) - 48 * len(odd)) + sum(even) - 48 * len(even) + digits[-1] - 48) % 10 == 0


def _is_named_card(buffer: bytes, start: int, floor: int) -> bool:
    """Whether one of the last words before it, except an id's name, says card ("card no.", "card id")."""
    return any(word.lower() in CARD_WORDS for word in words_of(before(buffer, start, floor))[-4:])
