"""Decides which addresses a provider may have: public ones.

Rules:
1. A transport checks each address here before it connects, unless the credential allows private addresses.
2. Only known public addresses are allowed: IPv4 without the special blocks, IPv6 only inside 2000::/3.
3. An address that carries another (IPv4-mapped, NAT64, 6to4) counts as the carried one (domain/address.py). All of
   Teredo is refused.

This table replaces `ipaddress`' `is_global`, whose result changed between Python patch releases (3.11.10).
Source: IANA IPv4 and IPv6 Special-Purpose Address Registries, read 2026-11.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

from pg_trio.domain.address import carried, read_address

_SPECIAL_IPV4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; the metadata service of AWS, Azure, Google
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments; Teredo, ORCHID
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Whether the address literal is one that a provider on the public internet may have.

    Raises: ValueError if it is not an address literal.
    """
    meant = carried(ip_address(address))
    if isinstance(meant, IPv4Address):
        return not any(meant in block for block in _SPECIAL_IPV4)
    return meant in _GLOBAL_IPV6 and not any(meant in block for block in _SPECIAL_IPV6)


def is_literal(host: str) -> bool:
    """Whether the host is an address, in any spelling, and not a name."""
    try:
        return read_address(host) is not None
    except ValueError:
        return False
