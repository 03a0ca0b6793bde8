"""The hot path's edges: which requests are ours, how bodies are received, how a stream goes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from uuid import UUID

import orjson
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.domain.call import Call, StreamClient, WholeAnswer
from pg_trio.domain.chat import ChatRequest, Message, Usage
from pg_trio.domain.events import ContentDelta, Opened
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Caller, Candidate, Credential, Endpoint
from pg_trio.domain.server_link import EXTENSION, ClientSlot, ServerLink
from pg_trio.domain.stage_times import NO_TIMES, StageTimes
from pg_trio.errors import BodyTooLarge, ClientLeft, DeadlineExceeded, GatewayError, ProviderCallFailed
from pg_trio.recorder.facts import Settled
from pg_trio.surfaces import MatchedRoute
from pg_trio.surfaces.gateway import GATEWAY
from pg_trio.web.asgi import GatewayRoutes
from pg_trio.web.asgi_call import AsgiCall
from pg_trio.web.asgi_types import Scope
from pg_trio.web.head_template import HeadTemplate, Peer

PROJECT = "6f1c0000-0000-4000-8000-000000000001"


def scope(path: str, method: str = "POST", headers: Sequence[tuple[bytes, bytes]] = ()) -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "headers": list(headers),
    }


class Body:
    """An ASGI receive that gives these events, then waits for ever; counts how often it was asked."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = list(events)
        self.asked = 0

    async def __call__(self) -> dict[str, Any]:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if not self.events:
            await trio.sleep_forever()
        return self.events.pop(0)


