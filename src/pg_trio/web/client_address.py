"""Where a request comes from: the connection's other end, or, behind listed proxies, what those say.

Rules:
1. A header is believed as far as the hop that wrote it is a listed proxy. `X-Forwarded-For` is read from the right:
   each proxy appends the address that the request came from. What stands left of the first address that is not listed
   may be the client's own invention.
2. `Forwarded` (RFC 7239) is read, alike, only where no `X-Forwarded-For` is there: most proxies write one and pass the
   other on as the client sent it.
3. What is no address (`unknown`, an obfuscated `_name`) ends the reading: the proxy that said so is all that is known.
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
    """An address as it is written everywhere else: IPv4 where a dual socket calls it `::ffff:1.2.3.4`, no zone."""
    address = address.partition("%")[0]
    return address[len(_MAPPED_IPV4) :] if address.startswith(_MAPPED_IPV4) and "." in address else address


def find_client(peer: str, trusted: Networks, x_forwarded_for: Sequence[str], forwarded: Sequence[str]) -> str:
    """The address of the client behind `peer`, which is `peer` itself unless it is a listed proxy.

    `x_forwarded_for` and `forwarded` hold every value of their header, in their order.
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
    except ValueError:  # a server may name what it likes
        return False
    return any(known in network for network in trusted)
