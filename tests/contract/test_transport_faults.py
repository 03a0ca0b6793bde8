"""What both transports make of a peer that fails, at each phase of an exchange.

Where httpx is laxer than the direct transport, the test says so with an expectation of its own.
"""

from __future__ import annotations

import errno
import socket
import tracemalloc
from collections.abc import Callable

import pytest
import trio
import trio.testing
from attrs import evolve

from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import AttemptFailed, OutOfResources, UpstreamBroken, UpstreamNonsense, UpstreamUnreachable
from pg_trio.stages.provider_call.exchange import read_whole
from tests.contract.conftest import SMALL, Caller, Certificates, Serve
from tests.contract.fault_server import (
    LIMIT_S,
    Peer,
    answer_with,
    answers,
    answers_once,
    answers_together,
    closes_after,
    resets_after,
)
from tests.support.files import no_files_left

GOOD = answer_with(b"good")
HEAD_OF_TEN = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
# For a request to reach the server, also on a busy machine.
ENOUGH_S = 1.0
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def reset_at_once(peer: Peer) -> None:
    await peer.reset()


# ── the connection ends ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_reset_before_request_is_broken(caller: Caller, serve: Serve) -> None:
    server = await serve(reset_at_once)

    # The reset may overtake the connecting itself; either way it is a failure that starts the next candidate.
    with pytest.raises((UpstreamBroken, UpstreamUnreachable)):
        await caller.fetch(server.url)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((), id="after-request"),
        pytest.param((b"HTTP/1.1 200 OK\r\ncontent-le",), id="in-head"),
        pytest.param((HEAD_OF_TEN,), id="after-head"),
        pytest.param((HEAD_OF_TEN + b"half",), id="in-body"),
        pytest.param((CHUNKED_HEAD + b"4\r\nha",), id="in-chunk"),
        pytest.param((CHUNKED_HEAD + b"4\r\nhalf\r\n",), id="between-chunks"),
        pytest.param((CHUNKED_HEAD + b"4\r\nhalf\r\n0\r\n",), id="before-last-line"),
    ],
)
@pytest.mark.parametrize("end", [closes_after, resets_after])
async def test_early_end_is_broken(end: type, pieces: tuple[bytes, ...], caller: Caller, serve: Serve) -> None:
    server = await serve(end(*pieces), answers(GOOD))

    with pytest.raises(UpstreamBroken):
        await caller.fetch(server.url)

    assert b"good" == (await caller.fetch(server.url)).body
    assert 2 == len(server.peers)


async def test_reset_breaks_answer_without_length(caller: Caller, serve: Serve) -> None:
    server = await serve(resets_after(b"HTTP/1.1 200 OK\r\n\r\nhalf"))

    with pytest.raises(UpstreamBroken):
        await caller.fetch(server.url)


# ── not HTTP, or two readings of it ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another-protocol"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x50", id="tls-alert"),
        pytest.param(b"HTTP/1.1 2x0 OK\r\n\r\n", id="status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", id="header"),
        pytest.param(CHUNKED_HEAD + b"zz\r\n", id="chunk-size"),
        pytest.param(CHUNKED_HEAD + b"-1\r\nx\r\n", id="negative-chunk-size"),
        pytest.param(CHUNKED_HEAD + b"2\r\nabc\r\n0\r\n\r\n", id="chunk-longer-than-size"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\ngood!", id="two-lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\ngood", id="negative-length"),
    ],
)
async def test_broken_http_is_broken(pieces: bytes, caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(pieces), answers(GOOD))

    with pytest.raises(UpstreamBroken):
        await caller.fetch(server.url)

    await server.wait_all_gone()
    assert b"good" == (await caller.fetch(server.url)).body


# Direct only: h11 counts in Python's integers, which do not overflow, and waits for the chunk.
@pytest.mark.parametrize("make_caller", ["direct"], indirect=True)
async def test_chunk_size_overflow_is_broken(caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(CHUNKED_HEAD + b"fffffffffffffffff\r\nx"))

    with pytest.raises(UpstreamBroken):
        await caller.fetch(server.url)
    await server.wait_all_gone()


