"""OpenAI's chunks, read as a strict client reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pg_trio.domain.chat import FinishReason
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Joined, Opened, ReasoningDelta, ToolCallDelta
from pg_trio.errors import UpstreamBroken
from pg_trio.surfaces.openai_chunks import DONE, HELD_CHARS, KEEP_ALIVE, STREAM_HEADERS, ChunkStyle, ChunkWriter

OPENED = Opened("chatcmpl-1", "gpt-4o-mini")
LAST = {"usage": {"prompt_tokens": 1}}


def open_renderer(*events: Event) -> ChunkWriter:
    renderer = ChunkWriter(1763800000)
    assert b"" == renderer.render(OPENED)
    renderer.render_all(events)
    return renderer


def stream_of(events: Sequence[Event], finish_reason: FinishReason = "stop") -> bytes:
    renderer = open_renderer()
    return renderer.render_all(events) + finish(renderer, finish_reason)


def finish(renderer: ChunkWriter, finish_reason: FinishReason) -> bytes:
    """An end, as a surface joins it."""
    return renderer.render_finish_reason(finish_reason) + renderer.render_last(LAST) + DONE


def chunks_of(stream: bytes) -> list[Any]:
    """The chunks of a good stream. Nothing is forgiven: no other field than data, one line each, `[DONE]` last."""
    *chunks, done, nothing = stream.decode("utf-8").split("\n\n")
    assert ("data: [DONE]", "") == (done, nothing)
    for chunk in chunks:
        assert [chunk] == chunk.splitlines()
        assert chunk.startswith("data: ")
    parsed = [orjson.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    for chunk in parsed:
        assert ["id", "object", "created", "model", "choices"] == list(chunk)[:5]
        assert ("chatcmpl-1", "chat.completion.chunk") == (chunk["id"], chunk["object"])
        assert 1763800000 == chunk["created"]
    return parsed


def test_head_and_keep_alive() -> None:
    assert {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-cache",
        b"x-accel-buffering": b"no",
    } == dict(STREAM_HEADERS)
    assert b": keep-alive\n\n" == KEEP_ALIVE


@given(st.lists(st.text(min_size=1)))
@example(["\u2028", "\u2029", "\x85", "\r\n\n", "🙂", "\x00", '"\\', "data: [DONE]\n\n", "\ufeff"])
def test_text_arrives_as_it_was(texts: list[str]) -> None:
    *chunks, last, trailer = chunks_of(stream_of([ContentDelta(text) for text in texts]))

    assert texts == [chunk["choices"][0]["delta"]["content"] for chunk in chunks]
    assert ("stop", []) == (last["choices"][0]["finish_reason"], trailer["choices"])
    assert LAST["usage"] == trailer["usage"]


EVENTS = st.sampled_from(
    [
        ContentDelta("Hi"),
        ContentDelta("\u2028ü"),
        ContentDelta("x", {"content": []}),
        ReasoningDelta("Hm", "sig"),
        ToolCallDelta(0, "c1", "f", "{}"),
        Joined("restart", 2, "openai", "gpt-4o", "was cut"),
        Opened("chatcmpl-2", "gpt-4o"),
    ]
)


@given(st.lists(EVENTS, max_size=6), st.booleans(), st.booleans())
def test_events_are_written_alike_one_by_one_and_together(events: list[Event], opens: bool, nulls: bool) -> None:
    style = ChunkStyle(opens_with_role=opens, nulls_usage=nulls)
    alone, together = ChunkWriter(1763800000, style=style), ChunkWriter(1763800000, style=style)
    events = [OPENED, *events]

    # Two at least are not taken for a lone text.
    assert b"".join([alone.render_all([event]) for event in events]) == together.render_all([*events, Finished("stop")])


def test_first_chunk_alone_has_the_role() -> None:
    first, second, last, _ = chunks_of(stream_of([ContentDelta("a"), ContentDelta("b")]))

    assert {"role": "assistant", "content": "a"} == first["choices"][0]["delta"]
    assert {"content": "b"} == second["choices"][0]["delta"]
    assert {} == last["choices"][0]["delta"]


def test_silent_answer_has_the_role_too() -> None:
    last, _ = chunks_of(stream_of([], "length"))

    assert {"role": "assistant", "content": ""} == last["choices"][0]["delta"]
    assert "length" == last["choices"][0]["finish_reason"]


def test_tool_calls_have_openais_shape() -> None:
    events = [
        ToolCallDelta(0, "call_1", "look_up", ""),
        ToolCallDelta(0, None, None, '{"a":\u2028}'),
        ToolCallDelta(1, "call_2", "other", "{}"),
    ]

    first, second, third, _, _ = chunks_of(stream_of(events, "tool_calls"))

    begin = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
    assert {"role": "assistant", "content": None, "tool_calls": [begin]} == first["choices"][0]["delta"]
    more = {"index": 0, "function": {"arguments": '{"a":\u2028}'}}
    assert {"tool_calls": [more]} == second["choices"][0]["delta"]
    other = {"index": 1, "id": "call_2", "type": "function", "function": {"name": "other", "arguments": "{}"}}
    assert {"tool_calls": [other]} == third["choices"][0]["delta"]


def test_text_before_a_call_takes_the_role() -> None:
    first, second, _, _ = chunks_of(stream_of([ContentDelta("Wait"), ToolCallDelta(0, "call_1", "look_up", "")]))

    assert {"role": "assistant", "content": "Wait"} == first["choices"][0]["delta"]
    assert ["tool_calls"] == list(second["choices"][0]["delta"])


@pytest.mark.parametrize("event", [ReasoningDelta(""), Finished("stop"), Broken(UpstreamBroken("gone"))])
def test_event_that_is_not_the_clients(event: Event) -> None:
    assert b"" == open_renderer().render(event)


def test_reasoning_has_a_field_of_its_own() -> None:
    events: list[Event] = [ReasoningDelta("Hm.\u2028"), ReasoningDelta("So."), ContentDelta("Hi")]

    first, second, third, _, _ = chunks_of(stream_of(events))

    # An empty content beside the role: a client that joins contents has nothing to skip.
    assert {"role": "assistant", "content": "", "reasoning_content": "Hm.\u2028"} == first["choices"][0]["delta"]
    assert {"reasoning_content": "So."} == second["choices"][0]["delta"]
    assert {"content": "Hi"} == third["choices"][0]["delta"]


def test_call_after_reasoning_has_no_second_role() -> None:
    _, call, _, _ = chunks_of(stream_of([ReasoningDelta("Hm."), ToolCallDelta(0, "call_1", "look_up", "")]))

    assert ["tool_calls"] == list(call["choices"][0]["delta"])


def test_hidden_reasoning_is_not_rendered() -> None:
    renderer = ChunkWriter(1763800000, shows_reasoning=False)
    renderer.render(OPENED)

    assert b"" == renderer.render_all([ReasoningDelta("Hm.")])
    assert b'"role":"assistant","content":"Hi"' in renderer.render(ContentDelta("Hi"))


def test_stream_carried_on_has_one_id_and_role() -> None:
    events: list[Event] = [ContentDelta("a"), Opened("chatcmpl-2", "claude"), ContentDelta("b")]

    first, second, last, trailer = chunks_of(stream_of(events))

    assert ["gpt-4o-mini", "claude", "claude", "claude"] == [chunk["model"] for chunk in (first, second, last, trailer)]
    assert {"content": "b"} == second["choices"][0]["delta"]


def test_model_name_cannot_leave_its_place() -> None:
    renderer = ChunkWriter(1763800000)
    renderer.render(Opened("chatcmpl-1", 'x","choices":[%b]\n\n'))

    chunk = chunks_of(finish(renderer, "stop"))[0]

    assert 'x","choices":[%b]\n\n' == chunk["model"]


# ── signed reasoning ─────────────────────────────────────────────────────────────────────────────────────────────────


def add_up(total: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    """What OpenAI's SDK makes of deltas (openai-python 2, lib/streaming/_deltas.py): lists are added up by `index`."""
    for key, value in delta.items():
        before = total.get(key)
        if before is None or key in ("index", "type"):
            total[key] = value
        elif isinstance(before, str):
            total[key] = before + value
        elif isinstance(before, dict):
            total[key] = add_up(before, value)
        else:
            for entry in value:
                index = entry["index"]
                if index < len(before):
                    before[index] = add_up(before[index], entry)
                else:
                    before.insert(index, entry)
    return total


