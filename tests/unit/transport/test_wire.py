"""Routes and request bytes; what cannot stand in a request is a mistake of ours and never sent."""

from __future__ import annotations

import pytest

from pg_trio.domain.upstream import Headers, WireRequest
from pg_trio.transport.wire import Origin, encode_request, find_route


def encode(url: str = "http://a.example/v1", headers: Headers = (), body: bytes = b"{}", method: str = "POST") -> bytes:
    return encode_request(WireRequest(url, headers, body, method))[1]


def test_request_is_exactly_this() -> None:
    encoded = encode("https://api.example:8443/v1/chat?alt=sse", [("X-Api-Key", "k"), ("accept", "*/*")], b'{"a":1}')

    assert (
        b"POST /v1/chat?alt=sse HTTP/1.1\r\nhost: api.example:8443\r\naccept-encoding: identity\r\n"
        b'X-Api-Key: k\r\naccept: */*\r\ncontent-length: 7\r\n\r\n{"a":1}'
    ) == encoded


@pytest.mark.parametrize(
    ("url", "origin", "target", "host_header"),
    [
        ("https://API.Example/v1", Origin("https", "api.example", 443, False), "/v1", "api.example"),
        ("http://api.example", Origin("http", "api.example", 80, False), "/", "api.example"),
        ("http://api.example:80/", Origin("http", "api.example", 80, False), "/", "api.example"),
        ("https://api.example:80/", Origin("https", "api.example", 80, False), "/", "api.example:80"),
        ("http://[::1]:9100/v1#f", Origin("http", "::1", 9100, False), "/v1", "[::1]:9100"),
        ("http://a.example?q=1", Origin("http", "a.example", 80, False), "/?q=1", "a.example"),
        ("http://a.example/m:generate", Origin("http", "a.example", 80, False), "/m:generate", "a.example"),
        ("http://0x7f.1:9/", Origin("http", "127.0.0.1", 9, False), "/", "127.0.0.1:9"),
        ("http://2130706433/", Origin("http", "127.0.0.1", 80, False), "/", "127.0.0.1"),
        ("http://bücher.example/", Origin("http", "xn--bcher-kva.example", 80, False), "/", "xn--bcher-kva.example"),
    ],
)
def test_url_leads_to_origin(url: str, origin: Origin, target: str, host_header: str) -> None:
    assert (origin, target, host_header) == find_route(url, False)


def test_private_permission_is_another_origin() -> None:
    url = "http://localhost/"

    assert find_route(url, True).origin != find_route(url, False).origin


@pytest.mark.parametrize(
    "url",
    [
        "/v1/chat",
        "ftp://a.example/",
        "http:///v1",
        "http://user:key@a.example/",
        "http://user@a.example/",
        "http://a.example/a b",
        "http://a.example/ä",
        "http://a.example:99999/",
        "http://a_b!.example/",
        "http://256.1.1.1/",
        "http://a..b/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        f"http://{'a' * 64}.example/",
    ],
)
def test_unusable_url_is_a_mistake(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        find_route(url, False)

    assert "key" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        ("x-a", "v\r\nx-injected: 1"),
        ("x-a", "v\nx-injected: 1"),
        ("x-a", "v\r"),
        ("x-a", "v\0"),
        ("x-a", "v\x7f"),
        ("x-a\r\nx-b", "v"),
        ("x-a:", "v"),
        ("x a", "v"),
        ("x-ä", "v"),
        ("", "v"),
        ("Host", "other.example"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "close"),
        ("expect", "100-continue"),
    ],
)
def test_unusable_header_is_a_mistake(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        encode(headers=[header])


def test_secret_of_bad_header_is_not_shown() -> None:
    with pytest.raises(ValueError, match="header") as caught:
        encode(headers=[("authorization", "Bearer sk-secret\n")])

    assert "sk-secret" not in str(caught.value)


def test_method_with_space_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="method"):
        encode(method="GET /other HTTP/1.1\r\n")


def test_header_beyond_latin_1_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="latin-1"):
        encode(headers=[("x-a", "日本")])
