"""A surface is one file: a toy of one, served beside the Gateway API by the whole gateway.

The toy speaks plain text. `POST /toy/{project}/{slug}` with a question as its body is answered with the answer's text;
with `X-Toy-Stream: yes` line by line, each beginning with `+`, the last with `.` (whole) or `!` (broken).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from uuid import UUID

import pytest
import trio

from pg_trio.domain.call import ReadLimits, RequestHead, WholeAnswer
from pg_trio.domain.chat import ChatRequest, FinishReason, Message, Usage
from pg_trio.domain.events import ContentDelta, Event
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import Endpoint
from pg_trio.errors import BadRequest, GatewayError
from pg_trio.surfaces import SURFACES, HeaderList, HttpAnswer, MatchedRoute, StreamSummary, SurfaceDefaults, Tries
from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, read_response, send_raw


class ToyStream:
    headers: ClassVar[HeaderList] = [(b"content-type", b"text/x-toy")]
    keep_alive: ClassVar[bytes] = b"\n"

    def render(self, events: Sequence[Event]) -> bytes:
        return b"".join([b"+%b\n" % event.text.encode() for event in events if isinstance(event, ContentDelta)])

    def finish(self, finish_reason: FinishReason, usage: Usage, summary: StreamSummary) -> bytes:
        return f".{finish_reason} {usage.completion_tokens} {summary.provider} {summary.attempts}\n".encode()

    def fail(self, error: GatewayError) -> bytes:
        return f"!{error.text}\n".encode()


class ToySurface(SurfaceDefaults):
    name = "toy"
    roots = (b"toy",)
    head_fields = (b"x-toy-stream",)

    def __init__(self) -> None:
        self.heads: list[RequestHead] = []

    def match(self, method: str, path: bytes) -> MatchedRoute | None:
        segments = path.decode("ascii").split("/")
        return MatchedRoute(segments[2], segments[3]) if method == "POST" and len(segments) == 4 else None

    def check_head(self, head: RequestHead) -> None:
        self.heads.append(head)
        if head.content_type != "text/plain":
            raise BadRequest("The toy reads text.")

    def read(self, body: bytes, limits: ReadLimits, head: RequestHead) -> ChatRequest:
        if not body:
            raise BadRequest("The toy needs a question.")
        return ChatRequest((Message("user", body.decode()),), {}, stream=head.fields.get(b"x-toy-stream") == b"yes")

    def render_answer(self, answer: WholeAnswer, limits: Sequence[LimitState]) -> HttpAnswer:
        return HttpAnswer(200, b"content-type: text/plain\r\n", (answer.reply.content or "").encode())

    def render_error(
        self, error: GatewayError, request_id: UUID, limits: Sequence[LimitState] = (), tries: Tries | None = None
    ) -> HttpAnswer:
        tried = 0 if tries is None else len(tries.attempts)
        return HttpAnswer(error.status, b"content-type: text/plain\r\n", f"{error.text} ({tried} tried)".encode())

    def open_stream(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> ToyStream:
        return ToyStream()


CONFIGURATION = project() + endpoint("plain") + endpoint("live", streaming_enabled=True)


@pytest.fixture
def toy() -> ToySurface:
    return ToySurface()


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest, toy: ToySurface) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param, surfaces=(*SURFACES, toy))


async def ask(gateway: Gateway, slug: str, body: bytes, *headers: tuple[str, str]) -> HttpResponse:
    fields = (bearer(gateway.token), ("content-type", "text/plain"), *headers)
    return await send_raw(gateway.port, post(f"/toy/{PROJECT}/{slug}", body, *fields))


async def test_toy_answers_whole(gateway: Gateway, toy: ToySurface) -> None:
    gateway.simulator.behave("plain", content="Because.")

    answer = await ask(gateway, "plain", b"Why?", ("traceparent", "00-1-2-3"))

    assert (200, "text/plain", b"Because.") == (answer.status, answer.headers["content-type"], answer.body)
    assert ("toy", "00-1-2-3") == (toy.heads[0].origin.surface, toy.heads[0].origin.traceparent)


async def test_toy_streams(gateway: Gateway) -> None:
    answer = await ask(gateway, "live", b"Why?", ("x-toy-stream", "yes"))

    *parts, end, _ = answer.body.split(b"\n")
    assert ("text/x-toy", True) == (answer.headers["content-type"], "x-request-id" in answer.headers)
    assert parts
    assert all(part.startswith(b"+") for part in parts)
    assert end.startswith(b".stop ")
    assert end.endswith(b" openai 1")


async def test_toy_says_how_a_stream_broke(gateway: Gateway) -> None:
    gateway.simulator.behave("live", "fault=cut:2")

    answer = await ask(gateway, "live", b"Why?", ("x-toy-stream", "yes"))

    *parts, end, _ = answer.body.split(b"\n")
    assert (200, True) == (answer.status, bool(parts))
    assert end.startswith(b"!Provider call failed: ")


async def test_toy_refuses_in_its_own_words(gateway: Gateway) -> None:
    empty = await ask(gateway, "plain", b"")
    json = await ask(gateway, "plain", b"Why?", ("content-type", "application/json"))
    unknown = await ask(gateway, "nowhere", b"Why?")

    assert (400, b"The toy needs a question. (0 tried)") == (empty.status, empty.body)
    assert (400, b"The toy reads text. (0 tried)") == (json.status, json.body)
    assert (404, b"Endpoint 'nowhere' not found or inactive. (0 tried)") == (unknown.status, unknown.body)


async def test_toy_counts_what_was_tried(gateway: Gateway) -> None:
    gateway.simulator.behave("plain", "fault=status:400")

    answer = await ask(gateway, "plain", b"Why?")

    assert 502 == answer.status
    assert answer.body.startswith(b"Provider call failed: ")
    assert answer.body.endswith(b" (1 tried)")


async def test_other_routes_are_the_others(gateway: Gateway) -> None:
    ours = await gateway.call("plain")
    encoded = await send_raw(gateway.port, post(f"/toy/{PROJECT}/pl%61in", b"Why?", bearer(gateway.token)))
    longer = await send_raw(gateway.port, post(f"/toy/{PROJECT}/plain/more", b"Why?", bearer(gateway.token)))
    foreign = await send_raw(gateway.port, post(f"/api/{OTHER_PROJECT}/plain", {"message": "x"}, bearer(gateway.token)))

    assert (200, True) == (ours.status, ours.json()["ok"])
    assert [404, 404, 403] == [answer.status for answer in (encoded, longer, foreign)]


async def test_one_connection_speaks_both(gateway: Gateway) -> None:
    """A connection's last head is known again; another surface's is read anew."""
    ours = post(f"/api/{PROJECT}/plain", {"message": "Why?"}, bearer(gateway.token))
    toys = post(f"/toy/{PROJECT}/plain", b"Why?", bearer(gateway.token), ("content-type", "text/plain"))
    types = []

    stream = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    async with stream:
        for request in (ours, toys, toys, ours):
            await stream.send_all(request)
            answer = await read_response(stream)
            types.append((answer.status, answer.headers["content-type"]))

    assert [(200, "application/json"), (200, "text/plain"), (200, "text/plain"), (200, "application/json")] == types