async def test_unasked_upgrade_is_broken(caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n\0\0\0"))

    with pytest.raises(UpstreamBroken):
        await caller.fetch(server.url)


@pytest.mark.parametrize(
    "pieces",
    [
        # The chunks win, as RFC 9112 (6.3) has it.
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",
            id="length-and-chunks",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\ngood", id="same-length-twice"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 4, 4\r\n\r\ngood", id="length-list"),
        pytest.param(b"HTTP/1.1 200 OK\ncontent-length: 4\n\ngood", id="bare-line-feeds"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 4\r\n\r\ngood", id="folded-header"),
    ],
)
async def test_odd_http_is_read_where_one_reading_is_possible(pieces: bytes, caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(pieces))

    assert b"good" == (await caller.fetch(server.url)).body


# Direct only: h11 keeps the connection.
@pytest.mark.parametrize("make_caller", ["direct"], indirect=True)
async def test_connection_of_odd_http_is_not_used_again(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(b"HTTP/1.1 200 OK\ncontent-length: 4\n\ngood"))

    bodies = [(await caller.fetch(server.url)).body for _ in range(2)]

    assert [b"good", b"good"] == bodies
    assert 2 == len(server.peers)


async def test_excess_is_not_next_answer(caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(GOOD + answer_with(b"smuggled")), answers(GOOD))

    bodies = [(await caller.fetch(server.url)).body for _ in range(2)]

    if caller.name == "httpx":
        # httpcore 1.0.9 keeps what h11 had read too much and takes it for the next call's answer. Only a provider that
        # breaks HTTP does this to its own callers; it is one of the reasons why `direct` is the default.
        assert [b"good", b"smuggled"] == bodies
        return
    assert [b"good", b"good"] == bodies
    assert [1, 1] == [len(peer.requests) for peer in server.peers]


@pytest.mark.parametrize("is_tls", [False, True])
async def test_later_garbage_discards_connection(
    is_tls: bool, tls_caller: Caller, serve: Serve, certificates: Certificates
) -> None:
    go_on = trio.Event()
    garbage_sent = trio.Event()

    async def answer_then_garbage(peer: Peer) -> None:
        await peer.answer(GOOD)
        await go_on.wait()
        await peer.send(answer_with(b"smuggled"))
        garbage_sent.set()
        await peer.wait_gone()

    server = await serve(answer_then_garbage, answers(GOOD), tls=certificates.server_context() if is_tls else None)

    first = await tls_caller.fetch(server.url)
    go_on.set()
    await garbage_sent.wait()
    second = await tls_caller.fetch(server.url)

    assert (b"good", b"good") == (first.body, second.body)
    assert [1, 1] == [len(peer.requests) for peer in server.peers]


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_huge_head_is_refused(caller: Caller, serve: Serve) -> None:
    huge = b"HTTP/1.1 200 OK\r\n" + b"x-padding: %s\r\n" % (b"x" * 1000) * 200

    server = await serve(answers_once(huge))

    # h11 has a limit of its own (100 KiB, not ours to set) and calls it broken.
    expected = UpstreamBroken if caller.name == "httpx" else UpstreamNonsense
    with pytest.raises(expected):
        await caller.fetch(server.url)
    await server.wait_all_gone()


# Direct only: httpx skips interim answers for as long as they come; the attempt's limit ends it.
@pytest.mark.parametrize("make_caller", ["direct"], indirect=True)
async def test_endless_interim_answers_are_refused(caller: Caller, serve: Serve) -> None:
    async def chatter(peer: Peer) -> None:
        await peer.read_request()
        while True:
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    server = await serve(chatter)

    with pytest.raises(UpstreamNonsense):
        await caller.fetch(server.url)
    await server.wait_all_gone()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n", CHUNKED_HEAD])
async def test_huge_body_is_refused(head: bytes, caller: Caller, serve: Serve) -> None:
    chunk = bytes(64 * 1024)

    async def flood(peer: Peer) -> None:
        await peer.answer(head)
        for _ in range(1600):
            await peer.send(b"10000\r\n" + chunk + b"\r\n" if head is CHUNKED_HEAD else chunk)

    server = await serve(flood)
    tracemalloc.start()
    try:
        with pytest.raises(UpstreamNonsense):
            await caller.fetch(server.url)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    await server.wait_all_gone()
    assert peak_bytes < 8 * SMALL.max_body_bytes


async def test_stream_has_a_limit_of_its_own(make_caller: Callable[..., Caller], serve: Serve) -> None:
    caller = make_caller(evolve(SMALL, max_stream_bytes=2 * SMALL.max_body_bytes))
    at_limit, over_limit = bytes(2 * SMALL.max_body_bytes), bytes(2 * SMALL.max_body_bytes + 1)

    async def stream_ever_longer(peer: Peer) -> None:
        for body in (at_limit, at_limit, over_limit):
            await peer.answer(answer_with(body))
        await peer.wait_gone()

    server = await serve(stream_ever_longer)

    fetched = [await caller.fetch(server.url, is_stream=True) for _ in range(2)]
    with pytest.raises(UpstreamNonsense):
        await caller.fetch(server.url, is_stream=True)

    assert [at_limit, at_limit] == [one.body for one in fetched]
    assert [3] == [len(peer.requests) for peer in server.peers]
    await caller.transport.aclose()


async def test_whole_answer_has_no_streams_limit(make_caller: Callable[..., Caller], serve: Serve) -> None:
    caller = make_caller(evolve(SMALL, max_stream_bytes=2 * SMALL.max_body_bytes))
    server = await serve(answers(answer_with(bytes(SMALL.max_body_bytes + 1))))

    with pytest.raises(UpstreamNonsense):
        await caller.fetch(server.url)

    await caller.transport.aclose()


# Direct only: h11 bounds trailers at 100 KiB by a limit of its own.
@pytest.mark.parametrize("make_caller", ["direct"], indirect=True)
async def test_huge_trailers_are_refused(caller: Caller, serve: Serve) -> None:
    async def trail(peer: Peer) -> None:
        await peer.answer(CHUNKED_HEAD + b"4\r\ngood\r\n0\r\n")
        while True:
            await peer.send(b"x-trailer: %s\r\n" % (b"x" * 4000))

    server = await serve(trail)

    with pytest.raises(UpstreamNonsense):
        await caller.fetch(server.url)
    await server.wait_all_gone()


# ── slow ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_slow_head_is_the_callers_to_limit(caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(b"HTTP/1.1 200 OK\r\n"), answers(GOOD))

    with trio.move_on_after(ENOUGH_S) as limit:
        await caller.fetch(server.url)

    assert limit.cancelled_caught
    await server.wait_all_gone()
    assert b"good" == (await caller.fetch(server.url)).body


async def test_slow_body_is_the_callers_to_limit(caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(HEAD_OF_TEN + b"half"), answers(GOOD))

    with trio.move_on_after(ENOUGH_S) as limit:
        await caller.fetch(server.url)

    assert limit.cancelled_caught
    await server.wait_all_gone()
    assert b"good" == (await caller.fetch(server.url)).body


async def test_patience_is_the_callers(mock_clock: trio.testing.MockClock, caller: Caller, serve: Serve) -> None:
    async def think_for_an_hour(peer: Peer) -> None:
        await peer.read_request()
        for piece in (HEAD_OF_TEN, b"first", b"later"):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(3600)
            # Whoever has a limit meets it here, before there is anything to read.
            await trio.testing.wait_all_tasks_blocked()
            await peer.send(piece)
        await peer.wait_gone()

    server = await serve(think_for_an_hour)

    response = await caller.transport.open_response(WireRequest(server.url, [], b"{}", allow_private_addresses=True))
    body = await read_whole(response)
    await response.aclose()

    assert b"firstlater" == body


async def test_early_answer_ends_sending(caller: Caller, serve: Serve) -> None:
    async def refuse_early(peer: Peer) -> None:
        # Not a byte is read: the body cannot have been sent whole, nor can it ever be.
        await peer.send(answer_with(b"too big", status="413 Payload Too Large"))
        await trio.sleep_forever()

    server = await serve(refuse_early, answers(GOOD))

    if caller.name == "httpx":
        # httpx sends the body to its end first: only the caller's limit ends this.
        with trio.move_on_after(ENOUGH_S) as limit:
            await caller.fetch(server.url, bytes(16 * 1024 * 1024))
        assert limit.cancelled_caught
    else:
        fetched = await caller.fetch(server.url, bytes(16 * 1024 * 1024))
        assert (413, b"too big") == (fetched.status, fetched.body)

    assert b"good" == (await caller.fetch(server.url)).body
    assert 2 == len(server.peers)


async def test_early_answer_survives_closed_writing(caller: Caller, serve: Serve) -> None:
    async def refuse_and_close(peer: Peer) -> None:
        await peer.send(answer_with(b"too big", status="413 Payload Too Large"))
        await peer.stream.aclose()

    server = await serve(refuse_and_close)

    # The reset that follows may overtake the answer in the kernel: both are failures of this provider, none hangs.
    try:
        fetched = await caller.fetch(server.url, bytes(16 * 1024 * 1024))
    except AttemptFailed:
        pass
    else:
        assert (413, b"too big") == (fetched.status, fetched.body)


# ── reuse ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_reused_connection_is_retried_once(caller: Caller, serve: Serve) -> None:
    async def die_at_second_request(peer: Peer) -> None:
        await peer.answer(GOOD)
        await peer.read_request()
        await peer.stream.aclose()

    server = await serve(die_at_second_request, answers(GOOD))
    await caller.fetch(server.url)

    if caller.name == "httpx":
        # httpx does not say whether a byte had come, so nothing is sent twice: the race fails over.
        with pytest.raises(UpstreamBroken):
            await caller.fetch(server.url)
        return

    assert b"good" == (await caller.fetch(server.url)).body
    assert [2, 1] == [len(peer.requests) for peer in server.peers]


async def test_fresh_connection_is_not_retried(caller: Caller, serve: Serve) -> None:
    async def die_at_second_request(peer: Peer) -> None:
        await peer.answer(GOOD)
        await peer.read_request()
        await peer.stream.aclose()

    server = await serve(die_at_second_request, closes_after())
    await caller.fetch(server.url)

    with pytest.raises(UpstreamBroken):
        await caller.fetch(server.url)

    expected = [2] if caller.name == "httpx" else [2, 1]
    assert expected == [len(peer.requests) for peer in server.peers]


async def test_half_answer_is_not_retried(caller: Caller, serve: Serve) -> None:
    async def die_in_second_answer(peer: Peer) -> None:
        await peer.answer(GOOD)
        await peer.answer(b"H")
        await peer.stream.aclose()

    server = await serve(die_in_second_answer, answers(GOOD))
    await caller.fetch(server.url)

    with pytest.raises(UpstreamBroken):
        await caller.fetch(server.url)

    assert 1 == len(server.peers)


async def test_closed_idle_connection_is_not_used(caller: Caller, serve: Serve) -> None:
    server = await serve(closes_after(GOOD), answers(GOOD))
    await caller.fetch(server.url)
    await server.wait_all_gone()

    assert b"good" == (await caller.fetch(server.url)).body

    assert [1, 1] == [len(peer.requests) for peer in server.peers]


async def test_abandoned_answer_closes_connection(caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(HEAD_OF_TEN + b"half"))

    response = await caller.transport.open_response(WireRequest(server.url, [], b"{}", allow_private_addresses=True))
    first = await response.receive_some()
    await response.aclose()

    assert b"half" == first
    await server.wait_all_gone()


async def test_closing_works_under_cancellation(caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(HEAD_OF_TEN + b"half"))
    response = await caller.transport.open_response(WireRequest(server.url, [], b"{}", allow_private_addresses=True))

    with trio.CancelScope() as scope:
        scope.cancel()
        await response.aclose()

    await server.wait_all_gone()


async def test_closed_transport_breaks_open_answers(caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(HEAD_OF_TEN + b"half"))
    response = await caller.transport.open_response(WireRequest(server.url, [], b"{}", allow_private_addresses=True))
    await response.receive_some()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.transport.aclose)
            with pytest.raises(UpstreamBroken):
                await response.receive_some()
        await response.aclose()

    await server.wait_all_gone()


