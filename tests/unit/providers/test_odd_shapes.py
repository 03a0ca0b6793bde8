"""Answers whose shape is not the documented one and whose meaning is clear: the same on every wire.

Sources, read 2026-11: cloudflare/ai#651 and #655, mastra-ai/mastra#18289 (numbers for texts), cloudflare/ai#459 (an
object for a text), BerriAI/litellm#29833 (the completion inside `result`).
"""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from pg_trio.domain.chat import Reply, ToolCall
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, ToolCallDelta
from pg_trio.providers import adapter_for
from tests.support.simulated import candidate_of


def read(wire: str, answer: Any) -> Reply:
    body = answer if isinstance(answer, bytes) else orjson.dumps(answer)
    return adapter_for(wire).read_reply(200, {}, body, candidate_of(wire), now_s=0.0)


def stream(wire: str, *sent: Any) -> list[Event]:
    reader = adapter_for(wire).open_stream(candidate_of(wire))
    events = [event for each in sent for event in reader.feed(b"data: " + orjson.dumps(each) + b"\n\n")]
    return [*events, *reader.close()]


def text_of(events: list[Event]) -> str:
    assert isinstance(events[-1], Finished), events[-1]
    return "".join([event.text for event in events if isinstance(event, ContentDelta)])


def calls_of(events: list[Event]) -> list[tuple[str | None, str]]:
    assert isinstance(events[-1], Finished), events[-1]
    calls: list[tuple[str | None, str]] = []
    for event in events:
        if isinstance(event, ToolCallDelta) and event.name is not None:
            calls.append((event.name, event.arguments))
        elif isinstance(event, ToolCallDelta):
            name, arguments = calls[event.index]
            calls[event.index] = name, arguments + event.arguments
    return calls


# ── OpenAI's ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def completion(content: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}


def chunk(content: Any, reason: str | None = None) -> dict[str, Any]:
    return {"id": "1", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [(42, "42"), (0, "0"), (0.005, "0.005"), (-1, "-1"), ({"a": {"b": 1}}, '{"a":{"b":1}}')],
)
def test_text_that_was_parsed_is_the_text(content: Any, expected: str) -> None:
    assert expected == read("openai", completion(content)).content
    assert expected == text_of(stream("openai", chunk(content), chunk("", "stop")))


def test_number_between_tokens_is_a_token() -> None:
    events = stream("openai", chunk("["), chunk("^"), chunk(1), chunk("]"), chunk(0), chunk("!"), chunk("", "stop"))

    assert "[^1]0!" == text_of(events)


