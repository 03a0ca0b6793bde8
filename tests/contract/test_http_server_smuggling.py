"""What two readers could understand differently, byte for byte, against both servers.

The lane refuses all of it. Where stock Hypercorn (h11) takes a vector, or refuses it otherwise, `hypercorn=` says so,
and docs/performance.md lists it: a change on either side fails here.
"""

from __future__ import annotations

import pytest
from attrs import frozen

from pg_trio.server.http1.types import Receive, Scope, Send
from tests.support.http_servers import SERVERS, ProbeApp, connected, echo, read_body, serving

# Hypercorn keeps waiting for the rest of what cannot end.
WAITS = 0


@frozen(slots=True)
class Vector:
    """A request, and the status that it gets from the lane and from Hypercorn (the same unless said)."""

    name: str
    data: bytes
    lane: int = 400
    hypercorn: int | None = None

    def expected(self, server: str) -> int:
        if server == "hypercorn" and self.hypercorn is not None:
            return self.hypercorn
        return self.lane


def get(*lines: bytes, first: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n") -> bytes:
    return first + b"".join(lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"0\r\n\r\n") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\n" + b"".join(lines) + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body=body)


def line(first: bytes) -> bytes:
    return first + b"\r\nHost: x\r\n\r\n"


VECTORS = [
    # ── two lengths, or none that is one ────────────────────────────────────────────────────────────────────────────
    Vector("both lengths", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), hypercorn=200),
    Vector("both, other order", post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), hypercorn=200),
    Vector("equal lengths", post(b"Content-Length: 2\r\nContent-Length: 2\r\n", body=b"ok"), hypercorn=200),
    Vector("unequal lengths", post(b"Content-Length: 2\r\nContent-Length: 3\r\n", body=b"ok")),
    Vector("list of lengths", post(b"Content-Length: 2,2\r\n", body=b"ok"), hypercorn=200),
    Vector("length +2", post(b"Content-Length: +2\r\n", body=b"ok")),
    Vector("length -2", post(b"Content-Length: -2\r\n", body=b"ok")),
    Vector("length 0x2", post(b"Content-Length: 0x2\r\n", body=b"ok")),
    Vector("length empty", post(b"Content-Length:\r\n", body=b"")),
    Vector("length 1_0", post(b"Content-Length: 1_0\r\n", body=b"0123456789")),
    Vector("length 1 2", post(b"Content-Length: 1 2\r\n", body=b"012345678901")),
    Vector("length overflows", post(b"Content-Length: 99999999999999999999999\r\n", body=b"ok")),
    # ── codings ─────────────────────────────────────────────────────────────────────────────────────────────────────
    Vector("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked\r\n"), hypercorn=501),
    Vector("chunked twice", post(b"Transfer-Encoding: chunked\r\n" * 2), hypercorn=501),
    Vector("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked\r\n"), hypercorn=501),
    Vector("chunked,", post(b"Transfer-Encoding: chunked,\r\n"), hypercorn=501),
    Vector("identity", post(b"Transfer-Encoding: identity\r\n", body=b""), hypercorn=501),
    Vector("xchunked", post(b"Transfer-Encoding: xchunked\r\n"), hypercorn=501),
    Vector("quoted chunked", post(b'Transfer-Encoding: "chunked"\r\n'), hypercorn=501),
    Vector("empty coding", post(b"Transfer-Encoding:\r\n", body=b""), hypercorn=501),
    Vector("vertical tab chunked", post(b"Transfer-Encoding: \x0bchunked\r\n")),
    Vector("coding in HTTP/1.0", chunked(b"0\r\n\r\n").replace(b"/1.1", b"/1.0"), hypercorn=200),
    # ── header fields ───────────────────────────────────────────────────────────────────────────────────────────────
    Vector("space before colon", post(b"Content-Length : 2\r\n", body=b"ok")),
    Vector("tab before colon", post(b"Transfer-Encoding\t: chunked\r\n")),
    Vector("folded value", get(b"A: b\r\n c\r\n"), hypercorn=200),
    Vector("folded coding", post(b"Transfer-Encoding:\r\n chunked\r\n"), hypercorn=200),
    Vector("folded first field", get(b" Host: x\r\n", first=b"GET / HTTP/1.1\r\n")),
    Vector("bare LF after request line", b"GET / HTTP/1.1\nHost: x\r\n\r\n", hypercorn=200),
    Vector("bare LF after field", b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", hypercorn=200),
    Vector("bare LF everywhere", b"GET / HTTP/1.1\nHost: x\n\n", hypercorn=200),
    Vector("bare CR in value", get(b"A: b\rc: d\r\n")),
    Vector("NUL in value", get(b"A: b\x00c\r\n")),
    Vector("control in value", get(b"A: b\x01c\r\n"), hypercorn=200),
    Vector("DEL in value", get(b"A: b\x7fc\r\n"), hypercorn=200),
    Vector("space in name", get(b"A b: c\r\n")),
    Vector("empty name", get(b": c\r\n")),
    Vector("no colon", get(b"abc\r\n")),
    Vector("non-ASCII name", get(b"A\xff: c\r\n")),
    Vector("brackets in name", get(b"[A]: c\r\n")),
    Vector("100 is all", get(b"A: b\r\n" * 100), lane=431, hypercorn=200),
    Vector("head too large", get(b"A: " + b"a" * 33_000 + b"\r\n"), lane=431, hypercorn=200),
    Vector("unknown expectation", get(b"Expect: magic\r\n"), lane=417, hypercorn=200),
    # ── host ────────────────────────────────────────────────────────────────────────────────────────────────────────
    Vector("no host", get(first=b"GET / HTTP/1.1\r\n")),
    Vector("two hosts", get(b"Host: x\r\n")),
    Vector("host with path", get(b"Host: x/y\r\n", first=b"GET / HTTP/1.1\r\n"), hypercorn=200),
    Vector("host with user", get(b"Host: a@b\r\n", first=b"GET / HTTP/1.1\r\n"), hypercorn=200),
    Vector("two words for a host", get(b"Host: a b\r\n", first=b"GET / HTTP/1.1\r\n"), hypercorn=200),
    Vector("target names another host", line(b"GET http://other/ HTTP/1.1"), hypercorn=200),
    # ── request line ────────────────────────────────────────────────────────────────────────────────────────────────
    Vector("authority-form", line(b"GET x:80 HTTP/1.1"), hypercorn=200),
    Vector("CONNECT", line(b"CONNECT x:80 HTTP/1.1"), hypercorn=200),
    Vector("asterisk to GET", line(b"GET * HTTP/1.1"), hypercorn=200),
    Vector("no slash", line(b"GET echo HTTP/1.1"), hypercorn=200),
    Vector("non-ASCII target", line(b"GET /\xff HTTP/1.1")),
    Vector("space in target", line(b"GET /a b HTTP/1.1")),
    Vector("tab in target", line(b"GET /a\tb HTTP/1.1")),
    Vector("control in target", line(b"GET /a\x01b HTTP/1.1")),
    Vector("fragment in target", line(b"GET /a#b HTTP/1.1"), hypercorn=200),
    Vector("target too long", line(b"GET /" + b"a" * 8_300 + b" HTTP/1.1"), lane=414, hypercorn=200),
    Vector("lower-case method", line(b"get / HTTP/1.1"), hypercorn=200),
    Vector("unknown method", line(b"BREW / HTTP/1.1"), lane=501, hypercorn=200),
    Vector("HTTP/0.9", b"GET /\r\n\r\n"),
    Vector("HTTP/1.2", line(b"GET / HTTP/1.2"), lane=505, hypercorn=200),
    Vector("HTTP/2.0 without preface", line(b"GET / HTTP/2.0"), lane=505, hypercorn=200),
    Vector("HTTP/1.10", line(b"GET / HTTP/1.10")),
    Vector("http/1.1", line(b"GET / http/1.1")),
    Vector("two spaces", line(b"GET  / HTTP/1.1")),
    Vector("tabs for spaces", line(b"GET\t/\tHTTP/1.1")),
    Vector("space behind version", line(b"GET / HTTP/1.1 ")),
    Vector("space before method", line(b" GET / HTTP/1.1")),
    Vector("TLS", bytes.fromhex("16030100c8010000c40303") + bytes(40) + b"\r\n\r\n"),
    # ── chunks ──────────────────────────────────────────────────────────────────────────────────────────────────────
    Vector("chunk one byte longer than its size", chunked(b"2\r\nok!\r\n0\r\n\r\n")),
    Vector("chunk size 0x2", chunked(b"0x2\r\nok\r\n0\r\n\r\n")),
    Vector("chunk size +2", chunked(b"+2\r\nok\r\n0\r\n\r\n")),
    Vector("chunk size -2", chunked(b"-2\r\nok\r\n0\r\n\r\n")),
    Vector("chunk size empty", chunked(b"\r\nok\r\n0\r\n\r\n")),
    Vector("chunk size 0_2", chunked(b"0_2\r\nok\r\n0\r\n\r\n")),
    Vector("space before chunk size", chunked(b" 2\r\nok\r\n0\r\n\r\n")),
    Vector("space behind chunk size", chunked(b"2 \r\nok\r\n0\r\n\r\n"), hypercorn=200),
    Vector("chunk size overflows", chunked(b"10000000000000002\r\nok\r\n0\r\n\r\n"), hypercorn=WAITS),
    Vector("bare LF behind chunk size", chunked(b"2\nok\r\n0\r\n\r\n")),
    Vector("bare LF behind chunk", chunked(b"2\r\nok\n0\r\n\r\n")),
    Vector("chunk too long", chunked(b"2\r\nokay\r\n0\r\n\r\n")),
    Vector("bare CR in extension", chunked(b"2;a\rb\r\nok\r\n0\r\n\r\n"), hypercorn=200),
    Vector("bare LF in extension", chunked(b"2;a\nb\r\nok\r\n0\r\n\r\n")),
    Vector("extension too long", chunked(b"2;" + b"a" * 5_000 + b"\r\nok\r\n0\r\n\r\n"), hypercorn=200),
    Vector("malformed trailer", chunked(b"0\r\nA b\r\n\r\n")),
    Vector("folded trailer", chunked(b"0\r\nA: b\r\n c\r\n\r\n"), hypercorn=200),
    Vector("length as trailer", chunked(b"0\r\nContent-Length: 5\r\n\r\n"), hypercorn=200),
    Vector("trailers too large", chunked(b"0\r\n" + (b"A: " + b"a" * 900 + b"\r\n") * 10 + b"\r\n"), 431, 200),
]


