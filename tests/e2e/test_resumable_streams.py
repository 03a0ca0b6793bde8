"""Streams that clients leave and come back to, over real sockets, with a second worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from attrs import define

from pg_trio.store.token_admin import TokenAdmin
from tests.support.gateway import (
    OTHER_PROJECT,
    PROJECT,
    Gateway,
    endpoint,
    project,
    start_gateway,
    start_pages,
    start_worker,
)
from tests.support.resuming import Streams, data_of, events_of, numbers_of, text_of
from tests.support.wire import bearer, get, post, send_raw

BODY = {"message": "Tell me", "stream": True}
CHAT = {"model": "live", "messages": [{"role": "user", "content": "Tell me"}], "stream": True}
RESUMABLE: dict[str, Any] = {"streaming_enabled": True, "resumable_streams": True}
NOT_FOUND = {"ok": False, "error": "Stream not found or not accessible."}
CONFIGURATION = (
    project()
    + endpoint("live", **RESUMABLE)
    + endpoint("other", **RESUMABLE)
    + endpoint("short", resume_bytes=2_000, **RESUMABLE)
    + endpoint("hasty", orphan_grace_ms=100, **RESUMABLE)
    + endpoint("brief", resume_window_ms=1_000, **RESUMABLE)
    + endpoint("early", stream_head_after_ms=50, **RESUMABLE)
    + endpoint("talk", sessions_enabled=True, **RESUMABLE)
    + endpoint("plain", streaming_enabled=True)
    + project(OTHER_PROJECT, name="Other")
    + endpoint("live", **RESUMABLE)
)


@define
class Site:
    """Two workers of a gateway; `server` is the first one's."""

    gateway: Gateway
    worker: Gateway
    streams: Streams

    def behave(self, model: str, behaviour: str) -> None:
        self.gateway.simulator.behave(model, behaviour)

    async def whole(self, slug: str, *headers: tuple[str, str]) -> tuple[str, bytes]:
        """A stream that was read to its end: its id and its bytes."""
        async with await self.streams.ask(self.gateway.port, slug, BODY, *headers) as client:
            await client.read_rest()
            assert client.is_whole
            return client.headers["x-request-id"], client.body


@pytest.fixture(params=["lane", "hypercorn"])
async def site(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)
    worker = await start_worker(nursery, gateway)
    return Site(gateway, worker, Streams(gateway.token, f"/api/{PROJECT}"))


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_event_is_numbered(site: Site) -> None:
    site.behave("live", "tokens=5")

    request_id, body = await site.whole("live")

    events = events_of(body)
    assert list(range(1, len(events) + 1)) == numbers_of(body)
    assert all(event.startswith(f"id: {request_id}:".encode()) for event in events)
    assert events[-1].endswith(b"data: [DONE]")


async def test_v1_stream_has_numbers_only_on_request(site: Site) -> None:
    site.behave("live", "tokens=5")

    async with await site.streams.ask(site.gateway.port, "v1/chat/completions", CHAT) as client:
        plain = await client.read_rest()
        plain_id = client.headers["x-request-id"]
    asked = ("x-pg-resumable", "1")
    async with await site.streams.ask(site.gateway.port, "v1/chat/completions", CHAT, asked) as client:
        numbered = await client.read_rest()

    assert b"id: " not in plain
    assert list(range(1, len(events_of(numbered)) + 1)) == numbers_of(numbered)
    # It is resumed by its numbers all the same.
    assert events_of(plain)[3:] == events_of((await site.streams.resume(site.worker.port, plain_id, 3)).body)


async def test_plain_endpoint_is_as_before(site: Site) -> None:
    request_id, body = await site.whole("plain")

    assert b"id: " not in body
    assert 404 == (await site.streams.resume(site.gateway.port, request_id)).status


