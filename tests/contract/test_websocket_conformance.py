"""The Autobahn cases against an echo server, on both server paths. What differs under Hypercorn is listed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from pg_trio.domain.verdict import Verdict
from pg_trio.server.http1.types import DOOR, Door, Receive, Scope, Send
from tests.support.autobahn_cases import CASES, CLOSE, Case, closing
from tests.support.gated_server import Gate
from tests.support.http_servers import SERVERS, serving
from tests.support.websocket_frames import FrameClient, chop, write_frame

LIMIT_S = 20
# Hypercorn closes the connection without a close frame when its client breaks the protocol. It answers a close frame at
# once, so a message in the same segment may not be echoed any more.
LENIENT = "hypercorn"
CLOSES_FIRST = ("7.1.1", "7.1.6")


async def echo_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo every message."""
    if scope["type"] == "lifespan":
        scope["state"][DOOR] = Door(
            Gate(Verdict.ADMIT, room=1), lambda method, path, headers: None, covers_websocket=lambda path: True
        )
        for _ in range(2):
            message = await receive()
            await send({"type": message["type"] + ".complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, nursery: trio.Nursery) -> AsyncIterator[tuple[str, int]]:
    name: str = request.param
    async with serving(name, echo_app) as port:
        yield name, port


async def run_case(case: Case, port: int) -> tuple[list[tuple[int, bytes]], int | None]:
    """The frames that came back, and the code of the server's close frame; None if it just closed."""
    with trio.fail_after(LIMIT_S):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream, trio.open_nursery() as nursery:
            client = FrameClient(stream)
            assert 101 == await client.open()
            has_all = trio.Event()
            nursery.start_soon(send_case, stream, case, has_all)
            echoes: list[tuple[int, bytes]] = []
            code: int | None = None
            while True:
                if len(echoes) == len(case.echoes):
                    has_all.set()
                frame = await client.read()
                if frame is None:
                    break
                if frame[0] == CLOSE:
                    assert code is None, "two close frames"
                    code = int.from_bytes(frame[1][:2], "big") if frame[1] else 1005
                else:
                    echoes.append(frame)
            nursery.cancel_scope.cancel()
    return echoes, code


async def send_case(stream: trio.SocketStream, case: Case, has_all: trio.Event) -> None:
    """Send the frames, and, if all is as it should be, a close frame behind the last echo."""
    try:
        for data in chop([write_frame(frame) for frame in case.frames], case.chop):
            await stream.send_all(data)
        if not case.ends and not case.closes:
            await has_all.wait()
            await stream.send_all(write_frame(closing(1000)))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the server has closed


@pytest.mark.parametrize("section", ["1", "2", "3", "4", "5", "6", "7"])
async def test_cases_of_section(server: tuple[str, int], section: str) -> None:
    name, port = server
    wrong: dict[str, Any] = {}
    for case in CASES:
        if case.id.partition(".")[0] != section:
            continue
        echoes, code = await run_case(case, port)
        good = case.ends or case.closes or (1000,)
        codes = (*good, None) if name == LENIENT and case.ends else good
        may_lose = name == LENIENT and (case.ends or case.id in CLOSES_FIRST)
        expected = list(case.echoes)[: len(echoes)] if may_lose else list(case.echoes)
        if expected != echoes or code not in codes:
            wrong[case.id] = (len(echoes), len(case.echoes), code, good)

    assert {} == wrong


def test_all_cases_are_there() -> None:
    by_section = [sum(case.id.startswith(f"{number}.") for case in CASES) for number in range(1, 8)]

    assert [16, 11, 7, 10, 20, 145, 37] == by_section
    assert len(CASES) == len({case.id for case in CASES})
