"""Hardware addresses (IEEE 802): six pairs of hexadecimal digits with colons or hyphens, or Cisco's three groups."""

from __future__ import annotations

import re

from pg_trio.stages.guardrails.surroundings import WORD, Span, before

_PAIR = "[0-9A-Fa-f]{2}"
MAC_ADDRESS = rf"\b(?:{_PAIR}(?::{_PAIR}){{5}}|{_PAIR}(?:-{_PAIR}){{5}}|(?:[0-9A-Fa-f]{{4}}\.){{2}}[0-9A-Fa-f]{{4}})\b"
_SEPARATORS = b":-."
# Every interface, and none: they name no device.
_NO_DEVICE = (b"f" * 12, b"0" * 12)
_NAMED = re.compile(rb"(?i)\b(?:mac|ether|hwaddr|hw|bssid|hardware|physical|ethernet|wlan|wi-?fi|lladdr|bluetooth)\b")


def check_mac_address(buffer: bytes, start: int, end: int, floor: int) -> Span:
    """The address, unless it is a part of a longer row (a fingerprint), or decimal numbers without a word before."""
    joined = start > floor and (buffer[start - 1] in _SEPARATORS or buffer[start - 1] in WORD)
    goes_on = buffer[end : end + 1] in (b":", b"-", b".") and buffer[end + 1 : end + 2].isalnum()
    digits = buffer[start:end].translate(None, _SEPARATORS).lower()
    if joined or goes_on or digits in _NO_DEVICE:
        return None
    is_plain = digits.isdigit() or digits.isalpha()
    if is_plain and buffer[start + 2] != 0x3A and not _NAMED.search(before(buffer, start, floor)):  # 0x3A is ":"
        return None
    return start, end