ANSWERED = [(server, vector) for server in SERVERS for vector in VECTORS if vector.expected(server) != WAITS]


@pytest.mark.parametrize(
    ("server", "vector"), ANSWERED, ids=[f"{server}: {vector.name}" for server, vector in ANSWERED]
)
async def test_ambiguity_gets_status(server: str, vector: Vector) -> None:
    async with serving(server, ProbeApp(echo)) as port, connected(port) as client:
        await client.send(vector.data)
        answer = await client.read_answer()

    assert vector.expected(server) == answer.status


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
async def test_refusal_ends_connection(vector: Vector) -> None:
    app = ProbeApp(echo)

    async with serving("lane", app) as port, connected(port) as client:
        await client.send(vector.data + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await client.read_answer()
        rest = await client.read_to_end()

    assert (vector.lane, "close", b"") == (answer.status, answer.headers["connection"], rest)
    assert "/smuggled" not in [scope["path"] for scope in app.scopes]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("cut", range(1, 64))
async def test_split_anywhere_means_same(server: str, cut: int) -> None:
    data = chunked(b"2\r\nok\r\n1;x=y\r\n!\r\n0\r\nA: b\r\n\r\n")

    async with serving(server, ProbeApp(echo)) as port, connected(port) as client:
        await client.send(data[:cut])
        await client.send(data[cut:])
        answer = await client.read_answer()

    assert (200, b"ok!") == (answer.status, answer.body)


async def test_late_refusal_keeps_answer() -> None:
    """A body that turns out malformed after the answer began: the answer is cut, never followed by another."""

    async def answer_first(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        await read_body(receive)

    async with serving("lane", ProbeApp(answer_first)) as port, connected(port) as client:
        await client.send(chunked(b"2\r\nokay\r\n0\r\n\r\n"))
        data = await client.read_to_end()

    assert data.endswith(b"\r\n\r\n6\r\nso far\r\n")