def added_up(events: Sequence[Event]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for chunk in chunks_of(stream_of(events)):
        for choice in chunk["choices"]:
            add_up(total, choice["delta"])
    return total


def text_block(text: str, signature: str, index: int) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "signature": signature, "index": index}


def test_sdk_adds_blocks_up_whole() -> None:
    events: list[Event] = [
        ReasoningDelta("Hm. "),
        ReasoningDelta("So."),
        ReasoningDelta("", signature="c2lnMQ=="),
        ReasoningDelta("", data="ZGF0YQ=="),
        ContentDelta("Hi"),
        ReasoningDelta("Then", signature="c2lnMg=="),
        ToolCallDelta(0, "call_1", "look_up", "", "dGhvdWdodA=="),
        ToolCallDelta(0, None, None, "{}"),
    ]

    message = added_up(events)

    assert ("Hm. So.Then", "Hi") == (message["reasoning_content"], message["content"])
    assert [
        text_block("Hm. So.", "c2lnMQ==", 0),
        {"type": "reasoning.encrypted", "data": "ZGF0YQ==", "index": 1},
        text_block("Then", "c2lnMg==", 2),
    ] == message["reasoning_details"]
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    assert [{**call, "extra_content": {"google": {"thought_signature": "dGhvdWdodA=="}}}] == message["tool_calls"]


def test_first_chunk_may_be_a_block() -> None:
    first, second, _, _ = chunks_of(stream_of([ReasoningDelta("", data="ZGF0YQ=="), ContentDelta("Hi")]))

    assert ["role", "content", "reasoning_details"] == list(first["choices"][0]["delta"])
    assert {"content": "Hi"} == second["choices"][0]["delta"]


@pytest.mark.parametrize(
    "unsigned",
    [
        [ReasoningDelta("x" * HELD_CHARS), ReasoningDelta("y"), ReasoningDelta("", signature="c2ln")],
        [ReasoningDelta("a part"), ReasoningDelta("", signature="")],
        [ReasoningDelta("whose?"), Joined("restart", 0, "anthropic", "claude", "it broke")],
    ],
)
def test_block_that_is_not_whole_is_not_signed(unsigned: list[Event]) -> None:
    """It is too long to be held, a part of it was left out, or its candidate broke; the next one is whole again."""
    message = added_up([*unsigned, ReasoningDelta("whole", signature="c2lnMg=="), ContentDelta("Hi")])

    assert [text_block("whole", "c2lnMg==", 0)] == message["reasoning_details"]


def test_hidden_reasoning_hides_its_blocks() -> None:
    renderer = ChunkWriter(1763800000, shows_reasoning=False)
    renderer.render(OPENED)

    assert b"" == renderer.render_all([ReasoningDelta("Hm.", signature="c2ln"), ReasoningDelta("", data="ZGF0YQ==")])
