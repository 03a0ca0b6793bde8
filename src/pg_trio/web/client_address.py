"""The client's address: the connection's peer, or, behind listed proxies, the address that these report.

Rules:
1. A header is trusted only if a listed proxy wrote it. `X-Forwarded-For` is read from the right, because each proxy
   appends the address that the request came from. The client may have invented the part to the left of the first
   address that is not listed.
2. `Forwarded` (RFC 7239) is read in the same way, only if there is no `X-Forwarded-For`: most proxies write one header
   and pass the client's other one on.
3. A value that is not an address (`unknown`, an obfuscated `_name`) ends the reading. Then the proxy that sent it is
   the known address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

# 32 hops are read: real chains have five at most, and a head has room for thousands of addresses.
MAX_HOPS = 32
_MAPPED_IPV4 = "::ffff:"
# An address with or without a port: `1.2.3.4`, `1.2.3.4:80` (Azure), `::1`, `[::1]`, `[::1]:80`.
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}|([0-9A-Fa-f:.]+)")
# `for=` in one element of Forwarded; its value is a token or a quoted string.
_FORWARDED_FOR = re.compile(r'(?:^|;)[ \t]*for=(?:"([^"\\]*)"|([^";, \t]+))[ \t]*(?=;|$)', re.IGNORECASE)

Networks: TypeAlias = Sequence[IPv4Network | IPv6Network]


def read_networks(trusted: Iterable[str | None]) -> Networks:
    """The networks of `server.trusted_proxies`, which were checked when the configuration was loaded."""
    return tuple([ip_network(network) for network in trusted if network is not None])


def plain_address(address: str) -> str:
    """An address in its usual form: IPv4 for a dual socket's `::ffff:1.2.3.4`, without a zone."""
    address = address.partition("%")[0]
    return address[len(_MAPPED_IPV4) :] if address.startswith(_MAPPED_IPV4) and "." in address else address


def find_client(peer: str, trusted: Networks, x_forwarded_for: Sequence[str], forwarded: Sequence[str]) -> str:
    """The address of the client behind `peer`, which is `peer` itself unless it is a listed proxy.

    `x_forwarded_for` and `forwarded` hold all values of their header, in order.
    """
    hops = _split_list(x_forwarded_for) if x_forwarded_for else [_read_for(item) for item in _split_list(forwarded)]
    address = peer
    for hop in reversed(hops[-MAX_HOPS:]):
        if not _is_listed(address, trusted):
            break
        named = _read_node(hop)
        if named is None:
            break
        address = named
    return address


def _split_list(values: Sequence[str]) -> list[str]:
    return [item for value in values for part in value.split(",") if (item := part.strip(" \t"))]


def _read_for(element: str) -> str:
    found = _FORWARDED_FOR.search(element)
    return "" if found is None else found[1] or found[2] or ""


def _read_node(node: str) -> str | None:
    found = _NODE.fullmatch(node.strip('"'))
    if found is None:
        return None
    try:
        address = ip_address(found[1] or found[2] or found[3])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _is_listed(address: str, trusted: Networks) -> bool:
    try:
        known = ip_address(address)
    except ValueError:  # a server may send any text
        return False
    return any(known in network for network in trusted)
