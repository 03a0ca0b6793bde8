"""An answer's bytes, cut at every position: the same answer, or the same error."""

from __future__ import annotations

from itertools import repeat

import pytest

from pg_trio.errors import UpstreamBroken, UpstreamNonsense
from pg_trio.transport.answer import Answer, AnswerLimits

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n"
AFTER_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + PLAIN
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
CLOSING = PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
OLD = PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0")


def feed_all(answer: Answer, *pieces: bytes) -> None:
    for piece in pieces:
        answer.feed(piece)


def make_answer(max_head_bytes: int = 1024, max_body_bytes: int = 1024) -> Answer:
    return Answer(AnswerLimits(max_head_bytes, max_body_bytes))


@pytest.mark.parametrize(
    ("wire", "status", "body", "allows_reuse"),
    [
        pytest.param(PLAIN, 200, b"hello", True, id="length"),
        pytest.param(CHUNKED, 200, b"hello", True, id="chunks"),
        pytest.param(AFTER_INTERIM, 200, b"hello", True, id="after-interim"),
        pytest.param(EMPTY, 204, b"", True, id="no-body"),
        pytest.param(CLOSING, 200, b"hello", False, id="closing"),
        pytest.param(OLD, 200, b"hello", False, id="http-1.0"),
        pytest.param(PLAIN + PLAIN, 200, b"hello", False, id="excess-answer"),
        pytest.param(PLAIN + b"\0", 200, b"hello", False, id="excess-byte"),
    ],
)
def test_every_cut_reads_alike(wire: bytes, status: int, body: bytes, allows_reuse: bool) -> None:
    for cut in range(1, len(wire)):
        answer = make_answer()
        taken = b""

        for piece in (wire[:cut], wire[cut:]):
            answer.feed(piece)
            taken += answer.take_body()

        assert (status, body, True) == (answer.status, taken, answer.is_whole)
        assert allows_reuse is answer.keeps_alive


@pytest.mark.parametrize("wire", [PLAIN, CHUNKED, AFTER_INTERIM, EMPTY], ids=["length", "chunks", "interim", "empty"])
def test_end_at_every_cut_is_broken(wire: bytes) -> None:
    for cut in range(len(wire)):
        answer = make_answer()
        if cut:
            answer.feed(wire[:cut])

        with pytest.raises(UpstreamBroken):
            answer.feed(b"")


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: x\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\na" % (b"9" * 500),
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/2 200\nContent-Length: 1\n\na",
        b"SSH-2.0-OpenSSH_9.2\n\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n\0",
        b"<html>",
    ],
)
def test_every_cut_of_broken_http_is_broken(wire: bytes) -> None:
    for cut in range(1, len(wire)):
        answer = make_answer()

        with pytest.raises(UpstreamBroken):
            feed_all(answer, wire[:cut], wire[cut:], b"")

        assert not answer.is_whole


