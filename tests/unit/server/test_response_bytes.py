"""Responses, on bytes."""

from __future__ import annotations

import re

import pytest

from pg_trio.server.http1.response import Response, ResponseMisuse, http_date


def whole(
    *headers: tuple[bytes, bytes], body: bytes = b"hi", method: str = "GET", version: str = "1.1", status: int = 200
) -> bytes:
    """A whole answer's bytes, its date made `NOW`."""
    response = Response(method, version)
    response.start({"type": "http.response.start", "status": status, "headers": headers})
    data = response.part(body, more=False, keep_alive=True)
    return re.sub(rb"date: [^\r]+", b"date: NOW", data)


def test_whole_answer() -> None:
    assert (
        b"HTTP/1.1 200 OK\r\nx-one: 1\r\ndate: NOW\r\ncontent-length: 2\r\n\r\nhi"
        == whole((b"X-One", b"1"))
        == whole((b"x-one", b"1"), (b"content-length", b"2"))
    )


def test_framing_is_ours() -> None:
    assert whole() == whole((b"transfer-encoding", b"gzip"), (b"keep-alive", b"timeout=5"))


def test_http10_says_keep_alive() -> None:
    assert whole(version="1.0").endswith(b"content-length: 2\r\nconnection: keep-alive\r\n\r\nhi")


def test_application_may_close() -> None:
    assert whole((b"connection", b"Close")).endswith(b"content-length: 2\r\nconnection: close\r\n\r\nhi")


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_where_none_may_be(status: int) -> None:
    assert whole(status=status).endswith(b"\r\ndate: NOW\r\n\r\n")


def test_304_keeps_length() -> None:
    assert whole((b"content-length", b"9"), status=304, body=b"").endswith(b"content-length: 9\r\n\r\n")


def test_head_counts_body() -> None:
    assert whole(method="HEAD").endswith(b"content-length: 2\r\n\r\n")
    assert whole((b"content-length", b"9"), method="HEAD", body=b"").endswith(b"content-length: 9\r\n\r\n")


def test_stream_is_chunked() -> None:
    response = Response("GET", "1.1")
    response.start({"type": "http.response.start", "status": 200})

    parts = [
        response.part(b"one", more=True, keep_alive=True),
        response.part(b"", more=True, keep_alive=True),
        response.part(b"x" * 16, more=False, keep_alive=True),
    ]

    assert parts[0].endswith(b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n")
    assert [b"", b"10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"] == parts[1:]


def test_stream_to_http10_closes() -> None:
    response = Response("GET", "1.0")
    response.start({"type": "http.response.start", "status": 200})

    data = response.part(b"one", more=True, keep_alive=True)

    assert data.endswith(b"connection: close\r\n\r\none")
    assert response.closes


def test_unnamed_status() -> None:
    assert whole(status=299).startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.parametrize(
    "header",
    [
        *((b"a", b"b\r\nc: d"), (b"a", b"b\nc"), (b"a", b"b\rc"), (b"a", b"\x00"), (b"a", b"\x7f")),
        *((b"", b"b"), (b"a b", b"c"), (b"a:", b"b"), (b"a\r\nb", b"c"), (b"\xff", b"a")),
        *((b"date", b"a\r\nb: c"), (b"content-length", b"+2"), (b"content-length", b"")),
    ],
)
def test_bad_header_is_misuse(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ResponseMisuse):
        whole(header)


@pytest.mark.parametrize("length", [b"1", b"3"])
def test_wrong_length_is_misuse(length: bytes) -> None:
    with pytest.raises(ResponseMisuse):
        whole((b"content-length", length))


def test_date_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg_trio.server.http1.response.time.time", lambda: 784111777.5)

    assert b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" == http_date() == http_date()


def test_whole_call_frames_what_it_is_given() -> None:
    response = Response("POST", "1.1")

    data = response.whole(503, b"x-one: 1\r\n", b"hi", keep_alive=True)

    expected = b"HTTP/1.1 503 Service Unavailable\r\nx-one: 1\r\ndate: NOW\r\ncontent-length: 2\r\n\r\nhi"
    assert expected == re.sub(rb"date: [^\r]+", b"date: NOW", data)
    assert (True, False) == (response.ended, response.closes)


def test_whole_call_closes_where_it_must() -> None:
    response = Response("POST", "1.0")

    data = response.whole(200, b"", b"", keep_alive=False)

    assert data.endswith(b"content-length: 0\r\nconnection: close\r\n\r\n")
    assert response.closes


def test_whole_call_is_the_only_one() -> None:
    response = Response("POST", "1.1")
    response.whole(200, b"", b"", keep_alive=True)

    with pytest.raises(ResponseMisuse):
        response.whole(200, b"", b"", keep_alive=True)
    with pytest.raises(ResponseMisuse):
        response.part(b"", more=False, keep_alive=True)
