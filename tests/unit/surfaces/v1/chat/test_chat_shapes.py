"""Whole answers, chunks and failures of Chat Completions against the types of OpenAI's package, for any reply."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from pg_trio.domain.call import RequestHead, WholeAnswer
from pg_trio.domain.chat import ChatRequest, Message, Reply, Usage
from pg_trio.domain.events import Event, Finished, Opened, events_of
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import ProviderCallFailed, ProviderDisabled
from pg_trio.surfaces import StreamSummary
from pg_trio.surfaces.v1.chat import CHAT
from pg_trio.surfaces.v1.openai_errors import render_openai_error
from tests.clients.python.openai_shapes import check_error, check_shape, check_stream
from tests.support.response_replies import replies

HEAD = RequestHead(UUID(int=7), "p", None, [], None, [], 0.0, 1763800000.7)
ENDPOINT = Endpoint(UUID(int=2), "ask", "Ask", (Candidate(Credential("main", "openai", "http://127.0.0.1"), "gpt"),))
TIMES = StageTimes(("auth", "provider"), (0.5, 1800.0))
SUMMARY = StreamSummary(HEAD.request_id, "openai", "gpt-4o-mini", 1, 231.4, TIMES, None)
counts = st.integers(0, 2**31)
usages = st.builds(Usage, counts, counts, estimated=st.booleans(), cached_tokens=counts, reasoning_tokens=counts)


def request(options: Any = None) -> ChatRequest:
    body = {"model": "ask", "stream_options": options}
    return ChatRequest((Message("user", "Hi"),), body, None, True, model="ask")


def render_stream(reply: Reply, usage: Usage, options: Any = None) -> bytes:
    stream = CHAT.open_stream(HEAD, request(options), ENDPOINT)
    events: list[Event] = [Opened(reply.id, reply.model), *events_of(reply)]
    body = stream.render([event for event in events if not isinstance(event, Finished)])
    return body + stream.finish(reply.finish_reason, usage, SUMMARY)


@given(replies, usages)
def test_any_answer_is_openai_s(reply: Reply, usage: Usage) -> None:
    answer = WholeAnswer(reply, usage, HEAD.request_id, "openai", [], TIMES, request(), at=1.5)

    check_shape(ChatCompletion, CHAT.render_answer(answer).body)


@given(replies, usages, st.booleans())
def test_any_stream_is_openai_s_and_whole(reply: Reply, usage: Usage, shows_usage: bool) -> None:
    body = render_stream(reply, usage, {"include_usage": True} if shows_usage else None)

    assert check_stream(ChatCompletionChunk, body) >= 2
    assert body.endswith(b"data: [DONE]\n\n")
    # What OpenAI's own helper makes of it.
    state: Any = ChatCompletionStreamState()
    for line in body.decode().split("\n"):
        if line.startswith("data: {"):
            state.handle_chunk(ChatCompletionChunk.model_validate_json(line.removeprefix("data: ")))
    made = state.current_completion_snapshot
    [choice] = made.choices
    assert (reply.content or None, reply.finish_reason) == (choice.message.content or None, choice.finish_reason)
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == calls
    assert shows_usage is (made.usage is not None)


def test_broken_stream_has_an_error_for_its_end() -> None:
    stream = CHAT.open_stream(HEAD, request(), ENDPOINT)

    body = stream.render([Opened("1", "gpt")]) + stream.fail(ProviderCallFailed("a\u2028b"))

    last = body.removesuffix(b"\n\n").split(b"\n")[-1]
    check_error(last.removeprefix(b"data: "))
    assert b"[DONE]" not in body


def test_provider_switched_off_says_when_to_come_again() -> None:
    answer = render_openai_error(ProviderDisabled("openai"), HEAD.request_id)

    headers = dict(answer.headers())
    assert (b"1", b"1000") == (headers[b"retry-after"], headers[b"retry-after-ms"])
    assert b"x-should-retry" not in headers
    assert "provider_disabled" == orjson.loads(answer.body)["error"]["code"]