@pytest.mark.parametrize(
    ("head", "body"),
    [
        pytest.param(b"HTTP/1.1 200 OK\nX-A: 1\nContent-Length: 5\n\n", b"hello", id="bare-lf"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 5\r\n\n", b"hello", id="mixed-ends"),
        pytest.param(b"HTTP/1.1 200\nContent-Length: 5\n\n", b"hello", id="bare-lf-no-reason"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\n\tc\r\nContent-Length: 5\r\n\r\n", b"hello", id="folded"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 5\r\n\r\n", b"hello", id="folded-length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 05\r\n\r\n", b"hello", id="length-twice"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", b"hello", id="length-list"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", b"hello", id="space-before-colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx_a[b]: 1\r\nContent-Length: 5\r\n\r\n", b"hello", id="brackets"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: \x01\r\nContent-Length: 5\r\n\r\n", b"hello", id="control"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            id="both",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n",
            b"hello",
            id="identity-coding",
        ),
        pytest.param(b"HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 5\n\n", b"hello", id="interim"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 5\n\n", b"hello", id="late"),
    ],
)
def test_every_cut_of_odd_head_is_read_and_not_reused(head: bytes, body: bytes) -> None:
    wire = head + body
    for cut in range(1, len(wire)):
        answer = make_answer()

        feed_all(answer, wire[:cut], wire[cut:])

        assert (200, b"hello", True) == (answer.status, answer.take_body(), answer.is_whole)
        assert not answer.keeps_alive


def test_odd_head_without_end_is_broken() -> None:
    answer = make_answer()
    answer.feed(b"HTTP/1.1 200 OK\nContent-Length: 5\n")

    with pytest.raises(UpstreamBroken):
        answer.feed(b"")


def test_repaired_length_still_tells_a_cut() -> None:
    answer = make_answer()
    answer.feed(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhell")

    with pytest.raises(UpstreamBroken):
        answer.feed(b"")


def test_spaces_behind_chunk_size_are_read() -> None:
    answer = make_answer()

    answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0\r\n\r\n")

    assert (b"hello", True) == (answer.take_body(), answer.is_whole)


def test_answer_without_length_ends_with_connection() -> None:
    answer = make_answer()

    answer.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    answer.feed(b"lo")
    answer.feed(b"")

    assert (b"hello", True, False) == (answer.take_body(), answer.is_whole, answer.keeps_alive)


def test_unknown_transfer_coding_never_ends() -> None:
    answer = make_answer()
    answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello")

    with pytest.raises(UpstreamBroken):
        answer.feed(b"")


def test_dropped_headers_still_tell_a_cut() -> None:
    answer = make_answer()
    answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")

    answer.forget_headers()

    with pytest.raises(UpstreamBroken):
        answer.feed(b"")


def test_dropped_headers_still_tell_an_end() -> None:
    answer = make_answer()
    answer.feed(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello")

    answer.forget_headers()
    answer.feed(b"")

    assert ({}, True) == (answer.fields, answer.is_whole)


def test_trailers_are_not_headers() -> None:
    answer = make_answer()

    answer.feed(CHUNKED)

    assert {"transfer-encoding": "chunked"} == answer.headers()


def test_names_are_in_lower_case_and_the_last_value_holds() -> None:
    answer = make_answer()

    answer.feed(b"HTTP/1.1 200 OK\r\nRetry-After: 1\r\nX-A: 1\r\nretry-after: 2\r\nContent-Length: 0\r\n\r\n")

    assert {"retry-after": "2", "x-a": "1", "content-length": "0"} == answer.headers()


def test_interim_headers_are_not_kept() -> None:
    answer = make_answer()

    answer.feed(AFTER_INTERIM)

    assert {"content-type": "application/json", "content-length": "5"} == answer.headers()


def test_header_bytes_beyond_ascii_are_kept() -> None:
    answer = make_answer()

    answer.feed(b"HTTP/1.1 200 OK\r\nX-Name: caf\xe9\r\nContent-Length: 0\r\n\r\n")

    assert "café" == answer.headers()["x-name"]


@pytest.mark.parametrize(
    ("start", "more"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 100, id="header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X-A: 1\r\n", id="headers"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="interim-answers"),
        pytest.param(b"HTTP/1.1 200 OK\n", b"X-A: 1\n", id="odd-headers"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\n\n", id="odd-interim-answers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-T: 1\r\n", id="trailers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 100, id="chunk-extension"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"9\r\n123456789\r\n", id="chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x" * 100, id="length"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100, id="until-close"),
    ],
)
def test_endless_answer_meets_a_limit(start: bytes, more: bytes) -> None:
    answer = make_answer()
    if start:
        answer.feed(start)

    with pytest.raises(UpstreamNonsense):
        feed_all(answer, *repeat(more, 400))


def test_one_byte_chunks_pass_the_limit() -> None:
    answer = make_answer(max_head_bytes=200)

    answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    feed_all(answer, *repeat(b"1\r\nx\r\n", 1000), b"0\r\n\r\n")

    assert (b"x" * 1000, True) == (answer.take_body(), answer.is_whole)