async def test_closed_transport_breaks_a_call_that_sends(caller: Caller, serve: Serve) -> None:
    is_sending = trio.Event()

    async def read_one_byte(peer: Peer) -> None:
        await peer.stream.receive_some(1)
        is_sending.set()
        await trio.sleep_forever()

    server = await serve(read_one_byte)

    async def close_soon() -> None:
        await is_sending.wait()
        await trio.testing.wait_all_tasks_blocked()
        await caller.transport.aclose()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close_soon)
            with pytest.raises(UpstreamBroken):
                await caller.fetch(server.url, bytes(16 * 1024 * 1024))


async def test_no_call_waits_for_another(caller: Caller, serve: Serve) -> None:
    # More than the limits that HTTP clients come with (httpx: 100).
    server = await serve(answers_together(110, GOOD))
    bodies: list[bytes] = []

    async def call() -> None:
        request = WireRequest(server.url, [], b"{}", allow_private_addresses=True)
        response = await caller.transport.open_response(request)
        bodies.append(await read_whole(response))
        await response.aclose()

    with trio.fail_after(3 * LIMIT_S):
        async with trio.open_nursery() as nursery:
            for _ in range(110):
                nursery.start_soon(call)

    assert [b"good"] * 110 == bodies


# ── connecting ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_refused_connection_is_unreachable(caller: Caller, unused_port: int) -> None:
    with pytest.raises(UpstreamUnreachable):
        await caller.fetch(f"http://localhost:{unused_port}/")


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"],
)
async def test_private_address_is_refused_before_connecting(host: str, caller: Caller, serve: Serve) -> None:
    server = await serve(answers(GOOD))

    with pytest.raises(UpstreamUnreachable, match="not public"):
        await caller.fetch(server.url.replace("localhost", host), allow_private=False)

    assert [] == server.peers


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]"])
async def test_every_spelling_of_an_allowed_address_is_reached(host: str, caller: Caller, serve: Serve) -> None:
    server = await serve(answers(GOOD))

    assert b"good" == (await caller.fetch(server.url.replace("localhost", host))).body


