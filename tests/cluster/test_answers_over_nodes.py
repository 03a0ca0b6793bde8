"""Kept answers of a cluster: begun at one node, read, stopped and joined at another, and cut when a node is killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.domain.project import TokenLimits
from pg_trio.simulator import Simulator, serve_simulator
from scripts.bench.harness.processes import find_free_port
from tests.cluster.served import ServedNode
from tests.cluster.waiting import LIMIT_S
from tests.cluster.world import CLUSTER, ClusterWorld
from tests.support.chat_client import LAST_FRAMES, ChatClient, open_socket, seqs, texts
from tests.support.engine_relay import engine_relay
from tests.support.engines import PostgresServer, running_redis
from tests.support.gateway import CREDENTIALS, OTHER_PROJECT, PROJECT, Gateway, endpoint, project
from tests.support.processes import run_command
from tests.support.resuming import StreamingClient, Streams, data_of, events_of
from tests.support.wire import HttpResponse, bearer, post, send_raw

KEPT: dict[str, Any] = {"streaming_enabled": True, "resumable_streams": True}
CONFIGURATION = (
    project()
    + endpoint("live", **KEPT)
    + endpoint("hasty", orphan_grace_ms=300, **KEPT)
    + endpoint("ask")
    + endpoint("stream", streaming_enabled=True)
    + endpoint("down", max_attempts=1)
    + project(OTHER_PROJECT, name="Other")
    + endpoint("ask")
)
BODY = {"message": "Tell me", "stream": True}
PLAIN = {"message": "Tell me"}
UNAVAILABLE = {"ok": False, "error": "Answer storage is unavailable."}
# A killed node's signs of life, and a reader's look.
CUT_LIMIT_S = 12.0


def streams_of(token: str) -> Streams:
    return Streams(token, f"/api/{PROJECT}")


async def keyed(port: int, token: str, slug: str, body: object = PLAIN, text: str = "key-1") -> HttpResponse:
    """A call with an `Idempotency-Key`."""
    return await send_raw(port, post(f"/api/{PROJECT}/{slug}", body, bearer(token), ("idempotency-key", text)))


def calls_of(nodes: list[Gateway]) -> list[int]:
    """How many requests each node's provider got."""
    return [len(node.simulator.requests) for node in nodes]


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_ended_stream_is_read_at_another_node(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    streams = streams_of(world.make_token())
    nodes[0].simulator.behave("live", "tokens=12")
    async with await streams.ask(nodes[0].port, "live", BODY) as client:
        body = await client.read_rest()
        request_id = client.headers["x-request-id"]
    events = [event + b"\n\n" for event in events_of(body)]

    for number in range(len(events) + 1):
        read = await streams.resume(nodes[1].port, request_id, number, "live")
        assert (200, b"".join(events[number:])) == (read.status, read.body)
    beyond = await streams.follow(nodes[1].port, request_id, len(events) + 1)
    async with beyond:
        await beyond.read_rest()
    assert 400 == beyond.status
    await world.stop()


async def test_running_stream_is_read_on_at_another_node(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    streams = streams_of(world.make_token())
    # Longer than the grace of an answer without a client: those at the other node count.
    nodes[0].simulator.behave("hasty", "tokens=100&pace=15ms")
    async with await streams.ask(nodes[0].port, "hasty", BODY) as client:
        first = await client.read_events(7)
        request_id = client.headers["x-request-id"]

    rest = await streams.resume(nodes[1].port, request_id, f"{request_id}:7")
    whole = await streams.resume(nodes[0].port, request_id)

    assert whole.body == first + rest.body
    assert rest.body.endswith(b"data: [DONE]\n\n")
    assert [1, 0] == calls_of(nodes)
    await world.stop()


async def test_stream_without_a_client_ends(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    streams = streams_of(world.make_token())
    nodes[0].simulator.behave("hasty", "tokens=2000&pace=20ms")
    async with await streams.ask(nodes[0].port, "hasty", BODY) as client:
        await client.read_events(3)
        request_id = client.headers["x-request-id"]
    follower = await streams.follow(nodes[1].port, request_id, 3)
    async with follower:
        await follower.read_events(5)

    with trio.fail_after(LIMIT_S):
        assert (await nodes[0].simulator.wait_closed()).closed_early
    await world.stop()


async def test_stream_is_stopped_from_another_node(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    streams = streams_of(world.make_token())
    nodes[0].simulator.behave("live", "tokens=2000&pace=20ms")
    async with await streams.ask(nodes[0].port, "live", BODY) as client:
        await client.read_events(5)
        request_id = client.headers["x-request-id"]

        stopped = await streams.stop(nodes[1].port, request_id, "live")
        again = await streams.stop(nodes[1].port, request_id, "live")
        body = await client.read_rest()

    with trio.fail_after(LIMIT_S):
        assert (await nodes[0].simulator.wait_closed()).closed_early
    assert (200, {"ok": True, "stopped": True}) == (stopped.status, stopped.json())
    assert {"ok": True, "stopped": False} == again.json()
    reason, last, done = data_of(body)[-3:]
    assert ("stop", True, "[DONE]") == (reason["choices"][0]["finish_reason"], last["meta"]["cancelled"], done)
    assert body == (await streams.resume(nodes[1].port, request_id)).body
    await world.stop()


async def test_stream_of_another_token_is_not_found(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    owner, other = streams_of(world.make_token()), streams_of(world.make_token())
    async with await owner.ask(nodes[0].port, "live", BODY) as client:
        await client.read_rest()
        request_id = client.headers["x-request-id"]

    stopped = await other.stop(nodes[1].port, request_id)

    assert 404 == stopped.status
    assert 200 == (await owner.resume(nodes[1].port, request_id)).status
    # Neither the key of the answer nor what leads to it is a text of the request.
    keys = world.redis.command("KEYS", "*")
    assert request_id not in keys
    assert all(key.startswith("pg_trio:") for key in keys.splitlines())
    await world.stop()


async def test_socket_goes_on_at_another_node(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = world.make_token()
    nodes[0].simulator.behave("live", "tokens=30&pace=20ms")
    for node in nodes:
        node.token = token
    async with open_socket(nodes[0], "live") as client:
        await client.ask("c1")
        frames = [await client.read() for _ in range(4)]
        await client.stream.aclose()

    async with open_socket(nodes[1], "live") as other:
        rest = await go_on(other, frames)

    assert list(range(1, len(seqs(frames + rest)) + 1)) == seqs(frames + rest)
    assert "done" == rest[-1]["type"]
    async with open_socket(nodes[1], "live") as third:
        assert texts(frames + rest) == texts(await go_on(third, frames[:1]))
    assert [1, 0] == calls_of(nodes)
    await world.stop()


async def go_on(client: ChatClient, frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rest of an answer, of which the client has these frames."""
    request_id, after = frames[0]["request_id"], max(seqs(frames), default=0)
    await client.send({"type": "resume", "id": "r1", "request_id": request_id, "after": after})
    return await client.read_until(*LAST_FRAMES, id="r1")


# ── requests with a key ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_key_is_replayed_at_another_node(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = world.make_token()

    for slug, body in (("ask", PLAIN), ("stream", BODY)):
        first = await keyed(nodes[0].port, token, slug, body)
        again = await keyed(nodes[1].port, token, slug, body)
        assert (200, first.body) == (again.status, again.body)
        assert [None, "true"] == [each.headers.get("idempotent-replayed") for each in (first, again)]
        other = await keyed(nodes[1].port, token, slug, {**body, "message": "Another"})
        assert 422 == other.status

    assert [2, 0] == calls_of(nodes)
    await world.stop()


async def test_running_key_is_joined_at_another_node(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 3)
    token = world.make_token()
    for node in nodes:
        node.simulator.behave("ask", "latency=500ms")
    answers: list[HttpResponse] = []

    async def call(node: Gateway) -> None:
        answers.append(await keyed(node.port, token, "ask"))

    async with trio.open_nursery() as clients:
        for number in range(30):
            clients.start_soon(call, nodes[number % 3])

    assert 1 == sum(calls_of(nodes))
    assert {200} == {answer.status for answer in answers}
    assert 1 == len({answer.body for answer in answers})
    assert 29 == sum(answer.headers.get("idempotent-replayed") == "true" for answer in answers)
    await world.stop()


async def test_failure_frees_the_key_at_every_node(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = world.make_token()
    nodes[0].simulator.behave("down", "fault=status:500")

    failed = await keyed(nodes[0].port, token, "down")
    again = await keyed(nodes[1].port, token, "down")

    assert (502, 200, None) == (failed.status, again.status, again.headers.get("idempotent-replayed"))
    await world.stop()


async def test_long_answer_is_replayed_whole(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = world.make_token()
    nodes[0].simulator.behave("ask", "tokens=60000")

    first = await keyed(nodes[0].port, token, "ask")
    again = await keyed(nodes[1].port, token, "ask")

    assert len(first.body) > 200_000
    assert first.body == again.body
    assert [1, 0] == calls_of(nodes)
    await world.stop()


# ── Redis is away ────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def without_redis(world: ClusterWorld, away: str, count: int) -> AsyncIterator[tuple[list[Gateway], Any]]:
    """Nodes whose Redis is taken away by the second value, and given back."""
    async with engine_relay(world.redis.port) as relay:
        nodes = await world.start(CONFIGURATION, count, redis_port=relay.port, away=away)

        def switch(*, on: bool) -> None:
            relay.accepts = on
            if not on:
                relay.cut()

        yield nodes, switch
        await world.stop()


@pytest.mark.parametrize("away", ["local", "refuse"])
async def test_without_redis_a_stream_is_its_own_node_s(world: ClusterWorld, away: str) -> None:
    async with without_redis(world, away, 2) as (nodes, switch):
        streams = streams_of(world.make_token())
        nodes[0].simulator.behave("live", "tokens=60&pace=20ms")
        async with await streams.ask(nodes[0].port, "live", BODY) as client:
            await client.read_events(5)
            request_id = client.headers["x-request-id"]
            switch(on=False)
            here = await streams.resume(nodes[0].port, request_id)
            there = await streams.stop(nodes[1].port, request_id)
            body = await client.read_rest()
            switch(on=True)

        assert client.is_whole
        assert body == here.body
        assert body.endswith(b"data: [DONE]\n\n")
        assert (503, UNAVAILABLE) == (there.status, there.json())
        assert "1" == there.headers["retry-after"]
        # What was said meanwhile is told as soon as Redis is back.
        with trio.fail_after(LIMIT_S):
            while (read := await read_whole(streams, nodes[1], request_id)) != (200, body):
                assert read[0] in (200, 503)
                await trio.sleep(0.05)


async def read_whole(streams: Streams, node: Gateway, request_id: str) -> tuple[int, bytes]:
    """The status and the whole of a stream, or an error's."""
    client = await streams.follow(node.port, request_id)
    async with client:
        body = await client.read_rest()
        return client.status, body


async def test_without_redis_a_key_is_refused(world: ClusterWorld) -> None:
    async with without_redis(world, "refuse", 1) as (nodes, switch):
        token = world.make_token()
        assert 200 == (await keyed(nodes[0].port, token, "ask")).status
        switch(on=False)

        known = await keyed(nodes[0].port, token, "ask")
        unknown = await keyed(nodes[0].port, token, "ask", text="key-2")
        plain = await send_raw(nodes[0].port, post(f"/api/{PROJECT}/ask", PLAIN, bearer(token)))

        # The node has this answer itself.
        assert (200, "true") == (known.status, known.headers["idempotent-replayed"])
        assert (503, UNAVAILABLE) == (unknown.status, unknown.json())
        assert 200 == plain.status
        assert [2] == calls_of(nodes)


async def test_without_redis_a_key_is_its_own_node_s(world: ClusterWorld) -> None:
    async with without_redis(world, "local", 1) as (nodes, switch):
        token = world.make_token()
        assert 200 == (await keyed(nodes[0].port, token, "ask")).status
        switch(on=False)

        known = await keyed(nodes[0].port, token, "ask")
        new = [await keyed(nodes[0].port, token, "ask", text="key-2") for _ in range(3)]
        stream = await keyed(nodes[0].port, token, "stream", BODY)
        switch(on=True)
        later = await keyed(nodes[0].port, token, "ask", text="key-2")

        assert (200, "true") == (known.status, known.headers["idempotent-replayed"])
        replayed = [each.headers.get("idempotent-replayed") for each in [*new, later]]
        assert [None, "true", "true", "true"] == replayed
        # It says that no other node knows.
        told = [each.headers.get("idempotent-kept") for each in [known, *new, later, stream]]
        assert [None, "false", None, None, None, "false"] == told
        assert [3] == calls_of(nodes)


async def test_without_redis_a_key_of_another_node_is_not_paid_again(world: ClusterWorld) -> None:
    async with without_redis(world, "local", 2) as (nodes, switch):
        token = world.make_token()
        # One that has ended, and one that runs when Redis goes away.
        nodes[0].simulator.behave("stream", "tokens=1000&pace=20ms")
        assert 200 == (await keyed(nodes[0].port, token, "ask")).status
        assert "true" == (await keyed(nodes[1].port, token, "ask")).headers["idempotent-replayed"]
        data = post(f"/api/{PROJECT}/stream", BODY, bearer(token), ("idempotency-key", "key-1"))
        async with await StreamingClient.open(nodes[0].port, data) as first:
            await first.read_events(2)
            async with await StreamingClient.open(nodes[1].port, data) as second:
                await second.read_events(2)
                switch(on=False)
            again = [await keyed(nodes[1].port, token, slug, body) for slug, body in (("ask", PLAIN), ("stream", BODY))]
        unknown = await keyed(nodes[1].port, token, "ask", text="key-2")

        assert [(503, UNAVAILABLE)] * 2 == [(each.status, each.json()) for each in again]
        assert (200, "false") == (unknown.status, unknown.headers["idempotent-kept"])
        assert [2, 1] == calls_of(nodes)


async def test_frozen_redis_delays_no_stream(
    nursery: trio.Nursery, tmp_path: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    with running_redis() as redis:
        world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
        nodes = await world.start(CONFIGURATION, 2, redis_ms=200)
        streams = streams_of(world.make_token())
        nodes[0].simulator.behave("live", "tokens=150&pace=20ms")
        async with await streams.ask(nodes[0].port, "live", BODY) as client:
            await client.read_events(5)
            request_id = client.headers["x-request-id"]
            follower = await streams.follow(nodes[1].port, request_id, 0)
            async with follower:
                await follower.read_events(5)
                redis.freeze()
                # The stream goes on to its own client, far beyond what was there.
                await client.read_events(120)
                redis.thaw()
                body = await client.read_rest()
                read = await follower.read_rest()

        assert client.is_whole
        assert body.endswith(b"data: [DONE]\n\n")
        # The reader at the other node got all of it, late.
        assert events_of(body) == events_of(read)
        await world.stop()


async def test_redis_that_starts_empty_cuts_readers_of_other_nodes(
    nursery: trio.Nursery, tmp_path: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    with running_redis() as redis:
        world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
        nodes = await world.start(CONFIGURATION, 2)
        streams = streams_of(world.make_token())
        nodes[0].simulator.behave("live", "tokens=150&pace=20ms")
        async with await streams.ask(nodes[0].port, "live", BODY) as client:
            await client.read_events(5)
            request_id = client.headers["x-request-id"]
            follower = await streams.follow(nodes[1].port, request_id, 0)
            async with follower:
                await follower.read_events(5)
                redis.command("FLUSHALL")
                read = await follower.read_rest()
            body = await client.read_rest()

        assert client.is_whole
        assert b"The rest of this stream is not available." in read
        # Its own node has it still.
        assert body == (await streams.resume(nodes[0].port, request_id)).body
        await world.stop()


# ── a node is killed ─────────────────────────────────────────────────────────────────────────────────────────────────


async def start_served(world: ClusterWorld, count: int) -> tuple[list[ServedNode], Simulator]:
    """Real processes of nodes, and the provider of all of them."""
    simulator: Simulator = await world.nursery.start(serve_simulator)
    nodes = []
    for number in range(1, count + 1):
        home = world.folder / f"served-{number}"
        await trio.Path(home).mkdir()
        places = {"redis_url": world.redis.url, "postgres_url": world.postgres_url, "node": f"gw-{number}"}
        text = CLUSTER.format(**places, away="local", redis_ms=2000, postgres_ms=5000)
        text += CREDENTIALS.format(base_url=simulator.base_url) + CONFIGURATION
        await trio.Path(home / "pg.toml").write_text(text)
        nodes.append(ServedNode(home, f"gw-{number}", find_free_port()))
    assert 0 == (await run_command("migrate", "--config", str(nodes[0].folder / "pg.toml")))[0]
    for node in nodes:
        node.start()
    return nodes, simulator


async def wait_serving(node: ServedNode, token: str) -> None:
    with trio.fail_after(60):
        while True:
            try:
                answer = await send_raw(node.port, post(f"/api/{PROJECT}/ask", PLAIN, bearer(token)))
            except OSError:
                await trio.sleep(0.05)
                continue
            if answer.status == 200:
                return
            await trio.sleep(0.05)


@pytest.mark.slow
async def test_killed_node_s_answers_are_cut_and_free(world: ClusterWorld) -> None:
    nodes, simulator = await start_served(world, 2)
    victim, other = nodes
    joined: list[HttpResponse] = []

    async def join() -> None:
        joined.append(await keyed(other.port, token, "ask"))

    try:
        token = world.make_token(TokenLimits(max_concurrent=50))
        streams = streams_of(token)
        for node in nodes:
            await wait_serving(node, token)
        simulator.behave("live", "tokens=4000&pace=20ms")
        simulator.behave("ask", "latency=60s")
        async with trio.open_nursery() as clients, await streams.ask(victim.port, "live", BODY) as client:
            await client.read_events(5)
            request_id = client.headers["x-request-id"]
            clients.start_soon(ignore_loss, victim.port, token)
            await wait_asked(simulator, "ask", 1, beyond=len(nodes))
            follower = await streams.follow(other.port, request_id, 0)
            async with follower:
                await follower.read_events(5)
                simulator.behave("ask", "")
                # It waits for the first one's answer.
                clients.start_soon(join)
                await trio.sleep(0.5)
                assert [] == joined
                victim.kill()

                with trio.fail_after(CUT_LIMIT_S):
                    read = await follower.read_rest()
            assert b"The rest of this stream is not available." in read
            with trio.fail_after(CUT_LIMIT_S):
                while not joined:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            # The name was free, and this one made the answer.
            assert (200, None) == (joined[0].status, joined[0].headers.get("idempotent-replayed"))
            await wait_asked(simulator, "ask", 2, beyond=len(nodes))
            late = await streams.resume(other.port, request_id)
            assert read == late.body
    finally:
        for node in nodes:
            node.kill()


async def ignore_loss(port: int, token: str) -> None:
    """A call with a key at a node that is killed."""
    with suppress(Exception):  # its connection ends in one of many ways
        await keyed(port, token, "ask")


async def wait_asked(simulator: Simulator, model: str, count: int, beyond: int) -> None:
    """Until the provider has so many more requests for a model."""
    with trio.fail_after(LIMIT_S):
        while sum(request.body["model"] == model for request in simulator.requests) < beyond + count:  # noqa: ASYNC110
            await trio.sleep(0.01)
