"""Payment cards: an issuer's range, a length that the issuer has, and Luhn.

Source: ISO/IEC 7812 and the networks' published ranges, as Wikipedia's "Payment card number" lists them (2026-11). A
number after the name of an order, a ticket, an EAN … is not a card, even if it fits: one in forty ids of sixteen digits
fits.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache

from pg_trio.stages.guardrails.detector import in_batches
from pg_trio.stages.guardrails.surroundings import (
    KEPT_WINDOWS,
    NOT_DIGITS,
    Span,
    before,
    ends_there,
    has_any,
    is_in_list,
    is_named_id,
    starts_afresh,
    window_before,
    without_last_group,
    words_of,
)
from pg_trio.stages.guardrails.words import CARD_SIGNS, CARD_WORDS

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
# A simpler pattern that matches wherever that one does.
CARD_OUTLINE = rf"\b\d{{12,19}}\b|\d{{4}}{_JOINT}\d{{4}}{_JOINT}\d{{4}}|3\d{{3}}{_JOINT}\d{{6}}{_JOINT}\d{{4}}"

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
# Twelve digits are also a UPC, and then no card: only these prefixes are Maestro's without a word that says card.
# A UPC that begins with 5 is a coupon.
_MAESTRO_PREFIXES = tuple(b"0604 5018 5020 5038 56 57 58 6304 6759 6761 6762 6763 6390".split())
_MIN_DIGITS, _MAX_DIGITS = 12, 19
# With this many more groups of four in the same row, it is a row of figures or a hex dump.
_MAX_NEIGHBOURS = 2
# Luhn: every second digit is doubled, minus 9 if the result has two digits.
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_PLAIN = bytes.maketrans(b"0123456789", bytes(range(10)))
_REST_OF_TEN = bytes(total % 10 for total in range(256))
_JOINTS = re.compile(rb"[^0-9]+")
# CARD for Python's `re`, which finds many candidates faster than RE2 finds one by one. Anything
# but letters and digits may be a joint: three characters of three bytes.
_BETWEEN = rb"[^0-9A-Za-z\n]{1,9}"
_ENDS = rb"(?![0-9A-Za-z_])"
_GROUPS = re.compile(
    rb"[0-689](?<![0-9A-Za-z_].)(?:(?<=[2-6])|(?<=0)(?=604)|(?<=1)(?=800)|(?<=8)(?=600)|(?<=9)(?=860|792))"
    rb"(?=([0-9]{11,18}%(end)b|[0-9]{3}%(gap)b(?:[0-9]{4}%(gap)b[0-9]{4}"
    rb"(?:%(gap)b[0-9]{1,4}(?:%(gap)b[0-9]{3}%(end)b)?%(end)b|[0-9]?%(end)b)|[0-9]{6}%(gap)b[0-9]{4,5}%(end)b)))"
    % {b"gap": _BETWEEN, b"end": _ENDS},
    re.DOTALL,
)
# A field of a table's row; a sentence has a space behind its comma.
_FIELD_BEHIND = re.compile(rb"[,;|\t\"'][^\s]")
_FIELD_BEFORE = re.compile(rb"[,;|\t\"'][0-9]")
_THIRTEEN = re.compile(rb"\b[0-9]{13}\b")
_NEXT_THIRTEEN = re.compile(rb"[^\w\n]{1,6}([0-9]{13})\b")
_PRODUCT = re.compile(
    rb"(?i)\b(?:ean|gtin|upc|gs1|sku|isbn|bar ?codes?|strichcodes?|artikel\w*|produkte?s?|produktcode|products?"
    rb"|articles?|articulos?|articoli|articolo)\b"
)
# A number of pieces or a price beside it.
_SOLD_BEHIND = re.compile(
    rb"(?i)[^0-9A-Za-z\n]{1,4}(?:(?:[0-9]{1,5} ?)?(?:pcs|pieces?|stk|st\xc3\xbcck|stueck|in stock|auf lager|en stock"
    rb"|units?|unidades|unit\xc3\xa9s|pezzi|pz|szt)\b|[0-9]{1,5}[.,][0-9]{2}\b"
    rb"|(?:[$]|\xe2\x82\xac|\xc2[\xa3\xa5]) ?[0-9])"
)
_SOLD_BEFORE = re.compile(rb"(?i)(?:\b(?:qty|quantity|menge|anzahl)\W{0,3}[0-9]{1,5}|[0-9] ?(?:x|\xc3\x97)) \Z")
_BEHIND_BYTES = 24
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


def sift_cards(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Where numbers begin that fit Luhn and an issuer, as a whole or without last groups: see detector.Sift."""
    for batch in in_batches(_GROUPS.finditer(buffer, start)):
        spans = [(found.start(), found.end(1)) for found in batch]
        numbers = [buffer[begin:end].translate(None, NOT_DIGITS)[:_MAX_DIGITS] for begin, end in spans]
        # The whole numbers; without a code of three digits; the beginnings that only Maestro's have.
        fitting = {*_fitting(numbers, range(len(numbers)))}
        for cut, first in ((16, b"0123456789"), (_MIN_DIGITS, b"056")):
            longer = [at for at, number in enumerate(numbers) if len(number) > cut and number[0] in first]
            fitting.update(_fitting([numbers[at][:cut] for at in longer], longer))
        yield from [(spans[at][0], spans[at][0] + 1) for at in sorted(fitting)]


