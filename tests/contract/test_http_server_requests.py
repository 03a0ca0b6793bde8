"""HTTP/1.1 and ASGI as both servers must speak them; where they differ the test says which does what."""

from __future__ import annotations

import base64
import ssl
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from pg_trio.server.http1.types import Message, Receive, Scope, Send
from pg_trio.server.lifespan import LifespanFailed
from tests.support.http_servers import (
    SERVERS,
    ProbeApp,
    answer,
    ask,
    connected,
    echo,
    read_body,
    request,
    serving,
)

both_servers = pytest.mark.parametrize("server", SERVERS)

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HTTP2_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


async def say_hello(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"hello")


@both_servers
async def test_body_is_echoed(server: str) -> None:
    async with serving(server, ProbeApp(echo)) as port:
        reply = await ask(port, request(method="POST", body=b"abc"))

    assert (200, b"abc", "3") == (reply.status, reply.body, reply.headers["content-length"])


@both_servers
async def test_connection_is_kept(server: str) -> None:
    async with serving(server, ProbeApp(echo)) as port, connected(port) as client:
        for body in (b"one", b"two", b"three"):
            await client.send(request(method="POST", body=body))
            reply = await client.read_answer()

            assert (200, body) == (reply.status, reply.body)


@both_servers
async def test_pipelined_in_order(server: str) -> None:
    bodies = [b"%d" % number for number in range(20)]

    async with serving(server, ProbeApp(echo)) as port, connected(port) as client:
        await client.send(b"".join(request(method="POST", body=body) for body in bodies))
        replies = [await client.read_answer() for _ in bodies]

    assert bodies == [reply.body for reply in replies]


@both_servers
async def test_chunks_are_joined(server: str) -> None:
    data = request("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n"

    async with serving(server, ProbeApp(echo)) as port, connected(port) as client:
        await client.send(data + request(method="POST", body=b"next"))
        replies = [await client.read_answer(), await client.read_answer()]

    assert [b"abcde", b"next"] == [reply.body for reply in replies]


@both_servers
async def test_single_bytes_suffice(server: str) -> None:
    async with serving(server, ProbeApp(echo)) as port, connected(port) as client:
        for byte in request(method="POST", body=b"abc"):
            await client.send(bytes([byte]))
        reply = await client.read_answer()

    assert (200, b"abc") == (reply.status, reply.body)


@both_servers
async def test_large_body_arrives(server: str) -> None:
    body = b"0123456789abcdef" * 65536 * 4

    async with serving(server, ProbeApp(echo)) as port, connected(port) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send, request(method="POST", body=body))
        reply = await client.read_answer()

    assert body == reply.body


@both_servers
async def test_head_has_no_body(server: str) -> None:
    async with serving(server, ProbeApp(say_hello)) as port, connected(port) as client:
        await client.send(request(method="HEAD") + request())
        head_reply = await client.read_answer(to="HEAD")
        get_reply = await client.read_answer()

    assert ("5", b"hello") == (head_reply.headers["content-length"], get_reply.body)


@both_servers
async def test_close_is_honoured(server: str) -> None:
    async with serving(server, ProbeApp(say_hello)) as port, connected(port) as client:
        await client.send(request("/", "Connection: close"))
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (b"hello", "close", b"") == (reply.body, reply.headers["connection"], rest)


@both_servers
async def test_http10_closes(server: str) -> None:
    async with serving(server, ProbeApp(say_hello)) as port, connected(port) as client:
        await client.send(request(version="1.0"))
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (200, b"hello", b"") == (reply.status, reply.body, rest)


async def test_http10_keeps_on_demand() -> None:
    """The lane's alone: h11 closes after every HTTP/1.0 request."""
    async with serving("lane", ProbeApp(say_hello)) as port, connected(port) as client:
        for _ in range(2):
            await client.send(request("/", "Connection: Keep-Alive", version="1.0"))
            reply = await client.read_answer()

            assert (b"hello", "keep-alive") == (reply.body, reply.headers["connection"])


