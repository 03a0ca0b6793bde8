"""Streamed answers of Messages: Anthropic's events, each block whole and in its place."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_trio.domain.chat import FinishReason, Reasoning, Reply, Usage
from pg_trio.domain.events import (
    ContentDelta,
    Event,
    Finished,
    Joined,
    NativeBlock,
    NativeNote,
    Opened,
    ReasoningDelta,
    ToolCallDelta,
    events_of,
)
from pg_trio.domain.native_fields import NativeStop
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import ProviderCallFailed
from pg_trio.surfaces import StreamSummary
from pg_trio.surfaces.v1.messages import MESSAGES
from pg_trio.surfaces.v1.messages.message_stream import HELD_CHARS, MessageStream
from tests.support.anthropic_types import content_of_stream, read_stream
from tests.support.messages_bodies import head_with, read_body
from tests.unit.surfaces.v1.messages.test_message_answer import BLOCKS, render, replies

ENDPOINT = Endpoint(UUID(int=2), "ask", "Ask", (Candidate(Credential("main", "openai", "http://127.0.0.1"), "gpt"),))
REQUEST = read_body({"model": "ask", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello there"}]})
SUMMARY = StreamSummary(UUID(int=7), "openai", "gpt", 1, 1.0, StageTimes(("auth", "provider"), (0.5, 12.5)), None)
OPENED = Opened("chatcmpl-1", "gpt-4o")
SIGNED = ReasoningDelta("", signature="c2ln")


def stream(endpoint: Endpoint = ENDPOINT) -> MessageStream:
    return MESSAGES.open_stream(head_with(), REQUEST, endpoint)


def tell(
    *events: Event, finish: FinishReason = "stop", usage: Usage | None = None, endpoint: Endpoint = ENDPOINT
) -> list[dict[str, Any]]:
    """The stream's events for these, which come one by one, with its end."""
    writer = stream(endpoint)
    body = b"".join([writer.render([event]) for event in (OPENED, *events)])
    return read_stream(body + writer.finish(finish, usage or Usage(3, 2), SUMMARY))


def content(*events: Event) -> list[dict[str, Any]]:
    return content_of_stream(tell(*events))


def call(index: int, name: str | None = None, arguments: str = "") -> ToolCallDelta:
    return ToolCallDelta(index, None if name is None else f"call_{index}", name, arguments)


def used(index: int, name: str, **given: object) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"call_{index}", "name": name, "input": given}


def test_bytes_of_a_plain_answer() -> None:
    writer = stream()

    body = writer.render([OPENED, ContentDelta("Hi"), ContentDelta("!\u2028")]) + writer.finish(
        "stop", Usage(9, 2, cached_tokens=4), SUMMARY
    )

    assert (
        b"event: message_start\n"
        b'data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"gpt-4o",'
        b'"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,'
        b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}\n\n'
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"!\\u2028"}}\n\n'
        b"event: content_block_stop\n"
        b'data: {"type":"content_block_stop","index":0}\n\n'
        b"event: message_delta\n"
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        b'"usage":{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":2}}\n\n'
        b"event: message_stop\n"
        b'data: {"type":"message_stop"}\n\n'
    ) == body


def test_thinking_text_and_calls_have_their_indices() -> None:
    events = tell(
        ReasoningDelta("Hm"),
        ReasoningDelta("."),
        SIGNED,
        ReasoningDelta("", data="ZW5j"),
        ContentDelta("I look."),
        call(0, "look"),
        call(0, None, '{"at":'),
        call(0, None, '"Ulm"}'),
        call(1, "rest", "{}"),
        finish="tool_calls",
    )

    assert [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "text", "text": "I look."},
        used(0, "look", at="Ulm"),
        used(1, "rest"),
    ] == content_of_stream(events)
    assert "tool_use" == events[-2]["delta"]["stop_reason"]