def _fitting(numbers: Sequence[bytes], places: Sequence[int]) -> Iterator[int]:
    """The places of those that fit Luhn and an issuer."""
    rests = luhn_rests(numbers)
    at = rests.find(0)
    while at >= 0:
        if _has_issuer(numbers[at]):
            yield places[at]
        at = rests.find(0, at + 1)


def luhn_rests(numbers: Sequence[bytes]) -> bytes:
    """For each number of at most 20 digits, 0 if its last digit is the right check digit: `fits_luhn` of all at once.

    A byte holds the sum of a column of digits, and one addition of long integers adds the bytes of all numbers.
    """
    # Zeros in front change nothing.
    together = b"".join([number.rjust(20, b"0") for number in numbers])
    doubled, plain = together[0::2].translate(_DOUBLED), together[1::2].translate(_PLAIN)
    total = int.from_bytes(doubled) + int.from_bytes(plain)
    # Of each ten bytes, the last five have the sums of two, then the last one those of ten: 180 at most.
    total += total >> 40
    sums = total.to_bytes(len(doubled) + 1)[1:]
    last = sum(int.from_bytes(sums[column::10]) for column in range(5, 10))
    return last.to_bytes(len(numbers) + 1)[1:].translate(_REST_OF_TEN)


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
    if b"\t" in joints and len(digits) == _MIN_DIGITS and not _is_named_card(buffer, start, floor):
        return False  # fields of a row
    if len(joints) > 1 and not joints.isdisjoint(_STRICT_JOINTS):
        return False
    return joints != {b" "} or not is_in_list(buffer, start, end, floor, most=_MAX_NEIGHBOURS)


def _is_likely_bare(digits: bytes) -> bool:
    if len(digits) == 12:
        return digits.startswith(_MAESTRO_PREFIXES) and (digits[0] == 0x35 or not is_ean(digits))  # 0x35 is "5"
    if len(digits) in (17, 18):
        return False  # allowed for some issuers, but very rare
    return len(digits) != 13 or digits[0] == 0x34  # 0x34 is "4": Visa's cards of old


def _is_product(buffer: bytes, start: int, end: int) -> bool:
    """Whether these thirteen digits are an EAN in a table, beside another one or beside a product's word. One EAN in
    ten fits Luhn, too; and one card of thirteen digits in ten is an EAN, so without these signs it is a card."""
    if not is_ean(buffer[start:end]):
        return False
    if _PRODUCT.search(buffer, max(start - _TABLE_BYTES, 0), start) or _PRODUCT.search(
        buffer, end, end + _BEHIND_BYTES
    ):
        return True
    if _SOLD_BEHIND.match(buffer, end) or _SOLD_BEFORE.search(buffer[max(start - _BEHIND_BYTES, 0) : start]):
        return True
    if (buffer[start - 1 : start], buffer[end : end + 1]) == (b">", b"<"):
        return True
    if buffer[start - 2 : start] == b"| " and buffer.startswith(b" |", end):
        return True
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
    return _says_card(window_before(buffer, start, floor))


@lru_cache(maxsize=KEPT_WINDOWS)
def _says_card(window: bytes) -> bool:
    words = words_of(before(window, len(window), 0))[-4:]
    return any(word.lower() in CARD_WORDS or has_any(word, CARD_SIGNS) for word in words)