# ── reading on ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["same worker", "other worker"])
async def test_rest_is_byte_equal_after_every_event(site: Site, where: str) -> None:
    site.behave("live", "tokens=12")
    request_id, body = await site.whole("live")
    port = site.gateway.port if where == "same worker" else site.worker.port
    events = [event + b"\n\n" for event in events_of(body)]

    for number in range(len(events) + 1):
        read = await site.streams.resume(port, request_id, number, "live")
        assert (200, b"".join(events[number:])) == (read.status, read.body)
        assert "text/event-stream; charset=utf-8" == read.headers["content-type"]
        assert request_id == read.headers["x-request-id"]


async def test_running_stream_is_read_on_by_another_worker(site: Site) -> None:
    site.behave("live", "tokens=40&pace=10ms")
    async with await site.streams.ask(site.gateway.port, "live", BODY) as client:
        first = await client.read_events(7)
        request_id = client.headers["x-request-id"]

    rest = await site.streams.resume(site.worker.port, request_id, f"{request_id}:7")
    whole = await site.streams.resume(site.gateway.port, request_id)

    assert whole.body == first + rest.body
    assert rest.body.endswith(b"data: [DONE]\n\n")
    await site.gateway.stop()
    [row] = site.gateway.log_rows()
    assert (200, None, 40) == (row["status"], row["error_code"], row["completion_tokens"])


async def test_many_readers_get_the_same(site: Site) -> None:
    site.behave("live", "tokens=30&pace=5ms")
    bodies: list[bytes] = []

    async def read(port: int) -> None:
        bodies.append((await site.streams.resume(port, request_id)).body)

    async with await site.streams.ask(site.gateway.port, "live", BODY) as client, trio.open_nursery() as nursery:
        await client.read_events(1)
        request_id = client.headers["x-request-id"]
        for port in (site.gateway.port, site.worker.port) * 3:
            nursery.start_soon(read, port)
        first = await client.read_rest()

    assert [first] * 6 == bodies


async def test_last_event_id_comes_before_the_query(site: Site) -> None:
    site.behave("live", "tokens=5")
    request_id, _body = await site.whole("live")
    path = site.streams.address(request_id) + "?after=1"

    read = await send_raw(site.worker.port, get(path, bearer(site.gateway.token), ("last-event-id", f"{request_id}:4")))

    assert 5 == numbers_of(read.body)[0]


async def test_failed_stream_is_resumed_with_its_error(site: Site) -> None:
    site.behave("live", "tokens=9&fault=cut:4")
    request_id, body = await site.whole("live")

    read = await site.streams.resume(site.worker.port, request_id, 2)

    assert b"event: error" in body
    assert events_of(body)[2:] == events_of(read.body)


async def test_early_head_is_resumed_before_the_first_token(site: Site) -> None:
    site.behave("early", "latency=600ms&tokens=3")
    async with await site.streams.ask(site.gateway.port, "early", BODY) as client:
        assert await client.read()
        request_id = client.headers["x-request-id"]
        async with await site.streams.follow(site.worker.port, request_id) as reader:
            body = await reader.read_rest()
        assert body == (await client.read_rest()).removeprefix(b": keep-alive\n\n")


@pytest.mark.parametrize(
    ("query", "last_id", "said"),
    [
        ("?after=-1", None, "after: must be the number of an event."),
        ("?after=x", None, "after: must be the number of an event."),
        ("?after=", None, "after: must be the number of an event."),
        ("?after=1&after=2", None, "after: must be the number of an event."),
        ("?after=99999999999", None, "after: must be the number of an event."),
        ("?after=9999", None, "The stream has no event 9999 yet."),
        ("", "7", "Last-Event-ID: must be the id of an event of this stream."),
        ("", "{other}:1", "Last-Event-ID: must be the id of an event of this stream."),
        ("", "{own}:", "Last-Event-ID: must be the id of an event of this stream."),
        ("", "{own}:x", "Last-Event-ID: must be the id of an event of this stream."),
        ("", "{own}:9999", "The stream has no event 9999 yet."),
    ],
)
async def test_wrong_place_is_refused(site: Site, query: str, last_id: str | None, said: str) -> None:
    request_id, _ = await site.whole("live")
    fields = [bearer(site.gateway.token)]
    if last_id is not None:
        fields.append(("last-event-id", last_id.format(own=request_id, other=uuid4())))

    answer = await send_raw(site.worker.port, get(site.streams.address(request_id) + query, *fields))

    assert (400, {"ok": False, "error": said}) == (answer.status, answer.json())


