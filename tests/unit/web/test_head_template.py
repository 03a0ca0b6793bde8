"""What is read of a request's header fields, before any of it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pg_trio.surfaces import MatchedRoute
from pg_trio.surfaces.gateway import GATEWAY
from pg_trio.surfaces.gateway.gateway_surface import GatewaySurface
from pg_trio.web.client_address import read_networks
from pg_trio.web.head_template import HeadTemplate, Peer

ROUTE = MatchedRoute("6f1c0000-0000-4000-8000-000000000001", "ask")


def read_headers(*headers: tuple[bytes, bytes], peer: str | None = None, trusted: Sequence[str] = ()) -> HeadTemplate:
    return HeadTemplate.read(headers, GATEWAY, ROUTE, Peer(peer, read_networks(trusted)))


def test_single_headers_are_noted() -> None:
    template = read_headers((b"authorization", b"Bearer x"), (b"x-pg-timeout-ms", b"5"))

    assert (["Bearer x"], ["5"], None) == (template.authorization, template.timeout_ms, template.content_type)


def test_repeated_headers_stay_apart() -> None:
    template = read_headers(
        (b"authorization", b"Bearer x"),
        (b"x-pg-timeout-ms", b"5"),
        (b"authorization", b"Bearer y"),
        (b"x-pg-timeout-ms", b"5"),
        (b"content-type", b"application/json"),
        (b"content-type", b"text/plain"),
    )

    assert (["Bearer x", "Bearer y"], ["5", "5"]) == (template.authorization, template.timeout_ms)
    assert "application/json, text/plain" == template.content_type


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([], None),
        ([b"abc-1"], "abc-1"),
        ([b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],) * 2,
        ([b"x" * 128], "x" * 128),
        ([b"x" * 129], None),
        ([b""], None),
        ([b"a b"], None),
        ([b"a\tb"], None),
        ([b"caf\xc3\xa9"], None),
        ([b"a", b"b"], None),
        ([b"pg_live_0123456789abcdef"], "[redacted]"),
    ],
)
def test_client_s_own_id_is_visible_ascii(values: list[bytes], kept: Any) -> None:
    kept = kept[0].decode() if isinstance(kept, list) else kept

    assert kept == read_headers(*[(b"x-request-id", value) for value in values]).origin.client_request_id


def test_codings_are_joined() -> None:
    template = read_headers((b"content-encoding", b"identity"), (b"content-encoding", b"gzip"))

    assert "identity, gzip" == template.content_coding


@pytest.mark.parametrize("server_says", [None, "", "203.0.113.9"])
def test_address_is_the_peer_s(server_says: str | None) -> None:
    template = read_headers((b"x-forwarded-for", b"198.51.100.7"), peer=server_says)

    assert (server_says or None) == template.origin.client_address


def test_listed_proxy_is_believed() -> None:
    forwarded = (b"x-forwarded-for", b"198.51.100.7")

    assert "198.51.100.7" == read_headers(forwarded, peer="10.1.2.3", trusted=["10.0.0.0/8"]).origin.client_address


def test_trace_travels_unread() -> None:
    head = read_headers((b"traceparent", b"whatever it is")).make_head(0.0)

    assert ("whatever it is", "gateway") == (head.origin.traceparent, head.origin.surface)


def test_surface_s_own_fields_travel_alone() -> None:
    class Curious(GatewaySurface):
        head_fields = (b"x-version", b"x-absent")

    headers = ((b"x-version", b"2"), (b"x-other", b"3"))

    template = HeadTemplate.read(headers, Curious(), ROUTE, Peer())

    assert {b"x-version": b"2"} == template.make_head(0.0).fields
    assert {} == read_headers(*headers).make_head(0.0).fields
