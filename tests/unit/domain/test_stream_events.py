"""Streamed answers as values: what wins a race, and what becomes of the events when they are put together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import FinishReason, Reasoning, Reply, ToolCall, Usage
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
from pg_trio.errors import UpstreamBroken

CALL = ToolCall("call_1", "look_up", '{"city":"Ulm"}')
OPENED = Opened("chatcmpl-1", "gpt-x")


def assemble(*events: Event, keeps_text: bool = True) -> Assembler:
    assembler = Assembler(keeps_text=keeps_text)
    for event in events:
        assembler.add(event)
    return assembler


@pytest.mark.parametrize(
    ("event", "is_token", "shows_life"),
    [
        (OPENED, False, False),
        (ContentDelta("a"), True, True),
        (ToolCallDelta(0, "call_1", "look_up", ""), True, True),
        (ReasoningDelta("H"), False, True),
        (Finished("stop"), False, False),
        (Broken(UpstreamBroken("gone")), False, False),
    ],
)
def test_only_content_is_a_token(event: Event, is_token: bool, shows_life: bool) -> None:
    assert (is_token, shows_life) == (event.is_token, event.shows_life)


TEXTS = st.text(min_size=1)
CALLS = st.builds(ToolCall, TEXTS, TEXTS, st.text())
REASONS: list[FinishReason] = ["stop", "length", "tool_calls", "content_filter"]
REPLIES = st.builds(
    Reply,
    id=TEXTS,
    model=TEXTS,
    content=st.text(),
    finish_reason=st.sampled_from(REASONS),
    usage=st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9)),
    tool_calls=st.lists(CALLS, max_size=3).map(tuple),
).map(
    lambda reply: (
        reply
        if reply.content or not reply.tool_calls
        else Reply(reply.id, reply.model, None, reply.finish_reason, reply.usage, reply.tool_calls)
    )
)


@given(REPLIES)
def test_reply_survives_being_streamed(reply: Reply) -> None:
    assert reply == assemble(*events_of(reply)).reply()


def test_reasoning_of_a_whole_reply_comes_first() -> None:
    events = events_of(Reply("chatcmpl-1", "gpt-x", "Hello", "stop", reasoning="Let me see"))

    assert [OPENED, ReasoningDelta("Let me see"), ContentDelta("Hello"), Finished("stop")] == events


def test_deltas_are_put_together() -> None:
    assembler = assemble(
        OPENED,
        ReasoningDelta("Let me see"),
        ContentDelta("Hel"),
        ContentDelta("lo"),
        ToolCallDelta(0, "call_1", "look_up", ""),
        ToolCallDelta(1, "call_2", "look_up", "{"),
        ToolCallDelta(0, None, None, '{"city":'),
        ToolCallDelta(1, None, None, "}"),
        ToolCallDelta(0, None, None, '"Ulm"}'),
        Finished("tool_calls", Usage(1, 2)),
    )

    calls = (CALL, ToolCall("call_2", "look_up", "{}"))
    assert Reply("chatcmpl-1", "gpt-x", "Hello", "tool_calls", Usage(1, 2), calls) == assembler.reply()


def test_usage_is_the_providers() -> None:
    assert Usage(1, 2) == assemble(OPENED, ContentDelta("Hello"), Finished("stop", Usage(1, 2))).usage(100)


@pytest.mark.parametrize("keeps_text", [True, False])
@pytest.mark.parametrize("end", [[Finished("stop")], [Broken(UpstreamBroken("gone"))], []])
def test_usage_is_estimated_where_none_came(keeps_text: bool, end: list[Event]) -> None:
    said: list[Event] = [ContentDelta("1234"), ReasoningDelta("Hm.."), ToolCallDelta(0, "a", "f", "1")]

    assembler = assemble(OPENED, *said, *end, keeps_text=keeps_text)

    assert Usage(25, 3, estimated=True) == assembler.usage(100)


def test_stream_that_is_carried_on_keeps_its_id() -> None:
    other = Opened("chatcmpl-2", "gpt-y")

    reply = assemble(OPENED, ContentDelta("a"), other, ContentDelta("b"), Finished("stop")).reply()

    assert ("chatcmpl-1", "gpt-y", "ab") == (reply.id, reply.model, reply.content)


@pytest.mark.parametrize("events", [[], [OPENED, ContentDelta("a")], [OPENED, Broken(UpstreamBroken("gone"))]])
def test_answer_that_is_not_whole_is_no_reply(events: list[Event]) -> None:
    with pytest.raises(AssertionError):
        assemble(*events).reply()


def test_signed_reasoning_is_streamed_in_blocks() -> None:
    blocks = (Reasoning("one", "c2ln"), Reasoning("", data="ZGF0YQ=="))
    reply = Reply("chatcmpl-1", "m", "Hi", "stop", reasoning="one", reasoning_blocks=blocks)

    events = events_of(reply)

    assert [ReasoningDelta("one", "c2ln"), ReasoningDelta("", None, "ZGF0YQ==")] == events[1:3]
    assert blocks == assemble(*events).reply().reasoning_blocks


def test_reasoning_that_is_signed_in_part_is_text_alone() -> None:
    reply = Reply("chatcmpl-1", "m", "Hi", "stop", reasoning="one two", reasoning_blocks=(Reasoning("two", "c2ln"),))

    assert ReasoningDelta("one two") == events_of(reply)[1]
