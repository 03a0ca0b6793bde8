"""Providers that answer oddly, over real sockets: what the client gets, and what the provider was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field

from tests.support.gateway import Gateway, endpoint, project, start_gateway

Script = Callable[[dict[str, Any]], bytes]


@define
class OddProvider:
    """Answers each model's requests with bytes of its script, and closes."""

    scripts: dict[str, Script] = field(factory=dict)
    asked: list[dict[str, Any]] = field(factory=list)

    async def serve(self, stream: trio.SocketStream) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += await stream.receive_some()
        head, _, body = received.partition(b"\r\n\r\n")
        (length,) = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        while len(body) < int(length):
            body += await stream.receive_some()
        self.asked.append(json.loads(body))
        # The gateway may have left already.
        with suppress(trio.BrokenResourceError):
            await stream.send_all(self.scripts[self.asked[-1]["model"]](self.asked[-1]))
        await stream.aclose()


def http(body: Any, status: str = "200 OK", content_type: str = "application/json") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n".encode() + data


def answer(content: Any, finish_reason: Any = "stop", **fields: Any) -> dict[str, Any]:
    return {
        "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}],
        **fields,
    }


def sse(*chunks: Any) -> bytes:
    return b"".join([b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]) + b"data: [DONE]\n\n"


def text(content: str, finish_reason: Any = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": content}, "finish_reason": finish_reason}]}


ODD = """
[[credentials]]
name = "odd"
provider = "openai"
api_key = "sk-odd-key-000000000000"
base_url = "http://127.0.0.1:{port}/v1"

[[credentials]]
name = "odd-anthropic"
provider = "anthropic"
api_key = "sk-ant-odd-000000000000"
base_url = "http://127.0.0.1:{port}/v1"
"""


@define
class Site:
    gateway: Gateway
    provider: OddProvider

    async def ask(self, slug: str, script: Script | bytes, **body: Any) -> Any:
        self.provider.scripts[slug] = script if callable(script) else lambda _: script
        return await self.gateway.call(slug, {"message": "Hello", **body})


def odd(slug: str, credential: str = "odd", **settings: Any) -> str:
    written = endpoint(slug, streaming_enabled=True, **settings)
    return written.replace('credential = "sim"\nmodel', f'credential = "{credential}"\nmodel', 1)


BACKUP = [{"credential": "sim", "model": "backup"}]


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    provider = OddProvider()
    listeners = await nursery.start(partial(trio.serve_tcp, provider.serve, 0, host="127.0.0.1"))
    credential = ODD.format(port=listeners[0].socket.getsockname()[1])
    endpoints = [
        odd("alone", sessions_enabled=True),
        odd("backed", failover=BACKUP),
        odd("claude", "odd-anthropic"),
        # A dollar for a thousand tokens: an answer of a hundred characters costs over two cents.
        odd("frugal", monthly_budget_usd=0.06, estimated_cost_per_1k_tokens_usd=1, max_output_tokens=30),
    ]
    return Site(await start_gateway(nursery, tmp_path, "\n".join([credential, project(), *endpoints])), provider)


def told(response: Any) -> tuple[str, str | None]:
    """The text and the last finish reason of a streamed answer."""
    lines = [line[6:] for line in response.body.decode().splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line).get("choices") or []]
    content = "".join([choice["delta"].get("content") or "" for choice in choices])
    return content, next((choice["finish_reason"] for choice in choices[::-1] if choice.get("finish_reason")), None)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "text/event-stream"])
async def test_stream_under_any_type_is_one(site: Site, content_type: str) -> None:
    script = http(sse(text("Hel"), text("lo", "END_TURN")), content_type=content_type)

    streamed = await site.ask("alone", script, stream=True)
    whole = await site.ask("alone", script)

    assert ("Hello", "stop") == told(streamed)
    assert ("Hello", "stop") == (whole.json()["content"], whole.json()["finish_reason"])


async def test_failed_finish_is_a_failure_and_stores_nothing(site: Site) -> None:
    broken = http(sse(text("half an ans"), text("", "network_error")), content_type="text/event-stream")

    failed = await site.ask("alone", broken, stream=True)
    again = await site.ask("alone", http(answer("Hi")))
    session = again.json()["meta"]["session_id"]
    await site.ask("alone", http(answer("Hi")), session_id=session)

    assert ("half an ans", "error") == told(failed)
    assert b"event: error\ndata: " in failed.body
    assert "half an ans" not in json.dumps(site.provider.asked)


async def test_failed_finish_of_a_whole_answer_fails_over(site: Site) -> None:
    response = await site.ask("backed", http(answer("half an ans", "error")))

    assert 200 == response.status
    assert "half an ans" != response.json()["content"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "fails_over"),
    [
        ({"message": "x", "code": "context_length_exceeded"}, True),
        ({"message": "API key not valid. Please pass a valid API key."}, True),
        ({"message": "Invalid type for 'messages[0].content'"}, False),
    ],
)
async def test_refusal_of_one_candidate_fails_over(site: Site, error: Any, fails_over: bool, stream: bool) -> None:
    response = await site.ask("backed", http({"error": error}, "400 Bad Request"), stream=stream)

    assert (200 if fails_over else 502) == response.status
    assert fails_over == (1 == len(site.gateway.simulator.requests))


async def test_usage_of_a_stream_is_asked_for_until_refused(site: Site) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 63, "completion_tokens": 2}}

    def strict(request: dict[str, Any]) -> bytes:
        if "stream_options" in request:
            return http({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}, "422 Unprocessable")
        return http(sse(text("Hi", "stop"), usage), content_type="text/event-stream")

    responses = [await site.ask("alone", strict, stream=True) for _ in range(2)]

    assert [("Hi", "stop")] * 2 == [told(response) for response in responses]
    assert [True, False, False] == ["stream_options" in request for request in site.provider.asked]
    assert b'"prompt_tokens":63' in responses[0].body


async def test_whole_answer_is_bounded_where_a_stream_was_asked_for(site: Site) -> None:
    response = await site.ask("alone", http(answer("x" * 17 * 2**20), content_type="text/event-stream"), stream=True)

    assert 502 == response.status
    assert "answer's body is over 16777216 bytes" in response.json()["error"]


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_with_counts_of_zero_spend_the_budget(site: Site, stream: bool) -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    whole = http(answer("x" * 100, usage=zeros))
    streamed = http(sse(text("x" * 100, "stop"), {"choices": [], "usage": zeros}), content_type="text/event-stream")

    responses = [await site.ask("frugal", streamed if stream else whole, stream=stream) for _ in range(4)]

    assert [200, 422] == sorted({response.status for response in responses})
    assert "budget" in responses[-1].json()["error"]
    assert len(site.provider.asked) < len(responses)


@pytest.mark.parametrize("stream", [False, True])
async def test_words_in_a_good_status_reach_the_client_from_any_wire(site: Site, stream: bool) -> None:
    response = await site.ask("claude", http({"code": 1002, "message": "quota exceeded"}), stream=stream)

    assert 502 == response.status
    assert "Provider call failed: an error in the answer: quota exceeded" == response.json()["error"]


async def test_input_of_a_call_that_came_twice_is_used_once(site: Site) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"a": 1}}
    events = [
        {"type": "message_start", "message": {"id": "msg_1", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": call},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]

    response = await site.ask("claude", http(sse(*events), content_type="text/event-stream"))

    (called,) = response.json()["tool_calls"]
    assert {"a": 1} == json.loads(called["function"]["arguments"])
