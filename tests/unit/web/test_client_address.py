"""The client's address of a request: without a proxy, behind one or a chain of proxies, and with invented headers."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.web.client_address import MAX_HOPS, find_client, plain_address, read_networks

TRUSTED = read_networks(["10.0.0.0/8", "fd00::/8", "192.0.2.1"])
PROXY = "10.1.2.3"


def find(peer: str, *x_forwarded_for: str, forwarded: tuple[str, ...] = ()) -> str:
    return find_client(peer, TRUSTED, x_forwarded_for, forwarded)


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        # Not listed: nothing that it says counts.
        ("203.0.113.9", ["198.51.100.7"], "203.0.113.9"),
        (PROXY, [], PROXY),
        (PROXY, [""], PROXY),
        (PROXY, ["198.51.100.7"], "198.51.100.7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("192.0.2.1", ["198.51.100.7"], "198.51.100.7"),
        ("192.0.2.2", ["198.51.100.7"], "192.0.2.2"),
        # From the right, over listed hops only: what stands left of the client is made up.
        (PROXY, ["1.1.1.1, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        (PROXY, ["1.1.1.1", "198.51.100.7,10.9.9.9"], "198.51.100.7"),
        (PROXY, ["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        # All of them listed: the first that spoke.
        (PROXY, ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        # Ports, brackets, quotes, the shortest form.
        (PROXY, ["198.51.100.7:4711"], "198.51.100.7"),
        (PROXY, ["[2001:DB8:0::7]:4711"], "2001:db8::7"),
        (PROXY, ["[2001:db8::7]"], "2001:db8::7"),
        (PROXY, ["::ffff:198.51.100.7"], "198.51.100.7"),
        (PROXY, [" \t198.51.100.7 "], "198.51.100.7"),
        (PROXY, [",,198.51.100.7,,"], "198.51.100.7"),
        # No address: the last that is known.
        (PROXY, ["unknown"], PROXY),
        (PROXY, ["198.51.100.7, unknown"], PROXY),
        (PROXY, ["198.51.100.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (PROXY, ["999.1.1.1"], PROXY),
        (PROXY, ["010.1.1.1"], PROXY),
        (PROXY, ["1.1.1.1; DROP TABLE"], PROXY),
        ("a server's name for it", ["198.51.100.7"], "a server's name for it"),
    ],
)
def test_x_forwarded_for(peer: str, values: list[str], client: str) -> None:
    assert client == find(peer, *values)


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["for=198.51.100.7"], "198.51.100.7"),
        (['For="[2001:db8::7]:4711";proto=https;by=203.0.113.43'], "2001:db8::7"),
        (["proto=http; for=198.51.100.7 ;host=x"], "198.51.100.7"),
        (["for=1.1.1.1, for=198.51.100.7, for=10.0.0.2"], "198.51.100.7"),
        (["for=1.1.1.1", "for=198.51.100.7"], "198.51.100.7"),
        (["for=_hidden"], PROXY),
        (["for=unknown"], PROXY),
        (["by=198.51.100.7"], PROXY),
        (["xfor=198.51.100.7"], PROXY),
        (["for=198.51.100.7, proto=https"], PROXY),
    ],
)
def test_forwarded(values: list[str], client: str) -> None:
    assert client == find(PROXY, forwarded=tuple(values))


def test_x_forwarded_for_goes_before_forwarded() -> None:
    assert "198.51.100.7" == find(PROXY, "198.51.100.7", forwarded=("for=1.1.1.1",))


def test_endless_chain_is_read_so_far() -> None:
    chain = ["198.51.100.7", *["10.0.0.2"] * 5_000]

    assert "10.0.0.2" == find(PROXY, ", ".join(chain))
    assert "198.51.100.7" == find(PROXY, ", ".join(chain[:MAX_HOPS]))


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("::1", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:0", "::ffff:0"),
    ],
)
def test_peer_is_written_as_everywhere(address: str, plain: str) -> None:
    assert plain == plain_address(address)


@given(st.lists(st.text(max_size=40) | st.ip_addresses().map(str), max_size=5), st.booleans())
def test_whatever_is_said_an_address_is_found(values: list[str], as_forwarded: bool) -> None:
    said = tuple([f"for={value}" for value in values]) if as_forwarded else tuple(values)

    found = find_client(PROXY, TRUSTED, () if as_forwarded else said, said if as_forwarded else ())

    assert str(ip_address(found)) == found


@given(st.ip_addresses().filter(lambda one: not any(one in network for network in TRUSTED)), st.text(max_size=40))
def test_nothing_left_of_the_client_counts(client: object, invented: str) -> None:
    found = find(PROXY, f"{invented}, {client}, 10.0.0.2")

    assert found == find(PROXY, f"{client}")