# ── whose it is ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_stream_is_its_tokens_alone(site: Site) -> None:
    request_id, _ = await site.whole("live")
    other_token = Streams(site.gateway.make_token(), f"/api/{PROJECT}")
    foreign = Streams(site.gateway.make_token(OTHER_PROJECT), f"/api/{OTHER_PROJECT}")
    asked = [
        await other_token.resume(site.gateway.port, request_id, None, "live"),
        await other_token.stop(site.worker.port, request_id),
        await foreign.resume(site.worker.port, request_id, None, "live"),
        await site.streams.resume(site.gateway.port, request_id, None, "other"),
        await site.streams.resume(site.gateway.port, request_id, None, "unknown"),
        await site.streams.resume(site.gateway.port, str(uuid4()), None, "live"),
        await site.streams.resume(site.gateway.port, "no-uuid", None, "live"),
        await site.streams.stop(site.gateway.port, "no-uuid"),
    ]

    assert [(404, NOT_FOUND)] * len(asked) == [(answer.status, answer.json()) for answer in asked]


async def test_routes_demand_what_the_endpoint_demands(site: Site) -> None:
    request_id, _ = await site.whole("live")
    address = site.streams.address(request_id, "live")

    async def status(*fields: tuple[str, str], method: bytes = b"GET", path: str = address) -> int:
        return (await send_raw(site.worker.port, get(path, *fields).replace(b"GET", method, 1))).status

    assert 401 == await status()
    assert 401 == await status(bearer("pg_live_" + "x" * 40))
    assert 403 == await status(bearer(site.gateway.make_token(scopes=("models", "admin"))))
    assert 403 == await status(bearer(site.gateway.make_token(OTHER_PROJECT)))
    assert 405 == await status(bearer(site.gateway.token), method=b"PUT")
    assert 404 == await status(bearer(site.gateway.token), path=address + "/x")
    assert 200 == await status(bearer(site.gateway.token))


# ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_left_stream_is_cancelled_after_its_grace(site: Site) -> None:
    site.behave("hasty", "tokens=2000&pace=20ms")
    async with await site.streams.ask(site.gateway.port, "hasty", BODY) as client:
        await client.read_events(2)
        request_id = client.headers["x-request-id"]

    with trio.fail_after(10):
        received = await site.gateway.simulator.wait_closed()
    # What there is, and an honest end.
    read = await site.streams.resume(site.worker.port, request_id)
    await site.gateway.stop()

    assert received.closed_early
    assert "The rest of this stream is not available." == data_of(read.body)[-2]["error"]
    [row] = site.gateway.log_rows()
    assert (499, "ClientLeft") == (row["status"], row["error_code"])


async def test_reader_elsewhere_keeps_a_left_stream_going(site: Site) -> None:
    site.behave("hasty", "tokens=40&pace=25ms")
    async with await site.streams.ask(site.gateway.port, "hasty", BODY) as client:
        first = await client.read_events(2)
        request_id = client.headers["x-request-id"]
        follower = await site.streams.follow(site.worker.port, request_id, 2)
        await follower.read_events(1)

    async with follower:
        rest = await follower.read_rest()

    assert 40 == len([chunk for chunk in data_of(first + rest) if "choices" in chunk and text_of_chunk(chunk)])
    assert rest.endswith(b"data: [DONE]\n\n")
    await site.gateway.stop()
    [row] = site.gateway.log_rows()
    assert (200, None) == (row["status"], row["error_code"])


def text_of_chunk(chunk: dict[str, object]) -> str:
    """The text of one chunk."""
    choices = chunk["choices"]
    assert isinstance(choices, list)
    return (choices[0]["delta"].get("content") or "") if choices else ""