@pytest.mark.parametrize("host", ["256.1.1.1", "08.1", "a..b", "a" * 64, "[::1", "[fe80::1%25lo]", "x y"])
@pytest.mark.parametrize("allow_private", [False, True])
async def test_host_that_is_none_is_unreachable(host: str, allow_private: bool, caller: Caller) -> None:
    with pytest.raises(UpstreamUnreachable):
        await caller.fetch(f"http://{host}:9/", allow_private=allow_private)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]"])
async def test_lack_of_files_is_our_own(host: str, caller: Caller, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    url = server.url.replace("localhost", host)
    # The first look-up loads what later ones use.
    assert b"good" == (await caller.fetch(url, headers=[("connection-id", "1")])).body
    await caller.transport.aclose()
    fresh = type(caller.transport)(SMALL)
    request = WireRequest(url, (), b"{}", "POST", True)

    with no_files_left(), pytest.raises(OutOfResources) as caught:
        await fresh.open_response(request)

    assert {"Retry-After": "1"} == caught.value.headers()
    assert 1 == len(server.peers)
    response = await fresh.open_response(request)
    assert b"good" == await read_whole(response)
    await response.aclose()
    await fresh.aclose()


@pytest.mark.parametrize("said", [OSError(errno.EBUSY, "busy"), socket.gaierror(socket.EAI_AGAIN, "again")])
async def test_look_up_without_files_is_our_own(said: OSError, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(*_: object, **__: object) -> object:
        raise said

    monkeypatch.setattr(trio.socket, "getaddrinfo", look_up)

    with no_files_left(), pytest.raises(OutOfResources):
        await caller.fetch("http://provider.test:9/", allow_private=True)
    with pytest.raises(UpstreamUnreachable):
        await caller.fetch("http://provider.test:9/", allow_private=True)


@pytest.mark.parametrize("lack", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_lack_while_connecting_is_our_own(lack: int, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking(socket.socket):
        def connect_ex(self, address: object) -> int:
            return lack

    monkeypatch.setattr("pg_trio.transport.connect.socket.socket", Lacking)

    with pytest.raises(OutOfResources):
        await caller.fetch("http://127.0.0.1:9/")


async def test_idle_private_connection_is_not_shared(caller: Caller, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    await caller.fetch(server.url, allow_private=True)

    with pytest.raises(UpstreamUnreachable):
        await caller.fetch(server.url, allow_private=False)


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_tls_connection_is_reused(tls_caller: Caller, serve: Serve, certificates: Certificates) -> None:
    server = await serve(answers(GOOD), tls=certificates.server_context())

    bodies = [(await tls_caller.fetch(server.url)).body for _ in range(3)]

    assert [b"good"] * 3 == bodies
    assert [3] == [len(peer.requests) for peer in server.peers]


async def test_cut_idle_tls_connection_is_not_used(
    tls_caller: Caller, serve: Serve, certificates: Certificates
) -> None:
    async def answer_and_vanish(peer: Peer) -> None:
        await peer.answer(GOOD)

    server = await serve(answer_and_vanish, answers(GOOD), tls=certificates.server_context())
    await tls_caller.fetch(server.url)
    await server.wait_all_gone()

    assert b"good" == (await tls_caller.fetch(server.url)).body

    assert [1, 1] == [len(peer.requests) for peer in server.peers]


async def test_large_bodies_pass_tls(tls_caller: Caller, serve: Serve, certificates: Certificates) -> None:
    body = bytes(range(256)) * 4000
    server = await serve(answers(answer_with(body)), tls=certificates.server_context())

    fetched = await tls_caller.fetch(server.url, bytes(8 * 1024 * 1024))

    assert body == fetched.body
    assert len(server.peers[0].requests[0]) > 8 * 1024 * 1024


async def test_unknown_authority_is_unreachable(caller: Caller, serve: Serve, certificates: Certificates) -> None:
    server = await serve(answers(GOOD), tls=certificates.server_context())

    with pytest.raises(UpstreamUnreachable, match="self-signed certificate"):
        await caller.fetch(server.url)

    assert [] == server.peers[0].requests


async def test_other_host_name_is_unreachable(tls_caller: Caller, serve: Serve, certificates: Certificates) -> None:
    server = await serve(answers(GOOD), tls=certificates.server_context())

    with pytest.raises(UpstreamUnreachable, match="IP address mismatch"):
        await tls_caller.fetch(server.url.replace("localhost", "127.0.0.1"))

    assert [] == server.peers[0].requests


async def test_plain_server_is_no_tls(impatient_caller: Caller, serve: Serve) -> None:
    server = await serve(answers_once(GOOD))

    with pytest.raises(UpstreamUnreachable):
        await impatient_caller.fetch(server.url.replace("http:", "https:"))
    await server.wait_all_gone()


async def test_silent_handshake_is_unreachable(impatient_caller: Caller, serve: Serve) -> None:
    async def stay_silent(peer: Peer) -> None:
        await peer.wait_gone()

    server = await serve(stay_silent)

    with pytest.raises(UpstreamUnreachable):
        await impatient_caller.fetch(server.url.replace("http:", "https:"))
    await server.wait_all_gone()


async def test_cut_tls_breaks_answer_without_length(
    tls_caller: Caller, serve: Serve, certificates: Certificates
) -> None:
    async def cut(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await trio.aclose_forcefully(peer.stream)

    server = await serve(cut, tls=certificates.server_context())

    if tls_caller.name == "httpx":
        # httpx asks for HTTPS as browsers do it: a missing TLS goodbye passes for an end.
        assert b"half" == (await tls_caller.fetch(server.url)).body
    else:
        with pytest.raises(UpstreamBroken):
            await tls_caller.fetch(server.url)