def piece(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


DISCONNECT = {"type": "http.disconnect"}


def call(receive: Body, *headers: tuple[bytes, bytes]) -> AsgiCall:
    async def send(event: Any) -> None:
        raise AssertionError("nothing is sent here")

    head = HeadTemplate.read(headers, GATEWAY, MatchedRoute(PROJECT, "ask"), Peer()).make_head(0.0)
    return AsgiCall(head, GATEWAY, headers, receive, send, ServerLink(0.0))


async def test_body_in_pieces_is_joined(autojump_clock: MockClock) -> None:
    received = await call(Body(piece(b"ab", True), piece(b"", True), piece(b"c"))).receive_body(3)

    assert b"abc" == received


async def test_declared_length_over_limit_reads_nothing(autojump_clock: MockClock) -> None:
    body = Body(piece(b"x"))

    for declared in (b"4", b"9" * 20, b"9" * 5_000, b"-1", b"1e3"):
        with pytest.raises(BodyTooLarge):
            await call(body, (b"content-length", declared)).receive_body(3)

    assert 0 == body.asked


async def test_declared_length_may_begin_with_zeros(autojump_clock: MockClock) -> None:
    received = await call(Body(piece(b"abc")), (b"content-length", b"0" * 5_000 + b"3")).receive_body(3)

    assert b"abc" == received


async def test_body_that_came_with_its_head_has_the_limit_too(autojump_clock: MockClock) -> None:
    whole = call(Body())

    whole.link.body = b"abc"
    received = await whole.receive_body(3)
    whole.link.body = b"abcd"
    with pytest.raises(BodyTooLarge):
        await whole.receive_body(3)

    assert b"abc" == received


async def test_real_length_over_limit_stops(autojump_clock: MockClock) -> None:
    body = Body(piece(b"xxxx", True), piece(b"x"))

    with pytest.raises(BodyTooLarge):
        await call(body).receive_body(3)

    assert 1 == body.asked


async def test_leaving_in_mid_body_is_noticed(autojump_clock: MockClock) -> None:
    with pytest.raises(ClientLeft):
        await call(Body(piece(b"x", True), DISCONNECT)).receive_body(3)


async def never(*_: Any) -> None:
    raise AssertionError("not this application's route")


class Asker:
    """A gateway that receives the body and then waits; notes how it ended."""

    def __init__(self) -> None:
        self.received = trio.Event()
        self.cancelled = False

    def make_lasting_scope(self) -> AbstractContextManager[object]:
        return nullcontext()

    async def answer(self, call: Call, lasting: object = None) -> WholeAnswer | None:
        await call.receive_body(100)
        self.received.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled = True
            raise


async def test_leaving_cancels_the_work(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    left = trio.Event()
    asker = Asker()
    events = [piece(b"{}")]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop(0)
        await left.wait()
        return DISCONNECT

    async def send(event: Any) -> None:
        sent.append(event)

    routes = GatewayRoutes(never)
    routes.gateway = asker
    nursery.start_soon(routes, scope(f"/api/{PROJECT}/ask"), receive, send)
    await asker.received.wait()

    left.set()
    await wait_all_tasks_blocked()

    assert asker.cancelled
    assert [] == sent


REQUEST = ChatRequest((Message("user", "Hi"),), {})
ENDPOINT = Endpoint(UUID(int=1), "ask", "Ask", (Candidate(Credential("main", "openai", "http://127.0.0.1"), "gpt"),))


def open_stream(call: Call, streamer: Streamer, model: str) -> StreamClient:
    """The client's end of a stream whose first token has come."""
    client = call.open_stream(REQUEST, ENDPOINT, streamer, None)
    client.name_source("openai", model)
    return client


class Streamer(Asker):
    """A gateway that streams a whole answer, and has something left to do."""

    caller: Caller | None = None
    settled: Settled | None = None

    def __init__(self) -> None:
        super().__init__()
        self.attempts = Attempts(0)
        self.verdicts: Sequence[GuardrailVerdict] = ()
        self.tells_verdicts = False
        self.is_done = False

    def times_so_far(self) -> StageTimes:
        return NO_TIMES

    async def answer(self, call: Call, lasting: object = None) -> WholeAnswer | None:
        await call.receive_body(100)
        await open_stream(call, self, "gpt").finish("stop", Usage(1, 1))
        await trio.sleep(1)
        self.is_done = True
        return None


async def test_leaving_after_the_last_byte_cancels_nothing(autojump_clock: MockClock) -> None:
    streamer, events, sent = Streamer(), [piece(b"{}")], list[Any]()

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop(0)
        # A server says so, too, once it has sent everything.
        await trio.sleep(0.5)
        return DISCONNECT

    async def send(event: Any) -> None:
        sent.append(event)

    routes = GatewayRoutes(never)
    routes.gateway = streamer
    await routes(scope(f"/api/{PROJECT}/ask"), receive, send)

    assert streamer.is_done
    assert [False] == [event["more_body"] for event in sent if event["type"] == "http.response.body"]


@pytest.mark.parametrize("bug", [RuntimeError("bug"), DeadlineExceeded(1)])
async def test_bug_in_a_stream_is_no_second_answer(autojump_clock: MockClock, bug: Exception) -> None:
    """The server closes the connection then, and the client sees that the stream was cut."""

    class Breaker(Streamer):
        async def answer(self, call: Call, lasting: object = None) -> WholeAnswer | None:
            await call.receive_body(100)
            await open_stream(call, self, "gpt\r\n").send_keep_alive()
            raise bug

    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    routes = GatewayRoutes(never)
    routes.gateway = Breaker()
    with pytest.RaisesGroup(type(bug)):
        await routes(scope(f"/api/{PROJECT}/ask"), Body(piece(b"{}")), send)

    assert ["http.response.start", "http.response.body"] == [event["type"] for event in sent]
    assert sent[1]["more_body"]
    assert b"gpt??" == dict(sent[0]["headers"])[b"x-pg-model"]


class Thinker(Streamer):
    """A gateway that sends a head before a candidate has answered, and then this end."""

    def __init__(self, error: GatewayError | None) -> None:
        super().__init__()
        self.error = error

    async def answer(self, call: Call, lasting: object = None) -> WholeAnswer | None:
        await call.receive_body(100)
        client = call.open_stream(REQUEST, ENDPOINT, self, None)
        await client.send_keep_alive()
        if self.error is not None:
            await client.fail(self.error)
            return None
        client.name_source("groq", "llama")
        await client.send_events([Opened("chatcmpl-1", "llama-3"), ContentDelta("Hi")])
        await client.finish("stop", Usage(1, 1))
        return None


async def stream_of(gateway: Any) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The head's fields, and the parts of the body."""
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    routes = GatewayRoutes(never)
    routes.gateway = gateway
    await routes(scope(f"/api/{PROJECT}/ask"), Body(piece(b"{}")), send)
    return dict(sent[0]["headers"]), [event["body"] for event in sent[1:]]


async def test_early_head_names_nobody(autojump_clock: MockClock) -> None:
    head, (comment, token, end) = await stream_of(Thinker(None))

    assert [] == [name for name in head if name.startswith(b"x-pg-")]
    assert (b"text/event-stream; charset=utf-8", True) == (head[b"content-type"], b"x-request-id" in head)
    assert (b": keep-alive\n\n", True) == (comment, b'"content":"Hi"' in token)
    meta = orjson.loads(end.split(b"\n\n")[1].removeprefix(b"data: "))["meta"]
    assert ("groq", "llama", 0) == (meta["provider"], meta["model"], meta["attempts"])


async def test_failure_after_an_early_head_is_a_chunk_of_ours(autojump_clock: MockClock) -> None:
    _, (_, end) = await stream_of(Thinker(ProviderCallFailed("HTTP 503")))

    chunk, error, done, _ = end.split(b"\n\n")
    shape = orjson.loads(chunk.removeprefix(b"data: "))
    assert ["id", "object", "created", "model", "choices"] == list(shape)
    assert ("gpt", "error") == (shape["model"], shape["choices"][0]["finish_reason"])
    assert shape["id"].startswith("chatcmpl-")
    assert b'event: error\ndata: {"ok":false,"error":"Provider call failed: HTTP 503"}' == error
    assert b"data: [DONE]" == done


class Noter:
    """A gateway that notes who asked for what, and answers nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, Sequence[str], object]] = []
        self.scopes: list[object] = []
        self.addresses: list[str | None] = []

    @contextmanager
    def make_lasting_scope(self) -> Iterator[object]:
        self.scopes.append(object())
        yield self.scopes[-1]

    async def answer(self, call: Call, lasting: object = None) -> WholeAnswer | None:
        self.asked.append((call.head.slug, call.head.authorization, lasting))
        self.addresses.append(call.head.origin.client_address)
        return None


class LikeHead:
    """What our server calls alike."""


async def test_like_heads_of_other_connections_are_recalled() -> None:
    noter, alike = Noter(), LikeHead()
    routes = GatewayRoutes(PathProbe())
    routes.gateway = noter

    async def send(event: Any) -> None:
        raise AssertionError("nothing is answered")

    async def ask(path: str, address: str) -> None:
        asked = scope(path, headers=[(b"authorization", b"Bearer a")])
        link = ServerLink(1.0)
        link.client, link.alike, link.body = ClientSlot(), alike, b"{}"
        asked["extensions"], asked["client"] = {EXTENSION: link}, (address, 1)
        await routes(asked, Body(), send)

    await ask(f"/api/{PROJECT}/ask", "192.0.2.1")
    # As our server would never call it, so that it shows which head was read.
    await ask(f"/api/{PROJECT}/not-looked-at", "192.0.2.1")
    await ask(f"/api/{PROJECT}/ask", "192.0.2.2")

    assert ["ask", "ask", "ask"] == [slug for slug, *_ in noter.asked]
    assert ["192.0.2.1", "192.0.2.1", "192.0.2.2"] == noter.addresses
    # Each connection has its own scope.
    assert 3 == len(set(map(id, noter.scopes)))


async def test_only_like_heads_are_recalled() -> None:
    noter, inner = Noter(), []
    slot = ClientSlot()
    first, second = LikeHead(), LikeHead()

    async def send(event: Any) -> None:
        raise AssertionError("nothing is answered")

    async def note_inner(scope: Scope, *_: Any) -> None:
        inner.append(scope["path"])

    routes = GatewayRoutes(note_inner)
    routes.gateway = noter

    async def ask(path: str, token: bytes, alike: object) -> None:
        asked = scope(path, headers=[(b"authorization", token)])
        link = ServerLink(1.0)
        link.client, link.alike, link.body = slot, alike, b"{}"
        asked["extensions"] = {EXTENSION: link}
        await routes(asked, Body(), send)

    await ask(f"/api/{PROJECT}/ask", b"Bearer a", first)
    # As our server would never call it, so that it shows: what was asked first is known by its head alone.
    await ask("/not/looked/at", b"not looked at", first)
    await ask("/healthz", b"Bearer a", second)
    await ask("/healthz", b"Bearer a", second)
    await ask(f"/api/{PROJECT}/other", b"Bearer b", second)
    await ask(f"/api/{PROJECT}/third", b"Bearer c", None)
    await ask(f"/api/{PROJECT}/fourth", b"Bearer d", None)

    (lasting,) = noter.scopes
    expected = [("ask", "a"), ("ask", "a"), ("other", "b"), ("third", "c"), ("fourth", "d")]
    assert [(slug, [f"Bearer {token}"], lasting) for slug, token in expected] == noter.asked
    assert ["/healthz", "/healthz"] == inner


class PathProbe:
    """An application that notes what reaches it, and answers nothing."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, *_: Any) -> None:
        self.paths.append(scope["path"])


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["//healthz", "/healthz//", f"//api/{PROJECT}/info", "/%68ealthz", "/a%2Fb", "/%"])
async def test_encoded_and_doubled_paths_are_no_routes(path: str, method: str) -> None:
    probe, sent = PathProbe(), list[Any]()

    async def send(event: Any) -> None:
        sent.append(event)

    await GatewayRoutes(probe)(scope(path, method), Body(), send)

    body = b"" if method == "HEAD" else b'{"ok":false,"error":"Not found."}'
    assert ([], 404, body) == (probe.paths, sent[0]["status"], sent[1]["body"])
    assert {b"x-request-id", b"content-type"} <= dict(sent[0]["headers"]).keys()
    assert b"no-store" == dict(sent[0]["headers"])[b"cache-control"]


@pytest.mark.parametrize("path", ["/healthz", "/healthz?next=%2F//", "/", f"/api/{PROJECT}/info", "/readyz/"])
async def test_other_paths_reach_the_application(path: str) -> None:
    probe = PathProbe()

    await GatewayRoutes(probe)(scope(path, "GET"), Body(), never)

    assert [path] == probe.paths


async def test_path_is_looked_at_where_no_raw_one_is_given() -> None:
    probe, asked = PathProbe(), scope("//healthz", "GET")
    del asked["raw_path"]

    async def send(event: Any) -> None:
        assert 404 == event.get("status", 404)

    await GatewayRoutes(probe)(asked, Body(), send)

    assert [] == probe.paths
