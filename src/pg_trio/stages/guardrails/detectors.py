"""What each type of personal data looks like: a pattern that finds candidates, and a check that takes or leaves them.

A pattern alone cannot say "a valid IBAN" or "not inside a longer number" (RE2 has no look-around), so a check sees the
candidate with its surroundings and answers where the match ends, or `NO`. After a `NO` the search goes on one byte
further where candidates are of bounded length, and at its last part where it is a whole run (`takes_runs`): either
way all of it stays linear.

Sources: IBAN lengths, SWIFT IBAN registry; card numbers, ISO/IEC 7812 (Luhn); SSN, SSA's randomisation rules (no area
000, 666 or 9xx); North American numbers, NANP; numbers in general, ITU-T E.164 (at most 15 digits).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from attrs import field, frozen

from pg_trio.domain.guardrails import PII_LABELS
from pg_trio.stages.guardrails.linear import Pattern, compile_pattern

NO = -1

# What people put between groups of digits: space, no-break spaces, dot, slash, hyphens and the en dash.
_GAP = r"[ \x{A0}\x{202F}./\-\x{2010}\x{2011}\x{2013}]"

_DIGITS = b"0123456789"
_NOT_DIGITS = bytes(byte for byte in range(256) if byte not in _DIGITS)
_NOT_ALNUM = bytes(byte for byte in range(256) if not chr(byte).isascii() or not chr(byte).isalnum())
_WORD = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_JOINTS = frozenset(b".-")
# Luhn: every second digit doubled, and 9 taken off where that has two digits.
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))

# Every way to write 0 to 255 in at most three digits, leading zeros included.
_OCTETS = frozenset(f"{number:0{width}}".encode() for number in range(256) for width in (1, 2, 3))

# Six groups of four and an IPv4 address: the longest way to write an address.
_IPV6_CHARS = 45

# Letters count 10 to 35 in an IBAN's check (ISO 13616).
_IBAN_VALUES = {ord(str(digit)): str(digit) for digit in range(10)} | {65 + i: str(10 + i) for i in range(26)}
_IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20"
    " EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30"
    " KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23"
    " PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26"
    " UA29 VA22 VG24 XK20 YE30"
)
_IBAN_CHARS = {entry[:2].encode(): int(entry[2:]) for entry in _IBAN_LENGTHS.split()}

# The text, the candidate's start and end, and the end of the match before it: what lies before that counts for nothing,
# since it is going to be replaced.
Check = Callable[[bytes, int, int, int], int]


def _take(_buffer: bytes, _start: int, end: int, _floor: int) -> int:
    return end


@frozen(slots=True, eq=False)
class Detector:
    """One kind of personal data. `source` is its pattern; `placeholder` stands for a match until all are found."""

    label: str
    source: str
    check: Check = _take
    takes_runs: bool = False
    placeholder: bytes = b""
    _pattern: Pattern = field(init=False)

    @_pattern.default
    def _compile(self) -> Pattern:
        return compile_pattern(self.source)

    def find(self, buffer: bytes) -> tuple[int, int] | None:
        """Byte offsets of the first match."""
        return next(self.find_all(buffer), None)

    def find_all(self, buffer: bytes) -> Iterator[tuple[int, int]]:
        """Byte offsets of every match, in order."""
        search, check = self._pattern.search, self.check
        done = 0
        found = search(buffer)
        while found is not None:
            begin, end = found
            # An empty match (`\b` in a custom pattern) masks nothing and would be found for ever.
            taken = check(buffer, begin, end, done) if end > begin else NO
            if taken == NO:
                found = search(buffer, _rest_of_run(buffer, begin, end) if self.takes_runs else begin + 1)
                continue
            yield begin, taken
            done = taken
            found = search(buffer, taken)

    def replace_all(self, buffer: bytes) -> bytes:
        """The text with the placeholder for every match; the same object if there was none."""
        pieces, done = [], 0
        for begin, end in self.find_all(buffer):
            pieces.append(buffer[done:begin])
            done = end
        if not pieces:
            return buffer
        pieces.append(buffer[done:])
        return self.placeholder.join(pieces)


def _rest_of_run(buffer: bytes, start: int, end: int) -> int:
    """Where to go on after a run that is no address: at what follows its last colon (`12:30:45:10.0.0.1`)."""
    colon = buffer.rfind(b":", start, end)
    return colon + 1 if colon > start else end


def custom_detector(label: str, pattern: str) -> Detector:
    """A configured pattern. Raises: ValueError if RE2 does not take it, or if it matches the empty text."""
    detector = Detector(label, pattern)
    if compile_pattern(pattern).search(b"") is not None:
        raise ValueError("matches the empty text")
    return detector


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _stands_alone(buffer: bytes, start: int, end: int, floor: int) -> bool:
    """No letter or digit touches it, and no digit across a dot or hyphen: not a piece of something longer."""
    if not _starts_afresh(buffer, start, floor) or (end < len(buffer) and buffer[end] in _WORD):
        return False
    return not (end + 1 < len(buffer) and buffer[end] in _JOINTS and buffer[end + 1] in _DIGITS)


def _starts_afresh(buffer: bytes, start: int, floor: int) -> bool:
    if start > floor and (buffer[start - 1] in _WORD or buffer[start - 1] == 0x2B):  # 0x2B is "+"
        return False
    return not (start > floor + 1 and buffer[start - 1] in _JOINTS and buffer[start - 2] in _DIGITS)


def _if_alone(buffer: bytes, start: int, end: int, floor: int) -> int:
    return end if _stands_alone(buffer, start, end, floor) else NO


def _check_address(buffer: bytes, start: int, end: int, floor: int) -> int:
    candidate = buffer[start:end]
    return _check_ipv6(buffer, start, end, floor) if b":" in candidate else _check_ipv4(buffer, start, end)


def _check_ipv4(buffer: bytes, start: int, end: int) -> int:
    octets = buffer[start:end].split(b".")
    # Five numbers with dots are a version or a section, not an address.
    return end if len(octets) == 4 and _OCTETS.issuperset(octets) else NO


def _check_ipv6(buffer: bytes, start: int, end: int, floor: int) -> int:
    if (start > floor and buffer[start - 1] in _WORD) or (end < len(buffer) and buffer[end] in _WORD):
        return NO
    # A colon after an address is the sentence's.
    if buffer.endswith(b":", start, end) and not buffer.endswith(b"::", start, end):
        end -= 1
    candidate = buffer[start:end]
    # Times (12:30:45) have neither "::" nor six colons; C++ and Rust paths (std::cout, fe::ad) have no digit.
    if len(candidate) > _IPV6_CHARS or not candidate.translate(None, _NOT_DIGITS):
        return NO
    if b"::" not in candidate and candidate.count(b":") not in (6, 7):
        return NO
    try:
        ipaddress.IPv6Address(candidate.decode())
    except ValueError:
        return NO
    return end


def _check_iban(buffer: bytes, start: int, found_end: int, _floor: int) -> int:
    chars = buffer[start:found_end].translate(None, _NOT_ALNUM).upper()
    length = _IBAN_CHARS.get(chars[:2])
    if length is None or len(chars) < length:
        return NO
    # The pattern takes words that follow along; the country says where the number ends.
    end = _offset_after(buffer, start, length)
    if end < len(buffer) and buffer[end] in _WORD:
        return NO
    moved = chars[4:length] + chars[:4]
    return end if int("".join([_IBAN_VALUES[byte] for byte in moved])) % 97 == 1 else NO


def _offset_after(buffer: bytes, start: int, chars: int) -> int:
    offset = start
    while chars:
        chars -= buffer[offset] not in _NOT_ALNUM
        offset += 1
    return offset


def _check_card(buffer: bytes, start: int, end: int, floor: int) -> int:
    if not _starts_afresh(buffer, start, floor):
        return NO
    digits = buffer[start:end].translate(None, _NOT_DIGITS)
    while len(digits) >= 13:
        if len(digits) <= 19 and _fits_luhn(digits):
            return end
        # What follows a card is often its three-digit code, which reads like a last group.
        end = _without_last_group(buffer, start, end)
        digits = buffer[start:end].translate(None, _NOT_DIGITS)
    return NO


def _fits_luhn(digits: bytes) -> bool:
    plain, doubled = digits[-1::-2], digits[-2::-2].translate(_DOUBLED)
    return (sum(plain) - 48 * len(plain) + sum(doubled)) % 10 == 0


def _without_last_group(buffer: bytes, start: int, end: int) -> int:
    return start + len(buffer[start:end].rstrip(_DIGITS).rstrip(_NOT_DIGITS))


def _check_german_phone(buffer: bytes, start: int, end: int, floor: int) -> int:
    # Twelve digits with the leading 0 are the longest, fifteen with the country's code. A date that follows after a
    # space is not part of it.
    longest = 15 if buffer.startswith((b"+", b"00"), start) else 12
    digits = _count_digits(buffer, start, end)
    while digits > longest:
        end = _without_last_group(buffer, start, end)
        digits = _count_digits(buffer, start, end)
    # Nine: what is shorter is a part number more often than a telephone.
    return end if digits >= 9 and _stands_alone(buffer, start, end, floor) else NO


def _count_digits(buffer: bytes, start: int, end: int) -> int:
    return len(buffer[start:end].translate(None, _NOT_DIGITS))


def _check_international_phone(buffer: bytes, start: int, end: int, floor: int) -> int:
    return end if 8 <= _count_digits(buffer, start, end) <= 15 and _stands_alone(buffer, start, end, floor) else NO


# ── patterns ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_LETTERS = r"\p{Latin}\p{Greek}\p{Cyrillic}"  # not \p{L}: in scripts without spaces it would take the sentence along
_EMAIL = (
    rf"[{_LETTERS}0-9!#$%&'*+/=?^_`{{|}}~.-]+@"
    rf"(?:[{_LETTERS}0-9](?:[{_LETTERS}0-9-]*[{_LETTERS}0-9])?\.)+(?:xn--[A-Za-z0-9-]{{2,59}}|[{_LETTERS}]{{2,24}})"
)
_IPV6 = r"(?:[0-9A-Fa-f]*:){2,}[0-9A-Fa-f]*(?:(?:\.\d{1,3}){3})?"
_IPV4 = r"\b\d{1,3}(?:\.\d{1,3}){3,}\b"
_IBAN = rf"\b[A-Za-z]{{2}}\d{{2}}(?:{_GAP}?[A-Za-z0-9]){{11,30}}"
_CARD = (
    rf"\b(?:[2-6]\d{{12,18}}|[2-6]\d{{3}}{_GAP}\d{{4}}{_GAP}\d{{4}}{_GAP}\d{{1,4}}(?:{_GAP}\d{{3}})?"
    rf"|3\d{{3}}{_GAP}\d{{6}}{_GAP}\d{{4,5}})\b"
)
_SSN = (
    r"\b(?:00[1-9]|0[1-9]\d|[1-578]\d\d|6[0-57-9]\d|66[0-57-9])"
    r"(?:-(?:0[1-9]|[1-9]\d)-| (?:0[1-9]|[1-9]\d) )(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})\b"
)
_PHONE_US = rf"(?:\+?1{_GAP}?)?(?:\([2-9]\d{{2}}\){_GAP}?|[2-9]\d{{2}}{_GAP}?)[2-9]\d{{2}}{_GAP}?\d{{4}}\b"
# Each ends with two digits at a word's end, so that "+49 30 1234567 2 tickets" leaves the tickets.
_PHONE_DE = (
    rf"(?:\+49|\b0049){_GAP}{{0,2}}(?:\(0\))?(?:{_GAP}{{0,2}}[()]?{_GAP}?\d){{5,10}}\d\b"
    rf"|\(?\b0[1-9]\d{{1,4}}\)?{_GAP}{{0,3}}\d{{2,10}}(?:{_GAP}\d{{2,5}}){{0,4}}\b"
)
_PHONE_GENERIC = rf"\+[1-9](?:{_GAP}{{0,2}}[()]?{_GAP}?\d){{6,13}}\d\b"

_SOURCES: dict[str, tuple[str, Check]] = {
    "email": (_EMAIL, _take),
    "ip_address": (f"{_IPV6}|{_IPV4}", _check_address),
    "iban": (_IBAN, _check_iban),
    "credit_card": (_CARD, _check_card),
    "ssn_us": (_SSN, _if_alone),
    "phone_us": (_PHONE_US, _if_alone),
    "phone_de": (_PHONE_DE, _check_german_phone),
    "phone_generic": (_PHONE_GENERIC, _check_international_phone),
}

DETECTORS: dict[str, Detector] = {
    name: Detector(PII_LABELS[name], source, check, takes_runs=name == "ip_address")
    for name, (source, check) in _SOURCES.items()
}