async def test_stream_past_its_window_is_gone(site: Site) -> None:
    request_id, _ = await site.whole("brief")
    assert 200 == (await site.streams.resume(site.worker.port, request_id)).status

    with trio.fail_after(10):
        while 200 == (await site.streams.resume(site.worker.port, request_id)).status:  # noqa: ASYNC110
            await trio.sleep(0.1)

    assert NOT_FOUND == (await site.streams.resume(site.worker.port, request_id)).json()


async def test_long_stream_reaches_its_client_and_is_not_kept(site: Site) -> None:
    site.behave("short", "tokens=60")

    request_id, body = await site.whole("short")

    assert body.endswith(b"data: [DONE]\n\n")
    assert list(range(1, len(events_of(body)) + 1)) == numbers_of(body)
    assert NOT_FOUND == (await site.streams.resume(site.gateway.port, request_id)).json()


async def test_long_stream_ends_with_its_client(site: Site) -> None:
    site.behave("short", "tokens=2000&pace=5ms")
    async with await site.streams.ask(site.gateway.port, "short", BODY) as client:
        await client.read_events(30)

    with trio.fail_after(10):
        received = await site.gateway.simulator.wait_closed()

    assert received.closed_early


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["same worker", "other worker"])
async def test_stop_ends_the_answer(site: Site, where: str) -> None:
    site.behave("live", "tokens=2000&pace=20ms")
    port = site.gateway.port if where == "same worker" else site.worker.port
    async with await site.streams.ask(site.gateway.port, "live", BODY) as client:
        await client.read_events(5)
        request_id = client.headers["x-request-id"]

        stopped = await site.streams.stop(port, request_id, "live")
        again = await site.streams.stop(port, request_id, "live")
        body = await client.read_rest()

    with trio.fail_after(10):
        assert (await site.gateway.simulator.wait_closed()).closed_early
    assert (200, {"ok": True, "stopped": True}) == (stopped.status, stopped.json())
    assert (200, {"ok": True, "stopped": False}) == (again.status, again.json())
    reason, last, done = data_of(body)[-3:]
    assert ("stop", True, "[DONE]") == (reason["choices"][0]["finish_reason"], last["meta"]["cancelled"], done)
    assert client.is_whole
    assert body == (await site.streams.resume(site.worker.port, request_id)).body
    await site.gateway.stop()
    [row] = site.gateway.log_rows()
    assert (200, None) == (row["status"], row["error_code"])
    assert row["completion_tokens"] == last["usage"]["completion_tokens"] > 0


async def test_ended_answer_is_not_stopped(site: Site) -> None:
    request_id, body = await site.whole("live")

    assert {"ok": True, "stopped": False} == (await site.streams.stop(site.worker.port, request_id)).json()
    assert b'"cancelled"' not in body


async def test_answer_is_stopped_before_its_first_token(site: Site) -> None:
    site.behave("early", "latency=20s")
    async with await site.streams.ask(site.gateway.port, "early", BODY) as client:
        assert await client.read()
        request_id = client.headers["x-request-id"]

        assert (await site.streams.stop(site.worker.port, request_id)).json()["stopped"]
        body = await client.read_rest()

    reason, last, done = data_of(body)[-3:]
    assert ("stop", True, "[DONE]") == (reason["choices"][0]["finish_reason"], last["meta"]["cancelled"], done)


async def test_stopped_answer_is_its_sessions_turn(site: Site) -> None:
    site.behave("talk", "tokens=2000&pace=20ms")
    async with await site.streams.ask(site.gateway.port, "talk", BODY) as client:
        await client.read_events(4)
        await site.streams.stop(site.worker.port, client.headers["x-request-id"])
        body = await client.read_rest()
        session = client.headers["x-pg-session-id"]
    site.behave("talk", "tokens=1")

    read = await site.gateway.call("talk", {"message": "And?", "session_id": session})

    assert 200 == read.status
    [_, said, _] = site.gateway.simulator.requests[-1].body["messages"]
    assert {"role": "assistant", "content": text_of(body)} == said


