"""IPv4 addresses and versions look alike: what stands around four numbers tells them apart."""

from __future__ import annotations

import pytest

from pg_trio.stages.guardrails.detection import mask_matches
from pg_trio.stages.guardrails.detectors import pii_finder

ALL = pii_finder(None)
MASK = "[IP address REDACTED]"


@pytest.mark.parametrize(
    "text",
    [
        # a tag's end and a quoted mail's sign compare nothing
        "<td>{}</td>",
        '<td class="mono" style="white-space: nowrap; text-align: right">{}</td>',
        "<p>{}, our server</p>",
        "<li>\n{}\n</li>",
        "<br/>{}",
        "<host>{}</host>",
        "<{}>",
        "Received: from mail <{}> by mx",
        "> {} does not answer",
        "Anna wrote:\n>> {} does not answer",
        # arrows, and a packet's way
        "'ip' => '{}'",
        "a -> {}",
        "IP 198.51.100.7 > {}: ICMP echo request",
        "IP 198.51.100.7.51234 > {}.443: Flags [S]",
        "IP {}.443 > 198.51.100.7.51234: Flags [S]",
        # compared with an address
        "ip.src=={}",
        'if (ip == "{}")',
        "if remote_addr != '{}':",
        "clientIp === '{}'",
        "host>={}",
        "if (client == '{}')",
        "user.lastIp == '{}'",
        # no version has a port, a network's length or so large a first number
        "redis {}:6379",
        "node {}:9100",
        "route item {}/32",
        "node {} is down",
        "nginx: {} - - [30/Nov/2026:10:00:00 +0000]",
        "update from {}",
    ],
)
def test_address_is_found(text: str) -> None:
    given = text.format("203.0.113.9")

    masked = mask_matches(given, ALL.find(given))

    assert text.format(MASK).replace("198.51.100.7", MASK) == masked


@pytest.mark.parametrize(
    "text",
    [
        "foo>=1.2.3.4",
        "foo > 1.2.3.4",
        "foo>1.2.3.4",
        "foo <1.2.3.4",
        ">=1.2.3.4",
        ">1.2.3.4,<2.0.0.0",
        'if version == "1.2.3.4"',
        "pip install zip==1.2.3.4",
        "gzip >= 1.2.3.4",
        "pip==1.2.3.4",
        "mysql-client==1.2.3.4",
        "redis-server (>= 1.2.3.4)",
        "grpc_server==1.2.3.4",
        '"prefer-host": ">=1.2.3.4"',
        "requires peer >= 1.2.3.4",
        "## Version 3.2.1.4 - 2024-01-02 [diff]",
        "Release 3.2.1.4 - stable [link]",
        "Depends: libc6 (>= 2.31.0.1)",
        "<version>1.2.3.4</version>",
        "<Version>\n  10.0.1.4\n</Version>",
        '"version" => "1.2.3.4"',
        "redis 1.2.3.4",
        "node 20.1.0.4",
        "upgraded 1.2.3.4 -> version 1.2.3.5",
        "firmware 203.0.113.9",
        "Chrome/203.0.113.9",
        "univ.ObjectIdentifier('2.5.29.30')",
    ],
)
def test_version_is_left_alone(text: str) -> None:
    assert [match for match in ALL.find(text) if match.rule == "ip_address"] == []
