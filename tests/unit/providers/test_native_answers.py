"""What answers say beyond the neutral values: which stop sequence ended them, and blocks of Anthropic's own."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pg_trio.domain.chat import Reasoning, Reply
from pg_trio.domain.events import Broken, Event, Finished, NativeBlock, NativeNote, events_of
from pg_trio.domain.native_content import content_of
from pg_trio.domain.native_fields import NativeStop
from pg_trio.providers import adapter_for
from tests.support.recordings import load_recording
from tests.support.simulated import candidate_of


def read(provider: str, answer: dict[str, Any]) -> Reply:
    return adapter_for(provider).read_reply(200, {}, orjson.dumps(answer), candidate_of(provider), now_s=0.0)


def read_events(provider: str, *events: dict[str, Any], named: bool = False) -> list[Event]:
    body = b"".join(
        [
            (f"event: {event['type']}\n" if named else "").encode() + b"data: " + orjson.dumps(event) + b"\n\n"
            for event in events
        ]
    )
    reader = adapter_for(provider).open_stream(candidate_of(provider))
    return [*reader.feed(body), *reader.close()]


def message(**fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    return {"type": "message", "id": "msg_1", "model": "m", "role": "assistant", "usage": usage, **fields}


def text(said: str = "Hi", **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def choice(**fields: Any) -> dict[str, Any]:
    reply = {"role": "assistant", "content": "Hi"}
    return {"choices": [{"index": 0, "message": reply, "finish_reason": "stop", "logprobs": None, **fields}]}


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stop_reason": "stop_sequence", "stop_sequence": "END"}, NativeStop("stop_sequence", "END")),
        ({"stop_reason": "end_turn", "stop_sequence": None}, None),
        ({"stop_reason": "pause_turn"}, NativeStop("pause_turn")),
        ({"stop_reason": "model_context_window_exceeded"}, NativeStop("model_context_window_exceeded")),
        ({"stop_reason": "refusal"}, None),
        ({"stop_reason": "stop_sequence", "stop_sequence": 7}, NativeStop("stop_sequence")),
    ],
)
def test_anthropic_tells_the_stop_sequence(fields: dict[str, Any], expected: NativeStop | None) -> None:
    whole = read("anthropic", message(content=[text()], **fields))
    events = read_events(
        "anthropic",
        {"type": "message_start", "message": message(content=[])},
        {"type": "content_block_start", "index": 0, "content_block": text()},
        {"type": "message_delta", "delta": fields, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
        named=True,
    )

    assert expected == whole.stop
    assert isinstance(events[-1], Finished)
    assert expected == events[-1].stop


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # vLLM and SGLang: the text, or the number of a token.
        ({"stop_reason": "END"}, NativeStop("stop_sequence", "END")),
        ({"matched_stop": "END"}, NativeStop("stop_sequence", "END")),
        ({"stop_reason": 128_009}, None),
        ({"matched_stop": None}, None),
        # TGI.
        ({"finish_reason": "stop_sequence", "more": 1}, NativeStop("stop_sequence")),
    ],
)
def test_openai_servers_tell_the_stop_sequence(fields: dict[str, Any], expected: NativeStop | None) -> None:
    whole = read("openai", choice(**fields))
    events = read_events(
        "openai", {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop", **fields}]}
    )

    assert expected == whole.stop
    assert isinstance(events[-1], Finished)
    assert expected == events[-1].stop


def test_cohere_tells_that_a_sequence_matched() -> None:
    reply = {"role": "assistant", "content": [text()]}

    assert NativeStop("stop_sequence") == read("cohere", {"message": reply, "finish_reason": "STOP_SEQUENCE"}).stop


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SEARCH = {"type": "server_tool_use", "id": "srvtoolu_014", "name": "web_search", "input": {"query": "weather NYC"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_014",
    "content": [{"type": "web_search_result", "title": "Weather in New York City"}],
}
CITED = {"type": "web_search_result_location"}


def test_streamed_blocks_of_server_tools() -> None:
    recording = load_recording("anthropic/stream_server_tools")
    reader = adapter_for("anthropic").open_stream(candidate_of("anthropic"))

    events = [event for byte in recording.body + b"\n\n" for event in reader.feed(bytes([byte]))]

    assert (
        text("I'll check."),
        SEARCH,
        FOUND,
        {"type": "hologram", "photons": 3},
        text(" It rains.", citations=[CITED]),
    ) == content_of(events)


def test_whole_answers_blocks_of_server_tools() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "Ulm"}}
    blocks = [thought, text("I look."), SEARCH, FOUND, text("It "), text("rains.", citations=[CITED]), call]

    reply = read("anthropic", message(content=blocks, stop_reason="tool_use"))

    assert tuple(blocks) == reply.native_content
    assert ("I look.It rains.", (Reasoning("Hm.", "c2ln"),)) == (reply.content, reply.reasoning_blocks)
    assert tuple(blocks) == content_of(events_of(reply))


def test_plain_answers_have_no_blocks_of_their_own() -> None:
    assert () == read("anthropic", message(content=[text()], stop_reason="end_turn")).native_content


def test_paused_turn_with_only_a_server_tool_is_an_answer() -> None:
    reply = read("anthropic", message(content=[SEARCH], stop_reason="pause_turn"))

    assert ("", "length", (SEARCH,)) == (reply.content, reply.finish_reason, reply.native_content)


def test_texts_of_two_blocks_stay_apart() -> None:
    reply = read("anthropic", message(content=[text("It "), text("rains.")], stop_reason="end_turn"))

    assert ("It rains.", (text("It "), text("rains."))) == (reply.content, reply.native_content)


def test_block_that_did_not_end_is_told_at_the_end() -> None:
    events = read_events(
        "anthropic",
        {"type": "content_block_start", "index": 0, "content_block": {**SEARCH, "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    )

    assert NativeBlock({**SEARCH, "input": {"a": 1}}) in events


def test_blocks_count_against_the_limit_of_an_answer() -> None:
    (broken,) = read_events(
        "anthropic",
        {"type": "content_block_start", "index": 0, "content_block": {"type": "later", "a": "x" * (4 * 1024 * 1024)}},
        {"type": "content_block_stop", "index": 0},
    )[1:]

    assert isinstance(broken, Broken)
    assert "longer than" in broken.failure.said


def test_citation_that_is_none_is_ignored() -> None:
    events = read_events(
        "anthropic",
        {"type": "content_block_start", "index": 0, "content_block": text(citations=[7])},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": None}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    )

    assert not any(isinstance(event, NativeNote) for event in events)


def test_signature_is_not_for_the_block_before() -> None:
    unsigned = {"type": "thinking", "thinking": "One."}
    signed = {"type": "thinking", "thinking": "Two.", "signature": "c2ln"}

    reply = read("anthropic", message(content=[unsigned, signed, text()], stop_reason="end_turn"))

    assert ((Reasoning("Two.", "c2ln"),), "One.Two.") == (reply.reasoning_blocks, reply.reasoning)
