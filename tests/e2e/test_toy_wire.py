"""A wire is one file: a toy of one, asked by the whole gateway beside the others.

The toy speaks lines. A prompt is one line a message, `role text`. An answer is lines that begin with `+`, and a last
line `. finish_reason prompt_tokens completion_tokens`. With `X-Toy-Stream: yes` the lines come as they are made. A
refusal is a status and a sentence.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar, cast

import pytest
import trio
from attrs import define, field

from pg_trio import providers
from pg_trio.domain.chat import FinishReason, Prompt, Reply, Usage
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Opened
from pg_trio.domain.project import Candidate
from pg_trio.domain.provider import PROVIDERS, Provider
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import AttemptFailed, CandidateUnfit, UpstreamBroken, UpstreamNonsense, UpstreamRefused
from pg_trio.server.http1.types import Receive, Scope, Send
from tests.support.gateway import Gateway, endpoint, project, start_gateway
from tests.support.http_servers import ProbeApp, read_body, serving

ANSWER = b"+Because.\n+So it is.\n. stop 3 5\n"


@define
class ToyReader:
    """See StreamReader."""

    model: str
    is_over: bool = False
    _begun: bool = False
    _rest: bytes = b""

    def feed(self, data: bytes) -> list[Event]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines for event in self._read(line.decode())]

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        return [] if self.is_over else self._end(Broken(failure or UpstreamBroken("the toy ended early")))

    def _read(self, line: str) -> list[Event]:
        if self.is_over:
            return []
        opened: list[Event] = [] if self._begun else [Opened("toy-1", self.model)]
        self._begun = True
        if line.startswith("+"):
            return [*opened, ContentDelta(line[1:])]
        match line.split():
            case [".", "stop" | "length" as why, asked, said] if asked.isdigit() and said.isdigit():
                return opened + self._end(Finished(cast(FinishReason, why), Usage(int(asked), int(said))))
        return self._end(Broken(UpstreamNonsense("the toy sent a line that is none of its own")))

    def _end(self, event: Event) -> list[Event]:
        self.is_over = True
        return [event]


class ToyAdapter:
    """See Adapter."""

    carries_all: ClassVar[bool] = False

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        return "tools" if prompt.tools else None

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        if unfit := self.why_unfit(prompt, candidate):
            raise CandidateUnfit(candidate.provider, unfit)
        lines = [f"{message.role} {message.content}\n" for message in prompt.messages]
        headers = [("Content-Type", "text/plain"), ("X-Toy-Stream", "yes" if stream else "no")]
        credential = candidate.credential
        url = f"{credential.base_url}/{candidate.model}"
        allows_private = credential.allow_private_addresses
        return WireRequest(url, headers, "".join(lines).encode(), "POST", allows_private, stream)

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        return False

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool:
        return status == 200

    def open_stream(self, candidate: Candidate) -> ToyReader:
        return ToyReader(candidate.model)

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        if status != 200:
            raise UpstreamRefused(f"{candidate.provider}: {body.decode()}", status)
        reader = self.open_stream(candidate)
        events = reader.feed(body) + reader.close()
        last = events[-1]
        if not isinstance(last, Finished):
            raise cast(Broken, last).failure
        text = "".join(event.text for event in events if isinstance(event, ContentDelta))
        return Reply("toy-1", candidate.model, text, last.finish_reason, last.usage)


@define
class ToyProvider:
    """The other side: what it was asked, and what it answers."""

    status: int = 200
    answer: bytes = ANSWER
    asked: list[tuple[str, str, bytes]] = field(factory=list)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        assert body is not None
        headers = dict(scope["headers"])
        self.asked.append((scope["path"], headers[b"x-toy-stream"].decode(), body))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        for line in self.answer.splitlines(keepends=True):
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body"})


CREDENTIAL = """
[[credentials]]
name = "toy"
provider = "toy"
base_url = "http://127.0.0.1:{port}/v1"
"""
SLUGS = (
    project()
    + endpoint("plain").replace('"sim"', '"toy"')
    + endpoint("live", streaming_enabled=True).replace('"sim"', '"toy"')
    + endpoint("chain", failover=[{"credential": "sim", "model": "spare"}]).replace('"sim"', '"toy"', 1)
)
TOOL = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> ToyProvider:
    """What a new wire adds to the package: a row of facts, and an adapter."""
    row = Provider("toy", None, wire="toy", needs_key=False)  # type: ignore[arg-type]  # not one of the wires that ship
    monkeypatch.setitem(PROVIDERS, "toy", row)
    monkeypatch.setitem(providers._BY_PROVIDER, "toy", ToyAdapter())
    return ToyProvider()


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path, provider: ToyProvider) -> AsyncIterator[Gateway]:
    async with serving("lane", ProbeApp(provider.serve)) as port:
        yield await start_gateway(nursery, tmp_path, CREDENTIAL.format(port=port) + SLUGS)


async def test_toy_is_asked_and_answers(gateway: Gateway, provider: ToyProvider) -> None:
    answer = await gateway.call("plain", {"message": "Why?"})

    assert ("Because.So it is.", "stop") == (answer.json()["content"], answer.json()["finish_reason"])
    assert (3, 5) == (answer.json()["usage"]["prompt_tokens"], answer.json()["usage"]["completion_tokens"])
    assert [("/v1/plain", "no", b"user Why?\n")] == provider.asked


async def test_toy_streams(gateway: Gateway, provider: ToyProvider) -> None:
    answer = await gateway.call("live", {"message": "Why?", "stream": True})

    assert (200, "text/event-stream") == (answer.status, answer.headers["content-type"].partition(";")[0])
    assert answer.body.index(b"Because.") < answer.body.index(b"So it is.") < answer.body.index(b"[DONE]")
    assert [("/v1/live", "yes", b"user Why?\n")] == provider.asked


async def test_other_wire_answers_where_the_toy_refuses(gateway: Gateway, provider: ToyProvider) -> None:
    provider.status, provider.answer = 503, b"not today"
    gateway.simulator.behave("spare", "content=Hello")

    answer = await gateway.call("chain", {"message": "Why?"})

    assert (200, "Hello", 1) == (answer.status, answer.json()["content"], len(gateway.simulator.requests))
    assert 1 == len(provider.asked)


async def test_toy_is_passed_over_for_what_it_cannot_carry(gateway: Gateway, provider: ToyProvider) -> None:
    gateway.simulator.behave("spare", "content=Hello")

    answer = await gateway.call("chain", {"message": "Why?", "tools": [TOOL]})

    assert (200, "Hello", []) == (answer.status, answer.json()["content"], provider.asked)


async def test_line_of_no_wire_fails_the_try(gateway: Gateway, provider: ToyProvider) -> None:
    provider.answer = b"+Because.\nhello\n"

    answer = await gateway.call("plain")

    assert 502 == answer.status
    assert b"a line that is none of its own" in answer.body
