"""What a host is: a name, or an address in any of its spellings."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.address import carried, read_address

LOOPBACK = IPv4Address("127.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0X7F.0.0.1",
        "0177.0.0.01",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.0.0.1.",
        "0000177.1",
    ],
)
def test_every_spelling_of_loopback(host: str) -> None:
    assert LOOPBACK == read_address(host)


@pytest.mark.parametrize(
    "host", ["::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:127.0.0.1%lo"]
)
def test_address_inside_another_counts(host: str) -> None:
    address = read_address(host)

    assert address is not None
    assert LOOPBACK == carried(address)


def test_zone_is_no_part_of_the_address() -> None:
    address = read_address("fe80::1%eth0")

    assert address is not None
    assert IPv6Address("fe80::1") == carried(address)


@pytest.mark.parametrize(
    "host", ["localhost", "api.openai.com", "1.example", "0x7f.example", "a_b", "127.0.0.1.nip.io", ""]
)
def test_name_is_no_address(host: str) -> None:
    assert read_address(host) is None


@pytest.mark.parametrize(
    "host",
    [
        "256.1.1.1",
        "1.2.3.4.5",
        "1.16777216",
        "4294967296",
        "08.1",
        "0x",
        "1..1",
        "a.1",
        "-1.1",
        "9" * 5000,
        "::1::",
        "fe80::1%",
        ":",
    ],
)
def test_what_looks_like_an_address_and_is_none(host: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_address(host)


SPELLINGS = st.sampled_from([str, hex, lambda part: f"0{part:o}"])


@given(number=st.integers(0, 2**32 - 1), split=st.integers(1, 4), spell=SPELLINGS)
def test_spellings_are_what_the_system_reads(number: int, split: int, spell: object) -> None:
    """As inet_aton(3), which getaddrinfo uses, has it."""
    assert callable(spell)
    heads = [number >> 8 * (3 - index) & 0xFF for index in range(split - 1)]
    host = ".".join(spell(part) for part in [*heads, number & (256 ** (5 - split) - 1)])

    assert IPv4Address(socket.inet_aton(host)) == read_address(host)