def test_unsigned_reasoning_is_left_out() -> None:
    assert [{"type": "text", "text": "Hi"}] == content(ReasoningDelta("Hm."), ContentDelta("Hi"))
    assert [{"type": "text", "text": "Hi"}] == content(
        ReasoningDelta("Hm."), ReasoningDelta("", signature=""), ContentDelta("Hi")
    )


def test_reasoning_that_is_too_long_is_left_out() -> None:
    events = [ReasoningDelta("x" * HELD_CHARS), ReasoningDelta("y"), SIGNED, ReasoningDelta("z"), SIGNED]

    assert [{"type": "thinking", "thinking": "z", "signature": "c2ln"}] == content(*events)


def test_thinking_of_a_candidate_that_did_not_answer_is_left_out() -> None:
    joined = Joined("restart", 0, "anthropic", "claude", "it broke")

    told = content(ReasoningDelta("Hm."), SIGNED, joined, Opened("2", "other"), ContentDelta("Hi"))

    assert [{"type": "text", "text": "Hi"}] == told


def test_endpoint_may_hide_reasoning() -> None:
    hidden = evolve(ENDPOINT, stream_reasoning=False)

    events = tell(ReasoningDelta("Hm."), SIGNED, ContentDelta("Hi"), endpoint=hidden)

    assert [{"type": "text", "text": "Hi"}] == content_of_stream(events)


def test_answer_goes_on_in_the_same_block() -> None:
    joined = Joined("continue", 2, "anthropic", "claude", "it broke")

    assert [{"type": "text", "text": "Hi there"}] == content(
        ContentDelta("Hi"), joined, Opened("2", "o"), ContentDelta(" there")
    )


def test_interleaved_calls_come_one_behind_the_other() -> None:
    told = content(
        call(0, "a"),
        call(1, "b"),
        call(0, None, '{"x":'),
        call(1, None, '{"y":2'),
        call(0, None, "1}"),
        call(1, None, "}"),
    )

    assert [used(0, "a", x=1), used(1, "b", y=2)] == told


def test_text_in_the_middle_of_a_call_comes_behind_it() -> None:
    told = content(call(0, "a", '{"x":'), ContentDelta("Wait."), call(0, None, "1}"))

    assert [used(0, "a", x=1), {"type": "text", "text": "Wait."}] == told


def test_thinking_between_calls_keeps_its_place() -> None:
    told = content(call(0, "a", "{}"), ReasoningDelta("Hm."), SIGNED, call(1, "b", "{}"))

    assert ["tool_use", "thinking", "tool_use"] == [block["type"] for block in told]


def test_blocks_and_citations_of_anthropics_own() -> None:
    cited = {
        "type": "web_search_result_location",
        "cited_text": "Rain",
        "encrypted_index": "aW5kZXg=",
        "title": "Weather",
        "url": "https://example.org",
    }
    searched = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Ulm"}}

    told = content(NativeBlock(searched), ContentDelta("It "), NativeNote(), ContentDelta("rains."), NativeNote(cited))

    assert [
        searched,
        {"type": "text", "text": "It "},
        {"type": "text", "text": "rains.", "citations": [cited]},
    ] == told


def test_end_says_which_sequence_stopped_it() -> None:
    events = tell(ContentDelta("Hi"), Finished("stop", None, NativeStop("stop_sequence", "END")))

    assert {"stop_reason": "stop_sequence", "stop_sequence": "END"} == events[-2]["delta"]


def test_answer_without_a_token_is_whole() -> None:
    events = tell(finish="content_filter")

    assert ["message_start", "message_delta", "message_stop"] == [event["type"] for event in events]
    assert "refusal" == events[1]["delta"]["stop_reason"]


