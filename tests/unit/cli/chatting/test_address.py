"""The WebSocket's address from a base URL."""

from __future__ import annotations

import pytest

from pg_trio.cli.chatting.chat_address import find_address
from pg_trio.errors import ConfigError


@pytest.mark.parametrize(
    ("base", "url", "is_open"),
    [
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/api/u/s/ws", False),
        ("http://localhost:8080/", "ws://localhost:8080/api/u/s/ws", False),
        ("http://[::1]:8080", "ws://[::1]:8080/api/u/s/ws", False),
        ("https://gateway.example.com", "wss://gateway.example.com/api/u/s/ws", False),
        ("HTTPS://gateway.example.com/prefix/", "wss://gateway.example.com/prefix/api/u/s/ws", False),
        ("wss://gateway.example.com:8443", "wss://gateway.example.com:8443/api/u/s/ws", False),
        ("http://gateway.example.com", "ws://gateway.example.com/api/u/s/ws", True),
        ("ws://10.0.0.1", "ws://10.0.0.1/api/u/s/ws", True),
    ],
)
def test_base_url_leads_to_the_socket(base: str, url: str, is_open: bool) -> None:
    address = find_address(base, "u", "s")

    assert (url, is_open) == (address.url, address.is_open)


@pytest.mark.parametrize(
    "base",
    [
        "",
        "gateway",
        "gateway:8080",
        "ftp://a",
        "http://",
        "http://a:b:c",
        "http://a:99999",
        "http://a/?q=1",
        "http://a#b",
    ],
)
def test_what_is_no_base_url(base: str) -> None:
    with pytest.raises(ConfigError, match="is no base URL"):
        find_address(base, "u", "s")


@pytest.mark.parametrize(("project", "endpoint"), [("", "s"), ("u", ""), ("u/v", "s"), ("u", "../s")])
def test_what_is_no_endpoint(project: str, endpoint: str) -> None:
    with pytest.raises(ConfigError, match="--project and --endpoint"):
        find_address("http://a", project, endpoint)


def test_odd_slug_is_quoted() -> None:
    assert find_address("http://a", "u", "s?x#y z").url.endswith("/api/u/s%3Fx%23y%20z/ws")
