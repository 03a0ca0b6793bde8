"""Streams of a simulated provider over real sockets, through the direct transport, to the contract's events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from pg_trio.config.settings import UpstreamSettings
from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import Message, Prompt, Usage
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, events_of
from pg_trio.domain.project import Candidate, Credential
from pg_trio.errors import AttemptFailed, UpstreamBroken, UpstreamNonsense
from pg_trio.providers import adapter_for
from pg_trio.simulator import Simulator, serve_simulator
from pg_trio.transport.direct import DirectTransport

LIMIT_S = 20
SAID = "You said: Tell me. and so it goes on until"
PROMPT = Prompt((Message("user", "Tell me."),))


@asynccontextmanager
async def simulated(behaviour: str) -> AsyncIterator[Simulator]:
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(serve_simulator, behaviour)
            nursery.cancel_scope.cancel()


async def receive_events(base_url: str) -> list[Event]:
    """All events of one stream, as its reader gets them. Raises AttemptFailed for a failure before its body."""
    candidate = Candidate(Credential("main", "openai", base_url, allow_private_addresses=True), "sim")
    adapter, transport = adapter_for("openai"), DirectTransport(UpstreamSettings())
    response = await transport.open_response(adapter.build_request(PROMPT, candidate, stream=True))
    try:
        start = await response.receive_some()
        if not adapter.is_stream(response.status, response.headers, start):
            body = start + b"".join([piece async for piece in pieces_of(response.receive_some)])
            return events_of(adapter.read_reply(response.status, response.headers, body, candidate, now_s=0.0))
        reader = adapter.open_stream(candidate)
        events = reader.feed(start)
        try:
            while not reader.is_over and (data := await response.receive_some()):
                events += reader.feed(data)
        except AttemptFailed as exc:
            return events + reader.close(exc)
        return events + reader.close()
    finally:
        await response.aclose()
        await transport.aclose()


async def pieces_of(receive: object) -> AsyncIterator[bytes]:
    while piece := await receive():  # type: ignore[operator]
        yield piece


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ContentDelta))


@pytest.mark.parametrize("extra", ["", "&head=early&pings=3&reasoning=2", "&fault=no_done", "&fault=drip:0"])
async def test_stream_arrives_whole(extra: str) -> None:
    async with simulated(f"tokens=10{extra}") as simulator:
        events = await receive_events(simulator.base_url)

    assert SAID == text_of(events)
    assert Finished("stop", Usage(2, 10)) == events[-1]


async def test_tool_call_arrives_whole() -> None:
    async with simulated('tool=look_up:{"city": "Ulm"}') as simulator:
        events = await receive_events(simulator.base_url)

    assembler = Assembler()
    for event in events:
        assembler.add(event)
    (call,) = assembler.reply().tool_calls
    assert ("look_up", '{"city": "Ulm"}') == (call.name, call.arguments)
    assert "tool_calls" == assembler.finish_reason


@pytest.mark.parametrize(
    ("fault", "failure", "tokens"),
    [
        ("cut:4", UpstreamBroken, 4),
        ("cut:4:clean", UpstreamBroken, 4),
        ("cut:0:clean", UpstreamBroken, 0),
        ("truncate", UpstreamBroken, 5),
        ("malformed_chunk:json", UpstreamNonsense, 5),
        ("stream_error:4", UpstreamNonsense, 4),
        ("nochoices", UpstreamNonsense, 0),
        ("empty", UpstreamNonsense, 0),
    ],
)
async def test_fault_never_looks_finished(fault: str, failure: type[AttemptFailed], tokens: int) -> None:
    async with simulated(f"tokens=10&fault={fault}") as simulator:
        events = await receive_events(simulator.base_url)

    last = events[-1]
    assert isinstance(last, Broken)
    assert failure is type(last.failure)
    assert tokens == sum(event.is_token for event in events)


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("wrong_type", "the answer is not JSON: error at character 0 of "),
        ("error200", "an error in an answer with status 200: "),
        ("notjson", "the answer is not JSON: "),
        ("status:503", "HTTP 503: "),
    ],
)
async def test_fault_before_the_stream_is_raised(fault: str, failure: str) -> None:
    async with simulated(f"fault={fault}") as simulator:
        with pytest.raises(AttemptFailed) as caught:
            await receive_events(simulator.base_url)

    assert caught.value.said.startswith(failure)
