"""What a connection has sent: heads and bodies taken out of it, wherever its bytes were cut."""

from __future__ import annotations

import pytest

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.head import HTTP2_PREFACE, MAX_KNOWN_BYTES, MAX_KNOWN_FIELDS, Refused, SharedHeads
from pg_trio.server.http1.incoming import Incoming

HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


def incoming(data: bytes, settings: ServerSettings | None = None, shared: SharedHeads | None = None) -> Incoming:
    made = Incoming(settings or ServerSettings(), shared)
    made.data = data
    return made


@pytest.mark.parametrize("cut", range(len(HEAD)))
@pytest.mark.parametrize("is_known", [False, True])
def test_head_comes_in_two_parts(cut: int, is_known: bool) -> None:
    client = incoming(HEAD if is_known else b"")
    client.take_head()

    client.data = HEAD[:cut]
    first = client.take_head()
    client.data += HEAD[cut:] + b"body"
    second = client.take_head()

    assert first is None
    assert second is not None
    assert ("POST", b"/a", b"body") == (second.method, second.path, client.data)


def test_pipelined_requests_come_out_in_turn() -> None:
    client = incoming((HEAD + b"one!") + (HEAD.replace(b"/a", b"/b") + b"two!") + (HEAD + b"half")[:-2])

    taken = []
    while (head := client.take_head()) is not None:
        taken.append((head.path, client.take_whole_body(head.length)))

    assert [(b"/a", b"one!"), (b"/b", b"two!"), (b"/a", None)] == taken
    assert b"ha" == client.take_all()
    assert b"" == client.data


def test_same_heads_are_known_as_one() -> None:
    client = incoming(HEAD + HEAD.replace(b": 4", b": 44") + HEAD.replace(b"/a", b"/b"))

    known = []
    while client.take_head() is not None:
        known.append(client.known_head)

    assert known[0] is known[1]
    assert known[1] is not known[2]


def test_connections_share_equal_heads() -> None:
    shared = SharedHeads()
    others = [HEAD, HEAD.replace(b": 4", b": 17"), HEAD.replace(b"/a", b"/b"), HEAD.replace(b"4\r\n", b"4\r\nX: y\r\n")]
    first, *clients = [incoming(data, shared=shared) for data in (HEAD, *others)]

    heads = [client.take_head() for client in (first, *clients)]

    assert [True, True, False, False] == [client.known_head is first.known_head for client in clients]
    assert [4, 4, 17, 4, 4] == [None if head is None else head.length for head in heads]
    assert [b"/a", b"/a", b"/a", b"/b", b"/a"] == [None if head is None else head.path for head in heads]


def test_shared_head_is_kept_while_a_connection_has_it() -> None:
    shared = SharedHeads()
    client = incoming(HEAD, shared=shared)
    client.take_head()
    assert shared.find(HEAD) is client.known_head

    client.known_head = None

    assert shared.find(HEAD) is None


def test_handshake_is_not_shared() -> None:
    shared = SharedHeads()
    handshake = (
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )

    head = incoming(handshake, shared=shared).take_head()

    assert head is not None
    assert head.wants_websocket
    assert shared.find(handshake) is None


@pytest.mark.parametrize("more", [b"X: " + b"x" * MAX_KNOWN_BYTES + b"\r\n", b"X: y\r\n" * MAX_KNOWN_FIELDS])
def test_large_head_is_not_remembered(more: bytes) -> None:
    large = HEAD.replace(b"Host", more + b"Host")
    client = incoming(HEAD + large + HEAD)

    assert client.take_head() is not None
    assert client.take_head() is not None
    assert client.known_head is None
    assert client.take_head() is not None


def test_known_head_with_longer_length_is_within_limit() -> None:
    """A longer length makes a longer head: what is refused at first is refused later, too."""
    padding = b"X: " + b"x" * (1024 - len(HEAD) - len(b"X: \r\n")) + b"\r\n"
    largest = HEAD.replace(b"Host", padding + b"Host")
    client = incoming(largest, ServerSettings(max_head_bytes=1024))
    assert client.take_head() is not None

    client.data = largest.replace(b"Length: 4", b"Length: 44")

    with pytest.raises(Refused):
        client.take_head()


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize("is_known", [False, True])
def test_empty_lines_before_a_request_are_dropped(cut: int, is_known: bool) -> None:
    client = incoming(HEAD if is_known else b"")
    client.take_head()
    data = b"\r\n\r\n" + HEAD

    client.data = data[:cut]
    assert client.take_head() is None
    client.data += data[cut:]

    assert client.take_head() is not None
    assert b"" == client.data


def test_http2_is_seen_once_its_preface_is_whole() -> None:
    client = incoming(b"")

    for byte in HTTP2_PREFACE:
        assert not client.is_http2
        client.data += bytes((byte,))
        assert client.take_head() is None

    assert client.is_http2
    assert HTTP2_PREFACE == client.data


def test_websocket_handshake_stays() -> None:
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n"
    handshake = b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"
    client = incoming(handshake)

    head = client.take_head()

    assert head is not None
    assert head.wants_websocket
    assert handshake == client.data


def test_malformed_head_is_refused_though_another_is_known() -> None:
    client = incoming(HEAD)
    client.take_head()

    client.data = HEAD.replace(b"Content-Length: 4", b"Content-Length: 4\r\nContent-Length: 5")

    with pytest.raises(Refused):
        client.take_head()
