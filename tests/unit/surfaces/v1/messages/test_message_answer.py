"""Whole answers of Messages: exactly Anthropic's object, whichever provider answered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.call import WholeAnswer
from pg_trio.domain.chat import FinishReason, Reasoning, Reply, Usage
from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.domain.native_fields import NativeStop
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.tools import ToolCall
from pg_trio.surfaces.v1.messages import COUNT_TOKENS, MESSAGES
from tests.support.anthropic_types import check_count, check_message
from tests.support.messages_bodies import read_body

REQUEST = read_body({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]})
USAGE = Usage(100, 20, cached_tokens=30, cache_write_tokens=10, reasoning_tokens=5)
REPLY = Reply("chatcmpl-1", "gpt-4o", "Hello", "stop", USAGE)


def answer_of(reply: Reply, usage: Usage = USAGE, **fields: Any) -> WholeAnswer:
    return WholeAnswer(
        reply, usage, UUID(int=7), "openai", (), StageTimes(("auth", "provider"), (0.1, 12.5)), REQUEST, 0.0, **fields
    )


def render(reply: Reply, usage: Usage = USAGE) -> Any:
    return orjson.loads(MESSAGES.render_answer(answer_of(reply, usage), ()).body)


def test_text() -> None:
    assert {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "gpt-4o",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 60,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 30,
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 5},
        },
    } == render(REPLY)


def test_thinking_text_and_calls_in_order() -> None:
    reply = evolve(
        REPLY,
        content="I look.",
        finish_reason="tool_calls",
        tool_calls=(ToolCall("call_1", "look", '{"at": "Ulm"}'), ToolCall("call_2", "rest", "")),
        reasoning="Hm.",
        reasoning_blocks=(Reasoning("Hm.", "c2ln"), Reasoning("", data="ZW5j")),
    )

    shape = render(reply)

    assert [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "Ulm"}},
        {"type": "tool_use", "id": "call_2", "name": "rest", "input": {}},
    ] == shape["content"]
    assert "tool_use" == shape["stop_reason"]


def test_unsigned_reasoning_is_left_out() -> None:
    shape = render(evolve(REPLY, reasoning="Hm.", reasoning_blocks=(Reasoning("Hm."), Reasoning("Hm.", ""))))

    assert [{"type": "text", "text": "Hello"}] == shape["content"]


@pytest.mark.parametrize(
    ("finish_reason", "stop", "expected"),
    [
        ("stop", None, ("end_turn", None)),
        ("length", None, ("max_tokens", None)),
        ("tool_calls", None, ("tool_use", None)),
        ("content_filter", None, ("refusal", None)),
        ("stop", NativeStop("stop_sequence", "END"), ("stop_sequence", "END")),
        ("stop", NativeStop("stop_sequence"), ("stop_sequence", None)),
        ("length", NativeStop("pause_turn"), ("pause_turn", None)),
        ("length", NativeStop("model_context_window_exceeded"), ("model_context_window_exceeded", None)),
        ("tool_calls", NativeStop("stop_sequence", "END"), ("tool_use", None)),
    ],
)
def test_stop_reasons(finish_reason: FinishReason, stop: NativeStop | None, expected: tuple[str, str | None]) -> None:
    shape = render(evolve(REPLY, finish_reason=finish_reason, stop=stop))

    assert expected == (shape["stop_reason"], shape["stop_sequence"])


def test_only_stop_sequence_is_the_one_that_matched() -> None:
    """Cohere says that one matched, not which."""
    request = evolve(REQUEST, options=evolve(REQUEST.options, stop=("END",)))
    answer = evolve(answer_of(evolve(REPLY, stop=NativeStop("stop_sequence"))), request=request)

    assert "END" == orjson.loads(MESSAGES.render_answer(answer, ()).body)["stop_sequence"]


BLOCKS: tuple[dict[str, Any], ...] = (
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "Ulm"}},
    {"type": "text", "text": "It "},
    {"type": "text", "text": "rains."},
)


def test_blocks_of_anthropics_own_come_back() -> None:
    assert list(BLOCKS) == render(evolve(REPLY, content="It rains.", native_content=BLOCKS))["content"]


def test_changed_content_replaces_the_blocks() -> None:
    """An answer that was repaired to match a schema."""
    shape = render(evolve(REPLY, content='{"it": "rains"}', native_content=BLOCKS))

    assert [{"type": "text", "text": '{"it": "rains"}'}] == shape["content"]


def test_header_fields() -> None:
    states = [LimitState(LimitPolicy("minute", 60, 60), 59, 1)]

    fields = dict(MESSAGES.render_answer(answer_of(REPLY), states).headers())

    assert str(UUID(int=7)).encode() == fields[b"request-id"] == fields[b"x-request-id"]
    assert (b"60", b"59", b"1970-01-01T00:00:01Z") == tuple(
        fields[b"anthropic-ratelimit-requests-" + name] for name in (b"limit", b"remaining", b"reset")
    )


def test_count() -> None:
    answer = COUNT_TOKENS.render_answer(answer_of(evolve(REPLY, content=None), Usage(7, 0, estimated=True)), ())

    assert 7 == check_count(orjson.loads(answer.body))
    assert str(UUID(int=7)).encode() == dict(answer.headers())[b"request-id"]


texts = st.text(st.characters(codec="utf-8"), max_size=20)
arguments = st.sampled_from(["", "{}", '{"a": [1, null]}', "[1]", "not JSON", '"text"', "[" * 300 + "]" * 300])
calls = st.builds(ToolCall, texts.filter(bool), texts.filter(bool), arguments)
counts = st.integers(0, 100)
usages = st.builds(
    lambda fresh, cached, written, output: Usage(
        fresh + cached + written, output, cached_tokens=cached, cache_write_tokens=written
    ),
    counts,
    counts,
    counts,
    counts,
)
replies = st.builds(
    Reply,
    id=texts,
    model=texts,
    content=st.one_of(st.none(), texts),
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    reasoning_blocks=st.lists(
        st.builds(Reasoning, texts, st.sampled_from([None, "", "c2ln"]), st.sampled_from([None, "ZW5j"])), max_size=2
    ).map(tuple),
    stop=st.one_of(
        st.none(),
        st.builds(NativeStop, st.sampled_from([None, "stop_sequence", "pause_turn"]), st.one_of(st.none(), texts)),
    ),
)


@given(reply=replies, usage=usages)
def test_every_answer_is_anthropics(reply: Reply, usage: Usage) -> None:
    message = check_message(render(reply, usage))

    assert (reply.model, usage.completion_tokens) == (message.model, message.usage.output_tokens)
    told = message.usage
    assert usage.prompt_tokens == told.input_tokens + (told.cache_read_input_tokens or 0) + (
        told.cache_creation_input_tokens or 0
    )
