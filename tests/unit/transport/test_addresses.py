"""Which addresses a provider may have."""

from __future__ import annotations

import pytest

from pg_trio.transport.addresses import is_literal, is_public


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "100.63.255.255",
        "100.128.0.0",
        "2606:4700::6810:84e5",
        "2a00:1450:4001::200a",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_public_address_is_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.100.100.200",  # Alibaba's metadata service
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",  # AWS, Azure, Google
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",  # Oracle's metadata service
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.7",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "::ffff:0:127.0.0.1",  # SIIT
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "100::1",
        "2001:0:4136:e378::1",  # Teredo
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",  # AWS over IPv6
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_special_address_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("host", ["localhost", "api.openai.com", "1.example", "0x7f.example", "256.1.1.1", "08.1", ""])
def test_name_is_no_literal(host: str) -> None:
    assert not is_literal(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.1", "0x7f000001", "2130706433", "fe80::1%eth0"])
def test_address_is_literal(host: str) -> None:
    assert is_literal(host)
