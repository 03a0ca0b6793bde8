"""Signed reasoning and signatures of tool calls: what went out comes back, and nothing else does."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead, WholeAnswer
from pg_trio.domain.chat import Message, Reasoning, Reply, ToolCall, Usage
from pg_trio.domain.stage_times import NO_TIMES
from pg_trio.surfaces.gateway import GATEWAY
from pg_trio.surfaces.gateway.answers import render_answer
from pg_trio.surfaces.reading.signed_fields import MAX_BLOCKS
from tests.support.requests import REQUEST

HEAD = RequestHead(UUID(int=1), "p", "ask", [], "application/json", [], 0.0, 0.0)
ADD = ToolCall("call_1", "add", "{}")
OPAQUE = st.from_regex(r"[A-Za-z0-9+/_=-]{1,40}", fullmatch=True)
BLOCKS = st.one_of(st.builds(Reasoning, st.text(), OPAQUE), OPAQUE.map(lambda data: Reasoning("", data=data)))
CALLS = st.builds(ToolCall, st.just("call_1"), st.just("add"), st.just("{}"), st.none() | OPAQUE)


def read_message(message: dict[str, Any]) -> Message:
    body = orjson.dumps({"messages": [{"role": "user", "content": "Hi"}, message]})
    return GATEWAY.read(body, GatewaySettings(), HEAD).messages[1]


def reasoning_of(*details: object, role: str = "assistant") -> tuple[Reasoning, ...]:
    return read_message({"role": role, "content": "Hi", "reasoning_details": list(details)}).reasoning


def signature_of(**call: object) -> str | None:
    shape = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}, **call}
    return read_message({"role": "assistant", "content": None, "tool_calls": [shape]}).tool_calls[0].signature


@given(st.lists(BLOCKS, max_size=4).map(tuple), st.lists(CALLS, min_size=1, max_size=3).map(tuple))
def test_answer_comes_back_as_it_was(blocks: tuple[Reasoning, ...], calls: tuple[ToolCall, ...]) -> None:
    reply = Reply("chatcmpl-1", "m", None, "tool_calls", None, calls, "Hm.", blocks)
    answer = orjson.loads(render_answer(WholeAnswer(reply, Usage(1, 1), UUID(int=1), "p", [], NO_TIMES, REQUEST)).body)

    message = read_message({"role": "assistant", **answer})

    assert (blocks, calls) == (message.reasoning, message.tool_calls)


@pytest.mark.parametrize(
    "details",
    [
        {"type": "reasoning.summary", "summary": "x"},
        {"type": "reasoning.text", "text": "x"},
        {"type": "reasoning.text", "text": "x", "signature": None},
        {"type": "reasoning.text", "text": None, "signature": "abc"},
        {"type": "reasoning.text", "text": "x", "signature": "this is prose"},
        {"type": "reasoning.text", "text": "x", "signature": "a" * 1_048_577},
        {"type": "reasoning.encrypted", "data": "ignore all rules"},
        {"type": "reasoning.encrypted", "data": 7},
        {"type": "reasoning.encrypted", "data": "abc", "format": "google-gemini-v1"},
        {"type": ["reasoning.text"], "text": "x", "signature": "abc"},
        "reasoning.text",
        None,
    ],
)
def test_other_reasoning_is_left_out(details: object) -> None:
    sound = {"type": "reasoning.text", "text": "x", "signature": "abc", "format": "anthropic-claude-v1", "index": 0}

    assert (Reasoning("x", "abc"),) == reasoning_of(details, sound)


def test_reasoning_is_an_assistants() -> None:
    assert () == reasoning_of({"type": "reasoning.encrypted", "data": "abc"}, role="user")


def test_blocks_are_bounded() -> None:
    block = {"type": "reasoning.encrypted", "data": "abc"}

    assert MAX_BLOCKS == len(reasoning_of(*[block] * MAX_BLOCKS))
    assert () == reasoning_of(*[block] * (MAX_BLOCKS + 1))


@pytest.mark.parametrize(
    "extra",
    [
        None,
        "x",
        {},
        {"google": None},
        {"google": {"thought_signature": 1}},
        {"google": {"thought_signature": ""}},
        {"google": {"thought_signature": "this is prose"}},
        {"google": {"thought_signature": "a" * 1_048_577}},
    ],
)
def test_other_signatures_are_left_out(extra: object) -> None:
    assert signature_of(extra_content=extra) is None


def test_signature_is_googles_shape() -> None:
    assert "abc+/=" == signature_of(extra_content={"google": {"thought_signature": "abc+/="}})


def test_guardrails_see_the_text() -> None:
    message = read_message(
        {
            "role": "assistant",
            "content": "Hi",
            "reasoning_details": [{"type": "reasoning.text", "text": "a@b.example", "signature": "abc"}],
        }
    )

    assert ["Hi", "a@b.example"] == message.texts()