def test_start_has_the_counts_that_the_provider_tells_there() -> None:
    writer = stream()

    body = writer.render([Opened("msg_1", "claude", Usage(30, 1, cached_tokens=20)), ContentDelta("Hi")])

    usage = json.loads(body.split(b"data: ")[1].split(b"\n")[0])["message"]["usage"]
    assert (10, 20, 1) == (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"])


def test_failure_is_an_error_event_and_no_end() -> None:
    writer = stream()
    body = writer.render([OPENED, ContentDelta("Hi")]) + writer.fail(ProviderCallFailed("it broke"))

    events = read_stream(body)

    assert {
        "type": "error",
        "error": {"type": "api_error", "message": "Provider call failed: it broke"},
        "request_id": str(UUID(int=7)),
    } == events[-1]
    assert not any(event["type"] == "message_stop" for event in events)


def test_failure_before_anything_is_only_the_error() -> None:
    assert ["error"] == [event["type"] for event in read_stream(stream().fail(ProviderCallFailed("no")))]


def test_ping_keeps_it_alive() -> None:
    assert [{"type": "ping"}] == read_stream(stream().keep_alive)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@st.composite
def pieces(draw: st.DrawFn) -> list[Event]:
    """Deltas of an answer in any order that a reader may give them."""
    events: list[Event] = []
    calls = 0
    for kind in draw(st.lists(st.sampled_from("tcarseno"), max_size=14)):
        if kind == "t":
            events.append(ContentDelta(draw(texts)))
        elif kind == "c":
            events.append(ToolCallDelta(calls, f"call_{calls}", draw(texts), draw(st.sampled_from(["", "{", "{}"]))))
            calls += 1
        elif kind == "a" and calls:
            index = draw(st.integers(0, calls - 1))
            events.append(ToolCallDelta(index, None, None, draw(st.sampled_from(["}", "1", '"', " "]))))
        elif kind == "r":
            events.append(ReasoningDelta(draw(texts)))
        elif kind == "s":
            events.append(ReasoningDelta("", signature=draw(st.sampled_from(["c2ln", ""]))))
        elif kind == "e":
            events.append(ReasoningDelta("", data="ZW5j"))
        elif kind == "n":
            events.append(NativeBlock(BLOCKS[0]))
        elif kind == "o":
            events.append(NativeNote())
    return events


@given(events=pieces(), splits=st.lists(st.integers(0, 14), max_size=4))
@settings(max_examples=200)
def test_any_stream_is_anthropics(events: list[Event], splits: Sequence[int]) -> None:
    writer = stream()
    body = writer.render([OPENED])
    bounds = [0, *sorted(splits), len(events)]
    for start, end in itertools.pairwise(bounds):
        body += writer.render(events[start:end])

    told = read_stream(body + writer.finish("stop", Usage(3, 2), SUMMARY))

    said = "".join([event.text for event in events if isinstance(event, ContentDelta)])
    texts_told = [event["delta"]["text"] for event in told if event.get("delta", {}).get("type") == "text_delta"]
    assert sorted(said) == sorted("".join(texts_told))
    names = [event.name for event in events if isinstance(event, ToolCallDelta) and event.name is not None]
    blocks = [event["content_block"] for event in told if event["type"] == "content_block_start"]
    assert names == [block["name"] for block in blocks if block["type"] == "tool_use"]
    for block in content_or_nothing(told):
        assert block["type"] != "thinking" or block["signature"]


def content_or_nothing(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        return content_of_stream(told)
    except json.JSONDecodeError:
        # The calls' arguments are no JSON: so the model wrote them.
        return []


def is_readable(reply: Reply) -> bool:
    try:
        return all(isinstance(orjson.loads(one.arguments or "{}"), dict) for one in reply.tool_calls)
    except orjson.JSONDecodeError:
        return False


@given(reply=replies.filter(is_readable))
def test_whole_answer_as_a_stream_is_the_same(reply: Reply) -> None:
    signed = tuple([block for block in reply.reasoning_blocks if block.signature or block.data])
    signed = tuple([block if block.data is None else Reasoning("", data=block.data) for block in signed])
    reply = evolve(reply, reasoning="".join([block.text for block in signed]), reasoning_blocks=signed)
    _, *events = events_of(reply)

    told = tell(*events, finish=reply.finish_reason)

    shape = render(reply, Usage(3, 2))
    assert shape["content"] == content_of_stream(told)
    assert {name: shape[name] for name in ("stop_reason", "stop_sequence")} == told[-2]["delta"]
