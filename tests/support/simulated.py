"""One exchange of an adapter with the simulator, without a socket: the request's bytes in, the answer's bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import h11
import orjson
from attrs import frozen

from pg_trio.domain.chat import Prompt
from pg_trio.domain.events import (
    Broken,
    ContentDelta,
    Event,
    Finished,
    Opened,
    ReasoningDelta,
    ToolCallDelta,
    events_of,
)
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.errors import AttemptFailed, UpstreamBroken, UpstreamRefused
from pg_trio.providers import adapter_for
from pg_trio.simulator.behaviour import parse_behaviour
from pg_trio.simulator.chat_completion import Occasion
from pg_trio.simulator.plan import Send, Step, render
from pg_trio.simulator.wire_routes import find_route, read_call

KEY = "the-key-of-this-test"


@frozen
class Exchange:
    """An answer as a transport hands it on: `is_cut` where the connection ended before the body did."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_cut: bool


def candidate_of(provider: str, model: str = "sim") -> Candidate:
    """A candidate of a provider, at its own address if it has one."""
    base_url = PROVIDERS[provider].base_url or "https://api.test/v1"
    return Candidate(Credential("main", provider, base_url, Secret(KEY)), model)


def ask(provider: str, prompt: Prompt, behaviour: str = "", *, stream: bool = False, model: str = "sim") -> Exchange:
    """What the simulator answers to what the adapter of this provider asks."""
    request = adapter_for(provider).build_request(prompt, candidate_of(provider, model), stream=stream)
    url = urlsplit(request.url)
    path = url.path + (f"?{url.query}" if url.query else "")
    # Some providers of OpenAI's wire have longer addresses; the simulator has one.
    found = find_route(request.method, path) or ("openai", None)
    headers = {name.lower(): value for name, value in request.headers}
    body = orjson.loads(request.body)
    if stream and not PROVIDERS[provider].asks_for_stream_usage:
        # The simulator sends a stream's usage on request alone; such a provider always does.
        body["stream_options"] = {"include_usage": True}
    call = read_call(found[0], path, headers, body, found[1])
    answer = render(parse_behaviour(behaviour), call, Occasion(0, "sim", 1))
    return read_http(list(answer.steps))


def read_http(steps: Sequence[Step]) -> Exchange:
    """The answer that these steps write."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/", headers=[("Host", "test")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(b"".join(step.data for step in steps if isinstance(step, Send)))
    status, headers, body = 0, dict[str, str](), b""
    while True:
        event = parser.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            return Exchange(status, headers, body, not isinstance(event, h11.EndOfMessage))


def read_events(provider: str, exchange: Exchange, pieces: Sequence[bytes] | None = None) -> list[Event]:
    """The events of an answer, in whatever pieces it comes; a failure status is a `Broken`, too."""
    candidate, adapter = candidate_of(provider), adapter_for(provider)
    cut = UpstreamBroken("the connection was lost") if exchange.is_cut else None
    try:
        if adapter.is_stream(exchange.status, exchange.headers, exchange.body):
            reader = adapter.open_stream(candidate)
            events = [event for piece in pieces or [exchange.body] for event in reader.feed(piece)]
            return events + reader.close(cut)
        if cut is not None:
            return [Broken(cut)]
        reply = adapter.read_reply(exchange.status, exchange.headers, exchange.body, candidate, now_s=0.0)
    except AttemptFailed as failure:
        return [Broken(failure)]
    return events_of(reply)


def meaning(events: Sequence[Event]) -> list[object]:
    """What events say, whoever says it and in however many pieces: texts joined, calls whole, ids left out."""
    told: list[object] = []
    text = reasoning = ""
    calls: list[list[str]] = []
    for event in events:
        match event:
            case ContentDelta():
                text += event.text
            case ReasoningDelta():
                reasoning += event.text
            case ToolCallDelta():
                if event.name is not None:
                    assert event.id
                    calls.append([event.name, ""])
                calls[event.index][1] += event.arguments
            case Opened():
                told.append("opened")
            case Finished():
                told += [text, [(name, orjson.loads(given)) for name, given in calls], event.finish_reason, event.usage]
            case Broken(failure):
                status = failure.upstream_status if isinstance(failure, UpstreamRefused) else None
                told += [text, type(failure), status, failure.fails_over]
            case _:
                told.append(event)
    return [reasoning, *told] if reasoning else told
