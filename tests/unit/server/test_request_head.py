"""Heads: what is understood, and that nothing is understood otherwise than by h11."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pg_trio.server.http1.head import (
    HEAD_END,
    MAX_TARGET_BYTES,
    HttpHead,
    KnownHead,
    Refused,
    SharedHeads,
    read_head,
    refuse_hopeless_start,
)

KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n"


def understand(head: bytes) -> HttpHead:
    return read_head(head, max_head_bytes=32_768, max_header_count=100)


def status_of(head: bytes) -> int:
    with pytest.raises(Refused) as caught:
        understand(head)
    return caught.value.status


def test_all_fields() -> None:
    head = understand(
        b"POST /a?b=c HTTP/1.1\r\nHost: x:80\r\nContent-LENGTH:  12 \r\nEmpty:\r\nExpect: 100-Continue\r\n\r\n"
    )

    assert (
        HttpHead(
            method="POST",
            path=b"/a",
            query=b"b=c",
            version="1.1",
            headers=[(b"host", b"x:80"), (b"content-length", b"12"), (b"empty", b""), (b"expect", b"100-Continue")],
            length=12,
            keep_alive=True,
            expects_continue=True,
            wants_websocket=False,
            line={"method": "POST", "path": "/a", "raw_path": b"/a", "query_string": b"b=c", "http_version": "1.1"},
        )
        == head
    )


@pytest.mark.parametrize(
    ("version", "options", "kept"),
    [
        ("1.1", [], True),
        ("1.1", ["close"], False),
        ("1.1", ["Keep-Alive, CLOSE"], False),
        ("1.1", ["x", "close"], False),
        ("1.1", ["closed"], True),
        ("1.0", [], False),
        ("1.0", ["Keep-Alive"], True),
        ("1.0", ["keep-alive", "close"], False),
    ],
)
def test_keep_alive(version: str, options: list[str], kept: bool) -> None:
    lines = "".join(f"Connection: {option}\r\n" for option in options)

    head = understand(f"GET / HTTP/{version}\r\nHost: x\r\n{lines}\r\n".encode())

    assert kept == head.keep_alive


@pytest.mark.parametrize(
    ("target", "path"), [(b"http://x", b"/"), (b"HTTP://X/a", b"/a"), (b"http://x?b", b"/"), (b"https://x/a", b"/a")]
)
def test_absolute_target(target: bytes, path: bytes) -> None:
    assert path == understand(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n").path


def test_asterisk_to_options() -> None:
    assert b"*" == understand(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").path


def test_host_optional_in_http10() -> None:
    assert "1.0" == understand(b"GET / HTTP/1.0\r\n\r\n").version


@pytest.mark.parametrize("host", [b"x", b"x:80", b"[::1]", b"[::1]:80", b"a-b.example", b""])
def test_host_is_taken(host: bytes) -> None:
    assert (b"host", host) == understand(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").headers[0]


@pytest.mark.parametrize("host", [b"x y", b"x/y", b"a@b", b"[x]", b"x:y", b"x:123456", b"[::1", b"\xff"])
def test_host_is_refused(host: bytes) -> None:
    assert 400 == status_of(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")


def _understood(head: bytes) -> bool:
    try:
        understand(head)
    except Refused:
        return False
    return True


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("Connection: upgrade\r\nUpgrade: websocket\r\n" + KEY, True),
        ("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" + KEY, True),
        ("Connection: upgrade\r\nUpgrade: websocket\r\n", False),
        ("Connection: upgrade\r\nUpgrade: websocket\r\n" + KEY.replace("13", "8"), False),
        ("Upgrade: websocket\r\n" + KEY, False),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n" + KEY, False),
    ],
)
def test_websocket(lines: str, wanted: bool) -> None:
    assert wanted == understand(f"GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()).wants_websocket


def test_limits_are_exact() -> None:
    def with_headers(count: int) -> bytes:
        return b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * (count - 1) + b"\r\n"

    def with_target(size: int) -> bytes:
        return b"GET /" + b"a" * (size - 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n"

    assert 100 == len(understand(with_headers(100)).headers)
    assert 431 == status_of(with_headers(101))
    assert MAX_TARGET_BYTES == len(understand(with_target(MAX_TARGET_BYTES)).path)
    assert 414 == status_of(with_target(MAX_TARGET_BYTES + 1))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost", b"GET /", b"\xff", b"P"])
def test_hopeful_start(data: bytes) -> None:
    refuse_hopeless_start(data, 32_768)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n", 400),
        (b"GET / HTTP/1.1\nHost", 400),
        (b"GET / HTTP/3.0\r\n", 505),
        (b"GET /" + b"a" * 9_000, 414),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 33_000, 431),
    ],
)
def test_hopeless_start(data: bytes, status: int) -> None:
    with pytest.raises(Refused) as caught:
        refuse_hopeless_start(data, 32_768)

    assert status == caught.value.status


# ── heads that are known again ───────────────────────────────────────────────────────────────────────────────────────

FIRST = b"POST /a HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 12\r\nA: b\r\n\r\n"


def known(head: bytes = FIRST) -> KnownHead:
    return KnownHead(head, understand(head))


def test_same_head_is_known() -> None:
    assert (understand(FIRST), len(FIRST)) == known().recall(FIRST + b"and its body")


@pytest.mark.parametrize("digits", [b"0", b"7", b"012", b"123456", b"9" * 18])
def test_other_length_is_understood(digits: bytes) -> None:
    head = FIRST.replace(b"12", digits)

    assert (understand(head), len(head)) == known().recall(head)


def test_known_head_keeps_its_own_length() -> None:
    first = known()

    first.recall(FIRST.replace(b"12", b"99"))

    assert (understand(FIRST), len(FIRST)) == first.recall(FIRST)


def test_head_without_length_is_known() -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    assert (understand(head), len(head)) == known(head).recall(head + head)


@pytest.mark.parametrize(
    "other",
    [
        FIRST[:-1],
        FIRST.replace(b"12", b""),
        FIRST.replace(b"12", b"+1"),
        FIRST.replace(b"12", b"1 "),
        FIRST.replace(b"12", b"9" * 19),
        FIRST.replace(b"12", b"12\r\ncontent-length: 13"),
        FIRST.replace(b"12", b"12\r\ntransfer-encoding: chunked"),
        FIRST.replace(b"12", b"12\n"),
        FIRST.replace(b"A: b", b"A: c"),
        FIRST.replace(b"/a", b"/b"),
        FIRST.replace(b"POST", b"PUT"),
        FIRST.replace(b"1.1", b"1.0"),
    ],
)
def test_other_head_is_not_known(other: bytes) -> None:
    assert known().recall(other) is None


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────────

PIECES = [
    *(
        b"GET",
        b"POST",
        b"get",
        b" ",
        b"/",
        b"/a?b",
        b"*",
        b"http://x/",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"\r\n",
        b"\n",
        b"\r",
    ),
    *(b"Host: x", b"Host", b":", b": ", b"Content-Length: 5", b"Content-Length:", b"5", b"+5", b"Transfer-Encoding: "),
    *(b"chunked", b"gzip", b",", b"Connection: close", b"Upgrade: x", b"A: b", b"\t", b"\x00", b"\x7f", b"\xff", b"a"),
]
heads = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=16).map(
    lambda pieces: b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(pieces) + b"\r\n\r\n"
)
any_heads = heads | st.lists(st.sampled_from(PIECES), max_size=24).map(lambda pieces: b"".join(pieces) + b"\r\n\r\n")


@given(any_heads)
@example(b"\r\n\r\n")
def test_understood_or_refused(head: bytes) -> None:
    _understood(head)


@given(any_heads)
@example(b"GET / HTTP/1.1\r\nHost: x\r\nA:\t\xff \r\nContent-Length: 007\r\n\r\n")
def test_h11_understands_same(head: bytes) -> None:
    """What we accept, a second strict reader accepts as well, and to it means the same."""
    end = head.index(b"\r\n\r\n") + 4
    try:
        ours = understand(head[:end])
    except Refused:
        return

    reader = h11.Connection(h11.SERVER)
    reader.receive_data(head[:end])
    theirs = reader.next_event()

    assert isinstance(theirs, h11.Request)
    assert (ours.method.encode(), ours.version.encode()) == (theirs.method, theirs.http_version)
    assert ours.headers == list(theirs.headers)
    assert (ours.length == 0) == isinstance(reader.next_event(), h11.EndOfMessage)


@given(any_heads, any_heads, st.sampled_from([b"5", b"0", b"55", b"", b" 5", b"5\r\n", b"5, 5", b"-5", b"9" * 19]))
@example(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", b"\r\n\r\n", b"007")
def test_known_head_answers_as_read_head(first: bytes, other: bytes, length: bytes) -> None:
    """Any bytes after an accepted head: recalling a head never gives another result than reading it."""
    first = first[: first.index(HEAD_END) + len(HEAD_END)]
    try:
        known = KnownHead(first, understand(first))
    except Refused:
        return

    shared = SharedHeads()
    shared.keep(known)
    for data in (first, other, first.replace(b"5", length), first + other, first[:-2] + other):
        # A further connection finds the same head, or none.
        assert shared.find(data[: data.index(HEAD_END) + len(HEAD_END)]) in (known, None)
        if (recalled := known.recall(data)) is not None:
            head, end = recalled
            assert end == data.index(HEAD_END) + len(HEAD_END)
            assert head == understand(data[:end])
