"""What both transports make of answers that are in order, however they are cut."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import trio
from attrs import evolve

from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import UpstreamBroken, UpstreamNonsense
from tests.contract.conftest import SMALL, Caller, Serve
from tests.contract.fault_server import LIMIT_S, answer_with, answers, answers_once, closes_after

MIB = 1024 * 1024
BODY = b'{"choices":[]}'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n5;name=value\r\ndefgh\r\n0\r\nx-t: 1\r\n\r\n"
)


async def test_plain_answer_comes_whole(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(answer_with(BODY, headers=b"X-Request-Id: r1\r\n")))

    fetched = await caller.fetch(server.url)

    assert (200, BODY) == (fetched.status, fetched.body)
    assert "r1" == fetched.headers["x-request-id"]


async def test_request_arrives_as_given(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(answer_with(BODY)))

    await caller.fetch(server.url + "?alt=sse", b'{"model":"m"}', [("authorization", "Bearer k")])

    [request] = server.peers[0].requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = {line.lower() for line in head.split(b"\r\n")[1:]}
    assert head.startswith(b"POST /v1/chat/completions?alt=sse HTTP/1.1\r\n")
    assert b'{"model":"m"}' == body
    assert {b"host: localhost:%d" % server.port, b"content-length: 13", b"authorization: bearer k"} <= lines
    assert b"accept-encoding: identity" in lines


async def test_chunked_answer_loses_its_coding(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(CHUNKED))

    fetched = await caller.fetch(server.url)

    assert b"abcdefgh" == fetched.body


async def test_one_byte_segments_change_nothing(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(*(bytes([byte]) for byte in CHUNKED)))

    bodies = [(await caller.fetch(server.url)).body for _ in range(2)]

    assert [b"abcdefgh", b"abcdefgh"] == bodies
    assert 1 == len(server.peers)


async def test_connection_carries_many_calls(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(answer_with(BODY)))

    for _ in range(3):
        await caller.fetch(server.url)

    assert [3] == [len(peer.requests) for peer in server.peers]


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        ([answer_with(BODY)], BODY),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
        ([CHUNKED], b"abcdefgh"),
        # Half of it, and what must be decoded: neither is said to be the body.
        ([answer_with(BODY)[:-3]], None),
        ([answer_with(gzip.compress(BODY), headers=b"Content-Encoding: gzip\r\n")], None),
    ],
)
async def test_body_is_known_only_if_all_is_here(
    caller: Caller, serve: Serve, answer: list[bytes], known: bytes | None
) -> None:
    server = await serve(answers(*answer))

    with trio.fail_after(LIMIT_S):
        response = await caller.transport.open_response(WireRequest(server.url, [], b"{}", "POST", True))
        found = response.receive_nowait()
        again = response.receive_nowait()
        await response.aclose()

    # httpx does not say what it holds.
    assert found == (known if caller.name == "direct" else None)
    assert again == (b"" if found is not None else None)


async def test_answer_without_body_ends(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(b"HTTP/1.1 204 No Content\r\n\r\n"))

    fetched = [await caller.fetch(server.url) for _ in range(2)]

    assert [(204, b"")] * 2 == [(one.status, one.body) for one in fetched]
    assert 1 == len(server.peers)


async def test_interim_answers_are_skipped(caller: Caller, serve: Serve) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx-hint: 1\r\n\r\n"
    server = await serve(answers(interim + answer_with(BODY)))

    fetched = await caller.fetch(server.url)

    assert (200, BODY) == (fetched.status, fetched.body)
    assert "x-hint" not in fetched.headers


async def test_redirect_is_returned_as_is(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(answer_with(b"", status="307 Moved", headers=b"location: http://localhost:1/\r\n")))

    fetched = await caller.fetch(server.url)

    assert (307, "http://localhost:1/") == (fetched.status, fetched.headers["location"])


async def test_repeated_header_keeps_last(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(answer_with(b"", headers=b"x-a: first\r\nX-A: last\r\n")))

    fetched = await caller.fetch(server.url)

    assert "last" == fetched.headers["x-a"]


async def test_closing_answer_costs_its_connection(caller: Caller, serve: Serve) -> None:
    server = await serve(closes_after(answer_with(BODY, headers=b"connection: close\r\n")))

    bodies = [(await caller.fetch(server.url)).body for _ in range(2)]

    assert [BODY, BODY] == bodies
    assert 2 == len(server.peers)


async def test_http_1_0_answer_ends_with_connection(caller: Caller, serve: Serve) -> None:
    server = await serve(closes_after(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n", BODY))

    bodies = [(await caller.fetch(server.url)).body for _ in range(2)]

    assert [BODY, BODY] == bodies
    assert 2 == len(server.peers)


def deflate_raw(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZip", gzip.compress(BODY[:3]) + gzip.compress(BODY[3:])),
        ("deflate", zlib.compress(BODY)),
        ("deflate", deflate_raw(BODY)),
        ("gzip, identity", gzip.compress(BODY)),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY))),
        ("UTF-8", BODY),
        ("none", BODY),
        ("binary", BODY),
        ("gzip", BODY),
    ],
    ids=[
        "gzip",
        "two members",
        "zlib",
        "raw deflate",
        "identity",
        "twice",
        "a charset",
        "none",
        "binary",
        "not compressed",
    ],
)
async def test_unasked_coding_is_undone(coding: str, body: bytes, caller: Caller, serve: Serve) -> None:
    server = await serve(answers(answer_with(body, headers=f"content-encoding: {coding}\r\n".encode())))

    fetched = await caller.fetch(server.url)

    assert BODY == fetched.body


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "foo"])
async def test_unknown_coding_is_nonsense(coding: str, caller: Caller, serve: Serve) -> None:
    server = await serve(answers(answer_with(BODY, headers=f"content-encoding: {coding}\r\n".encode())))

    with pytest.raises(UpstreamNonsense, match="unknown content coding"):
        await caller.fetch(server.url)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_compression_bomb_is_nonsense(layers: int, is_stream: bool, caller: Caller, serve: Serve) -> None:
    bomb = bytes(16 * MIB)
    for _ in range(layers):
        bomb = gzip.compress(bomb)
    coding = ", ".join(["gzip"] * layers)
    server = await serve(answers(answer_with(bomb, headers=f"content-encoding: {coding}\r\n".encode())))
    tracemalloc.start()

    # Read whole, so the limit is that of whole answers, although a stream may be longer.
    with pytest.raises(UpstreamNonsense):
        await caller.fetch(server.url, is_stream=is_stream, limit_bytes=MIB)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 6 * MIB


async def test_small_coded_body_comes_in_pieces(caller: Caller, serve: Serve) -> None:
    body = gzip.compress(bytes(8 * MIB))
    server = await serve(answers(answer_with(body, headers=b"content-encoding: gzip\r\n")))
    request = WireRequest(server.url, (), b"{}", "POST", True, is_stream=True)
    response = await caller.transport.open_response(request)
    sizes = []

    while piece := await response.receive_some():
        sizes.append(len(piece))
    await response.aclose()

    assert 8 * MIB == sum(sizes)
    assert max(sizes) <= 64 * 1024


async def test_coded_stream_has_the_streams_limit(make_caller: Callable[..., Caller], serve: Serve) -> None:
    caller = make_caller(evolve(SMALL, max_stream_bytes=2 * MIB))
    bomb = gzip.compress(bytes(16 * MIB))
    server = await serve(answers(answer_with(bomb, headers=b"content-encoding: gzip\r\n")))
    response = await caller.transport.open_response(WireRequest(server.url, (), b"{}", "POST", True, is_stream=True))
    pieces: list[int] = []

    async def read_all() -> None:
        while piece := await response.receive_some():
            pieces.append(len(piece))

    with pytest.raises(UpstreamNonsense, match="size limit"):
        await read_all()

    assert 2 * MIB == sum(pieces)
    await response.aclose()
    await caller.transport.aclose()


async def test_cancelled_decoding_loses_nothing(caller: Caller, serve: Serve) -> None:
    body = bytes(range(256)) * 2 * 1024
    server = await serve(answers(answer_with(gzip.compress(body), headers=b"content-encoding: gzip\r\n")))
    response = await caller.transport.open_response(WireRequest(server.url, (), b"{}", "POST", True))
    pieces = [await response.receive_some()]

    while True:
        with trio.CancelScope() as scope:
            scope.cancel()
            await response.receive_some()
        assert scope.cancelled_caught
        if not (piece := await response.receive_some()):
            break
        pieces.append(piece)
        if sum(map(len, pieces)) == len(body):
            break

    assert body == b"".join(pieces)
    await response.aclose()


async def test_cut_compression_is_broken(caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(answer_with(gzip.compress(BODY)[:-9], headers=b"content-encoding: gzip\r\n")))

    with pytest.raises(UpstreamBroken):
        await caller.fetch(server.url)
