"""Decides whether a URL's host is a name or an address, in any spelling.

Rules:
1. The configuration and both transports use the same reading: an address for `getaddrinfo` is an address here.
2. IPv4 has four spellings of up to four parts each, decimal, octal and hexadecimal (inet_aton(3)): 127.1, 0177.0.0.1,
   0x7f000001 and 2130706433 are all 127.0.0.1.
3. An IPv6 address that carries an IPv4 one (IPv4-mapped, NAT64, 6to4) counts as that address. A zone (`%eth0`, RFC
   4007) is not part of the address.
4. A host whose last part is a number is an address or a mistake, never a name (WHATWG URL, "ends in a number").
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")

_OCTAL, _HEXADECIMAL = re.compile(r"0[0-7]*"), re.compile(r"0[xX][0-9a-fA-F]+")
_DECIMAL = re.compile(r"[1-9][0-9]*")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
# Longer than any spelling of 32 bits with sensible padding. Without a limit Python would read millions of digits.
_MAX_PART_CHARS = 40


def read_address(host: str) -> Address | None:
    """The host's address; None for a name. IPv6 without brackets.

    Raises: ValueError for a host that looks like an address but is not one.
    """
    if ":" in host:
        return IPv6Address(host)
    parts = host.removesuffix(".").split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return None
    return _read_ipv4(parts)


def carried(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one if it carries one; otherwise the address itself."""
    if isinstance(address, IPv4Address):
        return address
    number = int(address)
    # Drop the zone: it is not part of the number, and networks have none.
    plain = IPv6Address(number)
    if plain in _IPV4_MAPPED or plain in _NAT64:
        return IPv4Address(number & 0xFFFF_FFFF)
    if plain in _SIX_TO_FOUR:
        return IPv4Address(number >> 80 & 0xFFFF_FFFF)
    return plain


def _read_ipv4(parts: list[str]) -> IPv4Address:
    *first, last = [_read_part(part) for part in parts]
    if len(first) > 3 or any(part > 0xFF for part in first) or last >= 256 ** (4 - len(first)):
        raise ValueError("not an IPv4 address")
    number = last
    for index, part in enumerate(first):
        number |= part << 8 * (3 - index)
    return IPv4Address(number)


def _read_part(part: str) -> int:
    if len(part) <= _MAX_PART_CHARS:
        for spelling, base in ((_OCTAL, 8), (_HEXADECIMAL, 16), (_DECIMAL, 10)):
            if spelling.fullmatch(part):
                return int(part, base)
    raise ValueError("not an IPv4 address")