@pytest.mark.parametrize(
    ("route", "body", "ends"),
    [
        ("v1/chat/completions", CHAT, b"data: [DONE]\n\n"),
        (
            "v1/messages",
            {"model": "live", "max_tokens": 100, "messages": CHAT["messages"], "stream": True},
            b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        ),
        ("v1/responses", {"model": "live", "input": "Tell me", "stream": True, "store": False}, b""),
    ],
)
async def test_v1_stream_is_resumed_and_stopped(site: Site, route: str, body: object, ends: bytes) -> None:
    site.behave("live", "tokens=2000&pace=20ms")
    async with await site.streams.ask(site.gateway.port, route, body) as client:
        await client.read_events(6)
        request_id = client.headers["x-request-id"]
        assert (await site.streams.stop(site.worker.port, request_id)).json()["stopped"]
        first = await client.read_rest()

    assert client.is_whole
    assert first.endswith(ends)
    if not ends:
        assert "response.completed" == data_of(first)[-1]["type"]
    for number in (0, 3, len(events_of(first))):
        read = await site.streams.resume(site.worker.port, request_id, number)
        assert events_of(first)[number:] == events_of(read.body)


# ── the gateway ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_plain_answer_of_a_resumable_endpoint(site: Site) -> None:
    site.gateway.simulator.behave("live", content="plain")

    read = await site.gateway.call("live", {"message": "Hi"})

    assert (200, "plain") == (read.status, read.json()["content"])


async def test_stopping_server_ends_an_orphan_and_says_so(site: Site) -> None:
    site.behave("live", "tokens=1000&pace=20ms")
    async with await site.streams.ask(site.gateway.port, "live", BODY) as client:
        await client.read_events(3)
        request_id = client.headers["x-request-id"]
    follower = await site.streams.follow(site.worker.port, request_id)
    await follower.read_events(3)

    await site.gateway.stop()

    async with follower:
        body = await follower.read_rest()
    assert follower.is_whole
    assert "The rest of this stream is not available." == data_of(body)[-2]["error"]
    [row] = site.gateway.log_rows()
    assert (503, "ShuttingDown") == (row["status"], row["error_code"])


async def test_full_disk_does_not_fail_a_stream(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    site.behave("live", "tokens=5")
    monkeypatch.setattr("pg_trio.store.answer_files.write_all", full)

    request_id, body = await site.whole("live")

    assert body.endswith(b"data: [DONE]\n\n")
    assert "No space left on device" in caplog.text
    assert 404 == (await site.streams.resume(site.gateway.port, request_id)).status


async def test_revoked_token_reads_nothing_more(site: Site) -> None:
    request_id, _ = await site.whole("live")
    with TokenAdmin(site.gateway.settings.gateway.data_dir) as admin:
        for token in admin.list_tokens(PROJECT):
            admin.revoke(str(token.id))

    with trio.fail_after(10):
        while (answer := await site.streams.resume(site.worker.port, request_id)).status == 200:  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert (401, "Invalid or revoked token.") == (answer.status, answer.json()["error"])


async def test_reserved_words_are_no_endpoints(site: Site) -> None:
    # The second is the route that mints client tokens.
    for word, status in (("streams", 404), ("client-tokens", 403)):
        answer = await send_raw(site.gateway.port, post(f"/api/{PROJECT}/{word}", BODY, bearer(site.gateway.token)))
        assert status == answer.status


async def test_answer_of_an_endpoint_switched_off_can_be_read_and_stopped(site: Site, nursery: trio.Nursery) -> None:
    site.behave("live", "tokens=2000&pace=20ms")
    operators = await start_pages(nursery, site.gateway)
    async with await site.streams.ask(site.gateway.port, "live", BODY) as client:
        first = await client.read_events(3)
        request_id = client.headers["x-request-id"]

        off = await operators.call("PATCH", f"endpoints/{PROJECT}/live", {"is_active": False})
        new = await site.gateway.call("live", BODY)
        async with await site.streams.follow(site.worker.port, request_id, None, "live") as follower:
            assert first == await follower.read_events(3)
        stopped = await site.streams.stop(site.worker.port, request_id, "live")

    assert (200, 404, True) == (off.status, new.status, stopped.json()["stopped"])
