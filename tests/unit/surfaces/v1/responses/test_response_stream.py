"""Streamed responses: each event against OpenAI's types, the order of all, and what they say together."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, FinishReason, Message, Reasoning, Reply, Usage
from pg_trio.domain.events import ContentDelta, Event, Joined, Opened, ReasoningDelta, ToolCallDelta, events_of
from pg_trio.domain.options import Options
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import DeadlineExceeded, GatewayError, InjectionBlocked, ProviderCallFailed, RateLimited
from pg_trio.surfaces import StreamSummary
from pg_trio.surfaces.openai_chunks import HELD_CHARS
from pg_trio.surfaces.v1.responses.output_items import output_items
from pg_trio.surfaces.v1.responses.response_id import ResponseIds
from pg_trio.surfaces.v1.responses.response_stream import ResponseStream
from pg_trio.surfaces.v1.responses.sealed_reasoning import unseal
from tests.support.response_events import read_events
from tests.support.response_replies import replies, signatures, texts

HEAD = RequestHead(UUID(int=7), "p", None, [], None, [], 0.0, 1763800000.7)
ENDPOINT = Endpoint(UUID(int=2), "ask", "Ask", (Candidate(Credential("main", "openai", "http://127.0.0.1"), "gpt"),))
IDS = ResponseIds.make(HEAD.request_id)
OPENED = Opened("chatcmpl-1", "gpt-4o-mini")
REQUEST = ChatRequest((Message("user", "Hi"),), {"model": "ask", "input": "Hi"})
TIMES = StageTimes(("auth", "provider"), (0.5, 1800.0))
SUMMARY = StreamSummary(HEAD.request_id, "openai", "gpt-4o-mini", 1, 231.4, TIMES, None)
USAGE = Usage(5, 7, cached_tokens=3, cache_write_tokens=1, reasoning_tokens=2)


def open_stream(**body: object) -> ResponseStream:
    return ResponseStream(HEAD, evolve(REQUEST, body={**REQUEST.body, **body}), ENDPOINT)


def whole(*events: Event, finish_reason: FinishReason = "stop", **body: object) -> list[dict[str, Any]]:
    """The events of a complete answer."""
    stream = open_stream(**body)
    return read_events(stream.render([OPENED, *events]) + stream.finish(finish_reason, USAGE, SUMMARY))


def broken(error: GatewayError, *events: Event) -> list[dict[str, Any]]:
    stream = open_stream()
    return read_events(stream.render(events) + stream.fail(error))


def kinds_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_text_is_one_message() -> None:
    events = whole(ContentDelta("Hel"), ContentDelta("lo"))

    assert [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ] == kinds_of(events)
    assert [("Hel", []), ("lo", [])] == [(event["delta"], event["logprobs"]) for event in events[4:6]]
    assert [] == events[6]["logprobs"]
    response = events[-1]["response"]
    assert ("completed", 1763800000, 1763800002) == tuple(
        response[field] for field in ("status", "created_at", "completed_at")
    )
    assert {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 1},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    } == response["usage"]
    assert ["in_progress", None, None, []] == [
        events[0]["response"][field] for field in ("status", "completed_at", "usage", "output")
    ]


def test_bytes_of_a_delta() -> None:
    stream = open_stream()
    stream.render([OPENED, ContentDelta("a")])

    rendered = stream.render([ContentDelta("b\u2028c")])

    item = IDS.item_id("msg", 0)
    assert (
        "event: response.output_text.delta\n"
        f'data: {{"type":"response.output_text.delta","item_id":"{item}","output_index":0,"content_index":0,'
        '"sequence_number":5,"delta":"b\\u2028c","logprobs":[]}\n\n'
    ).encode() == rendered


def test_calls_at_once() -> None:
    events = whole(
        ContentDelta("Let me see."),
        ToolCallDelta(0, "call_a", "add", ""),
        ToolCallDelta(1, "call_b", "sub", '{"x"'),
        ToolCallDelta(0, None, None, '{"y":'),
        ToolCallDelta(1, None, None, ":1}"),
        ToolCallDelta(0, None, None, "2}"),
        finish_reason="tool_calls",
    )

    message, *calls = events[-1]["response"]["output"]
    assert "Let me see." == message["content"][0]["text"]
    assert [("call_a", "add", '{"y":2}', "completed"), ("call_b", "sub", '{"x":1}', "completed")] == [
        (call["call_id"], call["name"], call["arguments"], call["status"]) for call in calls
    ]
    assert "completed" == events[-1]["response"]["status"]


def test_reasoning_blocks_are_items() -> None:
    events = whole(
        ReasoningDelta("I think"),
        ReasoningDelta(" so."),
        ReasoningDelta("", signature="c2ln"),
        ReasoningDelta("", data="ZGF0YQ=="),
        ReasoningDelta("Not signed"),
        ContentDelta("Yes."),
    )

    output = events[-1]["response"]["output"]
    assert ["reasoning", "reasoning", "reasoning", "message"] == [item["type"] for item in output]
    assert [["I think so."], [], ["Not signed"]] == [[part["text"] for part in item["summary"]] for item in output[:3]]
    assert Reasoning("I think so.", "c2ln") == unseal(output[0]["encrypted_content"]).block
    assert Reasoning("", data="ZGF0YQ==") == unseal(output[1]["encrypted_content"]).block
    assert "encrypted_content" not in output[2]
    assert [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ] == kinds_of(events)[2:9]


def test_reasoning_may_be_hidden() -> None:
    stream = ResponseStream(HEAD, REQUEST, evolve(ENDPOINT, stream_reasoning=False))

    rendered = stream.render([OPENED, ReasoningDelta("Secret", "c2ln"), ContentDelta("Yes.")])
    events = read_events(rendered + stream.finish("stop", USAGE, SUMMARY))

    assert ["message"] == [item["type"] for item in events[-1]["response"]["output"]]
    assert b"Secret" not in rendered


def test_endless_reasoning_is_cut() -> None:
    events = whole(
        ReasoningDelta("x" * (HELD_CHARS - 1)),
        ReasoningDelta("yz"),
        ReasoningDelta("more"),
        ReasoningDelta("", "c2ln"),
        ReasoningDelta("again"),
        ReasoningDelta("", "c2ln"),
        ContentDelta("Yes."),
    )

    reasoning, message = events[-1]["response"]["output"]
    assert HELD_CHARS == len(reasoning["summary"][0]["text"])
    assert "encrypted_content" not in reasoning
    assert "Yes." == message["content"][0]["text"]


def test_signed_call_has_its_signature_before_it() -> None:
    events = whole(ToolCallDelta(0, "call_a", "add", "{}", "c2ln"), finish_reason="tool_calls")

    sealed, call = events[-1]["response"]["output"]
    assert {"call_a": "c2ln"} == unseal(sealed["encrypted_content"]).call_signatures
    assert ("reasoning", [], "function_call") == (sealed["type"], sealed["summary"], call["type"])


TOKEN = {"token": "Hi", "bytes": [72, 105], "logprob": -0.5, "top_logprobs": [{"token": "Ho", "logprob": -1, "x": 1}]}
LOGPROBS = {
    "content": [TOKEN, {"token": "!", "bytes": None, "logprob": float("-inf")}, {"token": 7}, "x"],
    "refusal": None,
}


def test_logprobs_where_asked_for() -> None:
    delta = ContentDelta("Hi!", LOGPROBS)
    asking = evolve(REQUEST, options=Options(more={"logprobs": True}))

    def events_for(request: ChatRequest) -> list[dict[str, Any]]:
        stream = ResponseStream(HEAD, request, ENDPOINT)
        return read_events(stream.render([OPENED, delta]) + stream.finish("stop", USAGE, SUMMARY))

    asked, unasked = events_for(asking), events_for(REQUEST)
    top = {"token": "Ho", "logprob": -1}
    told = [
        {"token": "Hi", "logprob": -0.5, "top_logprobs": [top]},
        {"token": "!", "logprob": -9999.0, "top_logprobs": []},
    ]
    assert [told, told] == [event["logprobs"] for event in asked[4:6]]
    part = asked[-1]["response"]["output"][0]["content"][0]
    assert [
        told[0] | {"bytes": [72, 105], "top_logprobs": [top | {"bytes": []}]},
        told[1] | {"bytes": []},
    ] == part["logprobs"]
    reply = Reply("chatcmpl-1", "gpt", "Hi!", "stop", logprobs=LOGPROBS)
    assert [part] == output_items(reply, IDS, shows_logprobs=True)[0]["content"]
    assert b'logprob"' not in b"".join([orjson.dumps(event) for event in unasked])


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_cut_answer_is_incomplete(finish_reason: FinishReason, reason: str) -> None:
    events = whole(ReasoningDelta("Hm"), ContentDelta("Yes, bu"), finish_reason=finish_reason)

    response = events[-1]["response"]
    assert ("response.incomplete", {"reason": reason}, None) == (
        events[-1]["type"],
        response["incomplete_details"],
        response["completed_at"],
    )
    assert ["completed", "incomplete"] == [item["status"] for item in response["output"]]


def test_empty_answers() -> None:
    stopped, cut = whole(), whole(ReasoningDelta("Hm"), finish_reason="length")

    assert [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}] == stopped[-1]["response"][
        "output"
    ][0]["content"]
    assert ["reasoning"] == [item["type"] for item in cut[-1]["response"]["output"]]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProviderCallFailed("it broke\u2028"), "server_error"),
        (DeadlineExceeded(800), "server_error"),
        (RateLimited("endpoint", 3), "rate_limit_exceeded"),
        (InjectionBlocked(), "invalid_prompt"),
    ],
)
def test_torn_stream_has_failed(error: GatewayError, code: str) -> None:
    events = broken(error, OPENED, ReasoningDelta("Hm"), ContentDelta("Yes"), ToolCallDelta(0, "call_a", "add", "{"))

    response = events[-1]["response"]
    assert ("response.failed", {"code": code, "message": error.text}) == (events[-1]["type"], response["error"])
    assert [("completed", "reasoning"), ("completed", "message"), ("incomplete", "function_call")] == [
        (item["status"], item["type"]) for item in response["output"]
    ]


def test_failure_before_any_event_is_a_whole_stream() -> None:
    events = broken(DeadlineExceeded(800))

    assert ["created", "in_progress", "failed"] == kinds_of(events)
    assert "gpt" == events[-1]["response"]["model"]


def test_next_candidate_goes_on() -> None:
    joined = Joined("continue", 3, "groq", "llama", "it broke")

    events = whole(ContentDelta("One"), joined, Opened("chatcmpl-2", "llama"), ContentDelta(" two"))

    [message] = events[-1]["response"]["output"]
    assert "One two" == message["content"][0]["text"]


def test_reasoning_of_a_lost_candidate_ends() -> None:
    joined = Joined("restart", 0, "groq", "llama", "it broke")

    events = whole(ReasoningDelta("First"), joined, Opened("chatcmpl-2", "llama"), ReasoningDelta("Second", "c2ln"))

    first, second, _ = events[-1]["response"]["output"]
    assert (["First"], ["Second"]) == tuple([part["text"] for part in item["summary"]] for item in (first, second))
    assert "encrypted_content" not in first
    assert Reasoning("Second", "c2ln") == unseal(second["encrypted_content"]).block


def test_ids_name_the_session() -> None:
    stream = ResponseStream(HEAD, evolve(REQUEST, session_id=UUID(int=9)), ENDPOINT)

    events = read_events(stream.render([OPENED, ContentDelta("Hi")]) + stream.finish("stop", USAGE, SUMMARY))

    session, tag = UUID(int=9).hex, HEAD.request_id.hex[:16]
    assert f"resp_{session}{tag}" == events[0]["response"]["id"]
    assert [f"msg_{session}{tag}0000"] == [item["id"] for item in events[-1]["response"]["output"]]


def test_request_is_echoed() -> None:
    tool = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": True, "defer_loading": True}
    response = whole(
        instructions="Be kind.",
        metadata={"a": "b"},
        tools=[tool],
        tool_choice={"type": "function", "name": "add"},
        text={"format": {"type": "json_schema", "name": "x", "schema": {}, "strict": None}, "verbosity": "low"},
        reasoning={"effort": "low"},
        temperature=0.5,
        max_output_tokens=9,
        truncation="auto",
        parallel_tool_calls=False,
    )[-1]["response"]

    assert ("Be kind.", {"a": "b"}, {"type": "function", "name": "add"}, 0.5, 9, "disabled", False) == tuple(
        response[field]
        for field in (
            "instructions",
            "metadata",
            "tool_choice",
            "temperature",
            "max_output_tokens",
            "truncation",
            "parallel_tool_calls",
        )
    )
    assert [{"name", "type", "description", "parameters", "strict"}] == [set(tool) for tool in response["tools"]]
    assert {"format": {"type": "json_schema", "name": "x", "schema": {}}, "verbosity": "low"} == response["text"]
    assert {"effort": "low", "summary": None} == response["reasoning"]


@given(replies)
def test_stream_says_what_the_whole_answer_says(reply: Reply) -> None:
    stream = open_stream()
    rendered = b"".join([stream.render([event]) for event in events_of(reply)])

    events = read_events(rendered + stream.finish(reply.finish_reason, USAGE, SUMMARY))

    # Ids count the items, and an answer that was cut ends in one that is not whole.
    streamed, at_once = events[-1]["response"]["output"], output_items(reply, IDS)
    if all(block.signature or block.data for block in reply.reasoning_blocks):
        assert at_once == streamed
    else:
        # Blocks that nothing separates are one block in a stream.
        assert told(at_once) == told(streamed)


def told(items: list[dict[str, Any]]) -> list[Any]:
    """What a person reads: the reasoning, the message, the calls."""
    summaries = "".join([part["text"] for item in items for part in item.get("summary", [])])
    rest = [
        item.get("content") or (item["call_id"], item["name"], item["arguments"])
        for item in items
        if item["type"] != "reasoning"
    ]
    return [summaries, *rest]


deltas = st.one_of(
    st.builds(ContentDelta, texts),
    st.builds(ReasoningDelta, st.text(max_size=4), st.one_of(st.none(), st.just(""), signatures)),
    st.builds(lambda data: ReasoningDelta("", data=data), signatures),
    st.just(Joined("continue", 1, "groq", "llama", "broke")),
)


@given(st.lists(deltas, max_size=12), st.booleans(), st.sampled_from(["stop", "length"]))
def test_any_events_make_a_sound_stream(events: list[Event], fails: bool, finish_reason: FinishReason) -> None:
    stream = open_stream()
    rendered = b"".join([stream.render([event]) for event in events])

    end = stream.fail(ProviderCallFailed("x")) if fails else stream.finish(finish_reason, USAGE, SUMMARY)

    read = read_events(rendered + end)
    text = "".join([event.text for event in events if isinstance(event, ContentDelta)])
    assert text == "".join([event["delta"] for event in read if event["type"] == "response.output_text.delta"])