async def stream_parts(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"one", b"", b"two"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


@both_servers
async def test_unknown_length_is_chunked(server: str) -> None:
    async with serving(server, ProbeApp(stream_parts)) as port:
        reply = await ask(port, request())

    assert ("chunked", b"onetwo") == (reply.headers["transfer-encoding"], reply.body)


@both_servers
async def test_http10_gets_no_chunks(server: str) -> None:
    async with serving(server, ProbeApp(stream_parts)) as port:
        reply = await ask(port, request(version="1.0"))

    assert b"onetwo" == reply.body
    assert "transfer-encoding" not in reply.headers


@both_servers
@pytest.mark.parametrize("status", [204, 304])
async def test_bodiless_status_has_none(server: str, status: int) -> None:
    async def answer_empty(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})

    async with serving(server, ProbeApp(answer_empty)) as port, connected(port) as client:
        await client.send(request() * 2)
        replies = [await client.read_answer(), await client.read_answer()]

    assert [status, status] == [reply.status for reply in replies]
    assert "content-length" not in replies[0].headers


@both_servers
async def test_continue_before_body(server: str) -> None:
    async with serving(server, ProbeApp(echo)) as port, connected(port) as client:
        await client.send(request("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        interim = await client.read_answer()
        await client.send(b"abc")
        reply = await client.read_answer()

    assert (100, 200, b"abc") == (interim.status, reply.status, reply.body)


@both_servers
async def test_continue_is_not_waited_for(server: str) -> None:
    """A client need not wait for it (RFC 9110 section 10.1.1); its connection lives on."""
    expecting = request("/", "Expect: 100-continue", "Content-Length: 3", method="POST") + b"abc"

    async with serving(server, ProbeApp(echo)) as port, connected(port) as client:
        replies = []
        for _ in range(2):
            await client.send(expecting)
            while (reply := await client.read_answer()).status == 100:
                pass
            replies.append((reply.status, reply.body))

    assert [(200, b"abc")] * 2 == replies


@pytest.mark.parametrize("expectation", [[], ["Expect: 100-continue"]])
async def test_body_that_nobody_asked_for(expectation: list[str]) -> None:
    """The lane's alone (Hypercorn closes): it came with its head, so the next request is found behind it."""
    data = request("/", *expectation, method="POST", body=b"GET /hidden HTTP/1.1\r\n\r\n")
    app = ProbeApp(say_hello)

    async with serving("lane", app) as port, connected(port) as client:
        statuses = []
        for _ in range(2):
            await client.send(data)
            statuses.append((await client.read_answer()).status)

    assert [200, 200] == statuses
    assert ["/", "/"] == [scope["path"] for scope in app.scopes]


async def test_no_continue_unless_asked_for_body() -> None:
    """The lane's alone: Hypercorn says 100 to every such request, so the client sends a body that is refused anyway."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"too large", status=413)

    async with serving("lane", ProbeApp(refuse)) as port, connected(port) as client:
        await client.send(request("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (413, "close", b"") == (reply.status, reply.headers["connection"], rest)


@both_servers
async def test_scope_says_everything(server: str) -> None:
    app = ProbeApp(say_hello)

    async with serving(server, app) as port:
        await ask(port, request("/a%20b/%C3%BC?x=%20y&z", "X-Twice: 1", "X-Twice:  2 ", host="gateway"))

    scope = app.scopes[0]
    client = scope["client"]
    assert {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b/ü",
        "query_string": b"x=%20y&z",
        "root_path": "",
        "headers": [(b"host", b"gateway"), (b"x-twice", b"1"), (b"x-twice", b"2")],
        "server": ("127.0.0.1", port),
    } == {
        name: scope[name]
        for name in (
            *("type", "http_version", "method", "scheme", "path", "query_string", "root_path", "headers", "server"),
        )
    }
    assert "here" == scope["state"]["from_lifespan"]
    assert ("127.0.0.1", "3.0") == (client[0], scope["asgi"]["version"])
    assert b"/a%20b/%C3%BC" == scope["raw_path"].partition(b"?")[0]


async def test_scope_says_when_head_was_read() -> None:
    app = ProbeApp(say_hello)

    async with serving("lane", app) as port:
        before = trio.current_time()
        await ask(port, request())
        after = trio.current_time()

    assert before <= app.scopes[0]["extensions"]["pg_trio"].head_at <= after


async def test_like_heads_are_told() -> None:
    app = ProbeApp(echo)
    same, other = request("/a", method="POST", body=b"one"), request("/b", method="POST", body=b"one")

    async with serving("lane", app) as port, connected(port) as client:
        for data in (same, request("/a", method="POST", body=b"eleven"), other, same):
            await client.send(data)
            await client.read_answer()

    alike = [scope["extensions"]["pg_trio"].alike for scope in app.scopes]
    assert alike[0] is alike[1]
    assert alike[1] is not alike[2]
    # Known again, because this test still holds it.
    assert alike[3] is alike[0]
    assert [b"3", b"6", b"3", b"3"] == [dict(scope["headers"])[b"content-length"] for scope in app.scopes]


async def test_changed_headers_are_no_other_request_s() -> None:
    async def change(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"].append((b"x-added", b"by a middleware"))
        await answer(send, b"done")

    app = ProbeApp(change)
    async with serving("lane", app) as port, connected(port) as client:
        for _ in range(2):
            await client.send(request())
            await client.read_answer()

    assert [1, 1] == [[name for name, _ in scope["headers"]].count(b"x-added") for scope in app.scopes]


async def test_body_that_is_here_is_told() -> None:
    app = ProbeApp(echo)

    async with serving("lane", app) as port, connected(port) as client:
        await client.send(request(method="POST", body=b"whole"))
        whole = await client.read_answer()
        head, body = request(method="POST", body=b"in parts").split(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n" + body[:2])
        while len(app.scopes) < 2:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await client.send(body[2:])
        parts = await client.read_answer()

    assert (b"whole", b"in parts") == (whole.body, parts.body)
    assert [b"whole", None] == [scope["extensions"]["pg_trio"].body for scope in app.scopes]


async def test_body_that_was_taken_is_kept_by_nobody() -> None:
    """A stream may last for minutes: what was read of its request is enough."""

    async def take(scope: Scope, receive: Receive, send: Send) -> None:
        link = scope["extensions"]["pg_trio"]
        body, link.body = link.body, None
        again = await receive()
        await answer(send, body + b"|" + again["body"] + (b"|more" if again["more_body"] else b""))

    async with serving("lane", ProbeApp(take)) as port:
        reply = await ask(port, request(method="POST", body=b"whole"))

    assert b"whole|" == reply.body


async def test_what_is_kept_lasts_as_long_as_the_connection() -> None:
    closed = trio.Event()
    closed_in: list[trio.lowlevel.Task] = []
    served_in: list[trio.lowlevel.Task] = []

    def close() -> None:
        closed_in.append(trio.lowlevel.current_task())
        closed.set()

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        kept = scope["extensions"]["pg_trio"].client
        if kept.value is None:
            kept.value = 0
            kept.keep(ExitStack()).callback(close)
        kept.value += 1
        served_in.append(trio.lowlevel.current_task())
        await answer(send, b"%d" % kept.value)

    async with serving("lane", ProbeApp(count)) as port:
        async with connected(port) as client:
            replies = []
            for _ in range(3):
                await client.send(request())
                replies.append((await client.read_answer()).body)
            assert not closed.is_set()
        with trio.fail_after(20):
            await closed.wait()
        another = await ask(port, request())

    assert [b"1", b"2", b"3"] == replies
    assert b"1" == another.body
    assert closed_in[0] is served_in[0]


async def test_kept_cancel_scope_is_left_in_its_place(caplog: pytest.LogCaptureFixture) -> None:
    """Trio demands that scopes are left in the order of their entering: also where the client leaves in the middle."""
    entered, left = trio.Event(), trio.Event()

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        stack = scope["extensions"]["pg_trio"].client.keep(ExitStack())
        stack.callback(left.set)
        stack.enter_context(trio.CancelScope())
        entered.set()
        await trio.sleep_forever()

    async with serving("lane", ProbeApp(enter)) as port:
        async with connected(port) as client:
            await client.send(request())
            await entered.wait()
        with trio.fail_after(20):
            await left.wait()

    assert "" == caplog.text


async def test_error_in_what_is_kept_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("a bug at a connection's end")

    async def keep(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fails":
            scope["extensions"]["pg_trio"].client.keep(ExitStack()).callback(fail)
        await answer(send, b"well")

    async with serving("lane", ProbeApp(keep)) as port, connected(port) as other:
        await ask(port, request("/fails"))
        await other.send(request())
        reply = await other.read_answer()

    assert b"well" == reply.body
    assert "a bug at a connection's end" in caplog.text


async def test_absolute_target_of_own_host() -> None:
    """The lane makes it a path; Hypercorn passes it on as one (`http://x/a?b` as the path)."""
    app = ProbeApp(say_hello)

    async with serving("lane", app) as port:
        await ask(port, request("http://X/a?b"))

    assert ("/a", b"b") == (app.scopes[0]["path"], app.scopes[0]["query_string"])


@both_servers
async def test_receive_after_body_waits(server: str) -> None:
    """It gives `http.disconnect` once the answer is out, not before and not another body."""
    events: list[Message] = []
    received = trio.Event()

    async def receive_beside(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)

        async def receive_more() -> None:
            events.append(await receive())
            received.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_more)
            await trio.testing.wait_all_tasks_blocked()
            events.append({"type": "answered"})
            await answer(send, b"hello")

    async with serving(server, ProbeApp(receive_beside)) as port, connected(port) as client:
        await client.send(request(method="POST", body=b"abc"))
        await client.read_answer()
        if server == "hypercorn":
            # Hypercorn says so only when the connection closes or the application returns.
            await client.stream.aclose()
        await received.wait()

    assert ["answered", "http.disconnect"] == [event["type"] for event in events]


@both_servers
async def test_crash_is_500(server: str) -> None:
    async def crash(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a bug of the application")

    async with serving(server, ProbeApp(crash)) as port:
        reply = await ask(port, request())

    body = b'{"ok":false,"error":"Internal error."}' if server == "lane" else b""
    assert (500, body) == (reply.status, reply.body)


@both_servers
async def test_crash_cuts_stream(server: str) -> None:
    async def crash_late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise ValueError("a bug of the application")

    async with serving(server, ProbeApp(crash_late)) as port, connected(port) as client:
        await client.send(request())
        data = await client.read_to_end()

    assert data.endswith(b"\r\n\r\n3\r\none\r\n")


@both_servers
@pytest.mark.parametrize("length", [b"2", b"9"], ids=["too much", "too little"])
async def test_wrong_length_is_never_whole(server: str, length: bytes) -> None:
    async def answer_wrongly(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": b"hello"})

    async with serving(server, ProbeApp(answer_wrongly)) as port, connected(port) as client:
        await client.send(request())
        data = await client.read_to_end()

    head, _, body = data.partition(b"\r\n\r\n")
    if server == "lane":
        assert head.startswith(b"HTTP/1.1 500 ")
    else:
        assert len(body) != int(length)


@both_servers
@pytest.mark.parametrize(
    "header",
    [(b"x-evil", b"a\r\nset-cookie: b"), (b"x-evil", b"a\nb: c"), (b"x\r\ny", b"a"), (b"x y", b"a"), (b"x", b"\x00")],
    ids=["CRLF", "LF", "name", "space", "NUL"],
)
async def test_header_injection_is_500(server: str, header: tuple[bytes, bytes]) -> None:
    async def inject(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"hello", header)

    async with serving(server, ProbeApp(inject)) as port, connected(port) as client:
        await client.send(request())
        data = await client.read_to_end()

    assert data.startswith(b"HTTP/1.1 500 ") or (server == "hypercorn" and data == b"")
    assert b"cookie" not in data


@both_servers
async def test_websocket_is_spoken(server: str) -> None:
    async def accept_and_echo(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"].upper()})
        await receive()

    key = base64.b64encode(bytes(16)).decode()
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    masked_hi = b"\x81\x82\x00\x00\x00\x00hi"

    async with serving(server, ProbeApp(accept_and_echo)) as port, connected(port) as client:
        await client.send(request("/chat", *upgrade))
        reply = await client.read_answer()
        await client.send(masked_hi)
        while len(client.unread) < 4:
            client.unread += await client.stream.receive_some()
        frame = client.unread

    assert (101, b"\x81\x02HI") == (reply.status, frame)


async def test_nothing_behind_refused_upgrade() -> None:
    """Handed over, a connection never comes back to HTTP/1.1: Hypercorn's laxer reader gets one request at most."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})

    app = ProbeApp(refuse)
    options = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA"]

    async with serving("lane", app) as port, connected(port) as client:
        await client.send(request("/", *options) + b"GET /smuggled HTTP/1.1\nHost: x\n\n")
        answered = await client.read_to_end()

    # Hypercorn's refusal of what is behind the handshake meets its answer to the handshake: one of them is sent whole,
    # or the connection ends.
    assert answered.count(b"HTTP/1.1 ") <= 1
    assert answered == b"" or answered.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 "))
    assert "/smuggled" not in [scope["path"] for scope in app.scopes]


@both_servers
@pytest.mark.parametrize("cut", [0, 3, 4, 17, 23])
async def test_http2_is_spoken(server: str, cut: int) -> None:
    data = HTTP2_PREFACE + HTTP2_SETTINGS

    async with serving(server, ProbeApp(say_hello)) as port, connected(port) as client:
        await client.send(data[:cut])
        await trio.testing.wait_all_tasks_blocked()
        await client.send(data[cut:])
        frame = await client.stream.receive_some()

    assert 0x04 == frame[3], "the first frame is SETTINGS"


@both_servers
@pytest.mark.parametrize(("offered", "agreed"), [(["http/1.1"], "http/1.1"), (["h2"], "h2")])
async def test_tls_is_spoken(server: str, offered: list[str], agreed: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(offered)
    app = ProbeApp(echo)

    async with serving(server, app, certfile=certificate, keyfile=key) as port, connected(port) as client:
        stream = trio.SSLStream(client.stream, context, server_hostname="localhost", https_compatible=True)
        await stream.send_all(request(method="POST", body=b"abc") if agreed == "http/1.1" else HTTP2_PREFACE)
        data = await stream.receive_some()

        assert agreed == stream.selected_alpn_protocol()
        assert data.startswith(b"HTTP/1.1 200") if agreed == "http/1.1" else data[3] == 0x04
        await stream.aclose()


def make_certificate(folder: Path) -> tuple[str, str]:
    """A certificate of localhost that vouches for itself, and its key: paths."""
    certificate, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += [*subject, "-days", "1", "-out", certificate, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@both_servers
async def test_lifespan_surrounds_requests(server: str) -> None:
    app = ProbeApp(say_hello)

    async with serving(server, app) as port:
        await ask(port, request())
        before = list(app.lifespan)

    assert (["lifespan.startup"], ["lifespan.startup", "lifespan.shutdown"]) == (before, app.lifespan)


async def test_application_that_fails_ends_its_server() -> None:
    fails = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            return await say_hello(scope, receive, send)
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await fails.wait()
        raise ValueError("a task of the application")

    statuses: list[int] = []

    async def serve() -> None:
        async with serving("lane", app) as port:
            statuses.append((await ask(port, request())).status)
            fails.set()
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as group:
        await serve()

    assert [200] == statuses
    assert group.group_contains(LifespanFailed, match="ended while it was served")