def test_number_is_a_piece_of_arguments() -> None:
    def piece(arguments: Any, **call: Any) -> dict[str, Any]:
        named = {"name": "f"} if call else {}
        calls = [{"index": 0, **call, "function": {**named, "arguments": arguments}}]
        return {"choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]}

    ends = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    events = stream("openai", piece('{"a":', id="call_1"), piece(6), piece(0), piece("}"), ends)

    assert [("f", '{"a":60}')] == calls_of(events)


@pytest.mark.parametrize("name", ["result", "data", "response"])
def test_completion_inside_an_envelope(name: str) -> None:
    answer = {name: completion("Hi"), "success": True, "errors": [], "messages": [], "code": 0}

    assert "Hi" == read("openai", answer).content


# ── the native wires' ────────────────────────────────────────────────────────────────────────────────────────────────

MESSAGE = {"type": "message", "role": "assistant", "stop_reason": "end_turn"}


def candidate(**content: Any) -> dict[str, Any]:
    return {"candidates": [{"finishReason": "STOP", **content}]}


def cohere(content: Any, **more: Any) -> dict[str, Any]:
    return {"finish_reason": "COMPLETE", "message": {"role": "assistant", "content": content}, **more}


@pytest.mark.parametrize(
    ("wire", "answer"),
    [
        ("anthropic", {**MESSAGE, "content": "Hi"}),
        ("anthropic", {**MESSAGE, "content": ["H", "i"]}),
        ("anthropic", {**MESSAGE, "content": {"type": "text", "text": "Hi"}}),
        ("anthropic", {**MESSAGE, "content": [{"text": "Hi"}]}),
        ("google", candidate(content="Hi")),
        ("google", candidate(content={"parts": ["H", "i"]})),
        ("google", candidate(content={"parts": {"text": "Hi"}})),
        ("google", candidate(index="0", content={"parts": [{"text": "Hi"}]})),
        ("google", candidate(content={"parts": [{"text": "Hi", "functionCall": {}}]})),
        ("google", {"candidates": candidate(content={"parts": [{"text": "Hi"}]})["candidates"][0]}),
        ("google", {"response": candidate(content={"parts": [{"text": "Hi"}]})}),
        ("cohere", cohere("Hi")),
        ("cohere", cohere(["H", "i"])),
        ("cohere", cohere({"type": "text", "text": "Hi"})),
    ],
)
def test_text_in_another_shape(wire: str, answer: dict[str, Any]) -> None:
    assert "Hi" == read(wire, answer).content
    if wire == "google":
        assert "Hi" == text_of(stream(wire, answer))


@pytest.mark.parametrize(
    ("wire", "answer"),
    [
        ("anthropic", {**MESSAGE, "content": [{"type": "text", "text": 5}]}),
        ("google", candidate(content={"parts": [{"text": 5}]})),
        ("cohere", cohere([{"type": "text", "text": 5}])),
    ],
)
def test_number_for_a_text(wire: str, answer: dict[str, Any]) -> None:
    assert "5" == read(wire, answer).content


@pytest.mark.parametrize(
    ("wire", "answer"),
    [
        ("anthropic", {"type": "message", "stop_reason": "max_tokens"}),
        ("anthropic", {"type": "message", "stop_reason": "max_tokens", "content": None}),
        ("google", {"candidates": [{"finishReason": "MAX_TOKENS"}]}),
        ("cohere", {"id": "1", "finish_reason": "MAX_TOKENS"}),
        ("cohere", {"id": "1", "finish_reason": "MAX_TOKENS", "message": None}),
    ],
)
def test_nothing_beside_a_finish_reason(wire: str, answer: dict[str, Any]) -> None:
    reply = read(wire, answer)

    assert ("", "length") == (reply.content, reply.finish_reason)


@pytest.mark.parametrize(
    ("wire", "lines"),
    [
        ("google", [candidate(content={"parts": [{"text": text}]}) for text in "Hi"]),
        (
            "cohere",
            [
                *[{"type": "content-delta", "delta": {"message": {"content": {"text": text}}}} for text in "Hi"],
                {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
            ],
        ),
    ],
)
def test_json_lines(wire: str, lines: list[Any]) -> None:
    assert "Hi" == read(wire, b"\n".join([orjson.dumps(line) for line in lines])).content


# ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────

ENDS = [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]


def begins(index: Any, name: str, given: Any) -> dict[str, Any]:
    block = {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": given}
    return {"type": "content_block_start", "index": index, "content_block": block}


def adds(index: Any, piece: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": piece}}


@pytest.mark.parametrize(
    "events",
    [
        [begins(0, "f", {}), adds(0, '{"a"'), adds(0, ":1}")],
        [begins(0, "f", {"a": 1})],
        # Some servers send the input at the beginning, and then in deltas as well.
        [begins(0, "f", {"a": 1}), adds(0, '{"a"'), adds(0, ":1}")],
        [begins(0, "f", '{"a":1}')],
        [begins(0, "f", None), adds(0, {"a": 1})],
    ],
)
def test_input_of_an_anthropic_call(events: list[Any]) -> None:
    [(name, arguments)] = calls_of(stream("anthropic", *events, *ENDS))

    assert ("f", {"a": 1}) == (name, json.loads(arguments))


def test_indices_as_text_keep_calls_apart() -> None:
    events = [begins("1", "f", {}), begins("2", "g", {}), adds("1", '{"a":1}'), adds("2", '{"b":2}')]

    assert [("f", '{"a":1}'), ("g", '{"b":2}')] == calls_of(stream("anthropic", *events, *ENDS))


def test_anthropic_stream_without_types_of_deltas() -> None:
    events = stream(
        "anthropic",
        {"type": "content_block_delta", "index": 0, "delta": {"text": "Hi"}},
        {"type": "message_delta", "stop_reason": "max_tokens"},
        {"type": "message_stop"},
    )

    assert "Hi" == text_of(events)
    assert isinstance(events[-1], Finished)
    assert "length" == events[-1].finish_reason


@pytest.mark.parametrize("calls", [[{"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}], None])
def test_cohere_calls_in_another_shape(calls: Any) -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": '{"a":1}'}}
    answer = cohere(None, finish_reason="TOOL_CALL")
    answer["message"]["tool_calls"] = calls or call
    expected = (ToolCall("1", "f", '{"a":1}'),)

    assert expected == read("cohere", answer).tool_calls
    answer["message"]["tool_calls"] = [None, call]
    assert expected == read("cohere", answer).tool_calls


def test_cohere_delta_with_an_object_and_a_text() -> None:
    def event(kind: str, **message: Any) -> dict[str, Any]:
        return {"type": kind, "index": 0, "delta": {"message": message}}

    begun = {"id": "1", "function": {"name": "f", "arguments": ""}}
    events = stream(
        "cohere",
        event("content-delta", content="Hi"),
        event("tool-call-start", tool_calls=begun),
        event("tool-call-delta", tool_calls={"function": {"arguments": {"a": 1}}}),
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}},
    )

    assert "Hi" == text_of(events)
    assert [("f", '{"a":1}')] == calls_of(events)


def test_part_that_is_not_the_answer_stays_out() -> None:
    events = stream("openai", chunk({"type": "image_url", "image_url": {"url": "data:"}}), chunk("", "stop"))

    assert isinstance(events[-1], Broken)
