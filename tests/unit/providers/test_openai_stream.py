"""Streams of the OpenAI wire that only look odd, and those that are no answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import FinishReason, Usage
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Opened, ReasoningDelta, ToolCallDelta
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.secret import Secret
from pg_trio.errors import AttemptFailed, AttemptTimedOut, UpstreamBroken, UpstreamNonsense
from pg_trio.providers import adapter_for
from pg_trio.providers.openai_stream import MAX_ANSWER_CHARACTERS, OpenAIStreamReader
from pg_trio.providers.openai_tools import MAX_TOOL_CALLS
from pg_trio.providers.text_chunks import NOTHING

KEY = "0a1b2c3d4e5f60718293"
CANDIDATE = Candidate(Credential("main", "openai", "https://api.openai.com/v1", Secret(KEY)), "gpt-4o-mini")
OPENED = Opened("chatcmpl-1", "gpt-4o-mini")
DONE = b"data: [DONE]\n\n"


def event(data: Any) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def chunk(delta: Any, finish_reason: Any = None, **fields: Any) -> bytes:
    return event({"id": "chatcmpl-1", "choices": [{"delta": delta, "finish_reason": finish_reason}], **fields})


TEXT = chunk({"content": "Hi"})
STOP = chunk({}, "stop")


def read(*pieces: bytes) -> list[Event]:
    reader = OpenAIStreamReader(CANDIDATE)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.close()


def deltas_of(*pieces: bytes) -> list[Event]:
    """What lies between the first event and the last of a good stream."""
    first, *deltas, last = read(*pieces, STOP, DONE)
    assert isinstance(first, Opened)
    assert isinstance(last, Finished)
    return deltas


def failure_of(*pieces: bytes) -> AttemptFailed:
    last = read(*pieces)[-1]
    assert isinstance(last, Broken), last
    return last.failure


# ── the head ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "content_type", "start", "expected"),
    [
        (200, "text/event-stream", b"d", True),
        (200, "Text/Event-Stream; charset=utf-8", b": ping", True),
        (201, "text/event-stream", b"data: {}", True),
        (200, None, b"data", True),
        (200, "text/event-stream", b"", None),
        (200, "text/event-stream", b"\r\n", None),
        (200, "text/event-stream", b"\xef\xbb\xbf", None),
        (200, "text/event-stream", b' {"choices"', False),
        (200, None, b"[", False),
        (200, "application/json", b"", None),
        (200, "application/json", b"da", None),
        (200, "application/json", b"\xef\xbb\xbfdata:", True),
        (200, "application/json", b'{"id"', False),
        (200, "application/problem+json", b"\n\nevent: error", True),
        (200, "text/plain", b":", True),
        (200, "application/octet-stream", b"id: 1", True),
        (200, "text/plain", b"Internal", False),
        (200, "text/html", b"<", False),
        (200, "text/plain", b"error", None),
        (200, "text/plain", b"errors", False),
        (429, "application/json", b"", False),
        (502, "text/html", b"", False),
        (500, "text/event-stream", b"", False),
    ],
)
def test_first_bytes_tell_what_the_body_is(
    status: int, content_type: str | None, start: bytes, expected: bool | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}

    assert expected is adapter_for("openai").is_stream(status, headers, start)


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_of_a_plain_stream() -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})

    events = read(chunk({"role": "assistant", "content": ""}), b": ping\n\n", TEXT, TEXT, STOP, usage, DONE)

    assert [OPENED, ContentDelta("Hi"), ContentDelta("Hi"), Finished("stop", Usage(1, 2))] == events


def test_first_token_is_the_only_winner() -> None:
    events = read(chunk({"role": "assistant"}), chunk({"reasoning_content": "Hm."}), TEXT, STOP, DONE)

    assert [False, False, True, False] == [event.is_token for event in events]
    assert [False, True, True, False] == [event.shows_life for event in events]


@pytest.mark.parametrize(
    "quiet",
    [
        b": ping\n\n",
        b"data:\n\n",
        b"data: \n\n",
        chunk({"role": "assistant"}),
        chunk({"role": "assistant", "content": None}),
        chunk({"content": ""}),
        chunk({"content": []}),
        chunk({"content": "", "tool_calls": []}),
        chunk({"content": "", "tool_calls": None, "refusal": "", "reasoning": None}),
        chunk({"reasoning": 7, "reasoning_details": []}),
        chunk(None),
        chunk({}, ""),
        chunk({}, "", error=None, usage=None),
        event({"choices": None}),
        event({"choices": []}),
        event({"usage": None}),
        event({}),
        event({"choices": [{}]}),
        event({"choices": [None]}),
        event({"error": {}}),
        event({"error": {"message": "", "type": "", "param": "", "code": None}}),
        event({"type": "ping"}),
        event({"object": "ping", "created": 1}),
        chunk({"tool_calls": ""}),
        chunk({"tool_calls": [None, {}]}),
        chunk({"tool_calls": {}, "function_call": None}),
        chunk({}, False),
        chunk({}, "null"),
        b"data: null\n\n",
        b"data: []\n\n",
        b"data: 1763800000\n\n",
        b'data: "ping"\n\n',
        b"data: : keepalive\n\n",
        b"data: : OPENROUTER PROCESSING\n\n",
        b"data: [PING]\n\n",
        b"data: keep-alive\n\n",
        b"data: heartbeat 7\n\n",
        b"event: ping\ndata: whatever it says\n\n",
        b"event: usage\ndata: none\n\n",
        b"id: 7\nretry: 100\n\n",
        event({"choices": [{"index": 1, "delta": {"content": "another choice"}, "finish_reason": "length"}]}),
    ],
)
def test_quiet_chunk_is_no_token(quiet: bytes) -> None:
    assert [ContentDelta("Hi")] == deltas_of(quiet, TEXT, quiet)


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"role": "assistant", "content": "Hi"}, [ContentDelta("Hi")]),
        ({"reasoning_content": "Hm."}, [ReasoningDelta("Hm.")]),
        ({"reasoning": "Hm", "reasoning_content": ""}, [ReasoningDelta("Hm")]),
        ({"reasoning": "Hm", "content": "Hi"}, [ReasoningDelta("Hm"), ContentDelta("Hi")]),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]}, [ReasoningDelta("Hm")]),
        ({"content": [{"type": "thinking", "thinking": "Hm."}]}, [ReasoningDelta("Hm.")]),
        ({"content": [{"type": "thinking", "thinking": {"odd": 1}}]}, [ReasoningDelta("")]),
        ({"content": [{"text": "a"}, {"type": "reference"}, {"text": "b"}]}, [ContentDelta("a"), ContentDelta("b")]),
        ({"content": None, "refusal": "No."}, [ContentDelta("No.")]),
        ({"content": ["a", {"type": "output_text", "text": "b"}]}, [ContentDelta("a"), ContentDelta("b")]),
        ({"content": {"type": "text", "text": "a"}}, [ContentDelta("a")]),
        ({"content": [{"text": "Hm", "thought": True}]}, [ReasoningDelta("Hm")]),
        ({"thinking": "Hm"}, [ReasoningDelta("Hm")]),
        ({"reasoning": {"content": "Hm"}}, [ReasoningDelta("Hm")]),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}, [ReasoningDelta("Hm")]),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm"}]}, [ReasoningDelta("Hm")]),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "YWJj"}]}, [ReasoningDelta("")]),
        ({"reasoning": "Hm", "reasoning_details": [{"text": "Hm"}]}, [ReasoningDelta("Hm")]),
        ({"thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "x"}]}, [ReasoningDelta("Hm")]),
    ],
)
def test_what_a_delta_says(delta: Any, expected: list[Event]) -> None:
    assert [*expected, ContentDelta("Hi")] == deltas_of(chunk(delta), TEXT)


def test_several_choices_in_one_chunk() -> None:
    other, own = ({"index": index, "delta": {"content": str(index)}} for index in (1, 0))

    assert [ContentDelta("0")] == deltas_of(event({"choices": [other, own]}))


def test_model_and_id_are_the_first_chunks() -> None:
    events = read(chunk({}, model="gpt-x"), event({"id": "z", "model": "y", "choices": [{"delta": {"content": "a"}}]}))

    assert Opened("chatcmpl-1", "gpt-x") == events[0]
    assert ContentDelta("a") == events[1]


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("unheard_of", "stop"),
        ("eos_token", "stop"),
        ("MAX_TOKENS", "length"),
        ("sensitive", "content_filter"),
    ],
)
def test_finish_reason_is_the_contracts(said: str, expected: FinishReason) -> None:
    assert Finished(expected) == read(TEXT, chunk({}, said), DONE)[-1]


def test_tool_calls_outdo_stop() -> None:
    call = {"index": 0, "id": "call_1", "function": {"name": "look_up", "arguments": "{}"}}

    assert Finished("tool_calls") == read(chunk({"tool_calls": [call]}), STOP, DONE)[-1]


@pytest.mark.parametrize("end", [DONE, b""])
def test_empty_finish_reason_ends_nothing(end: bytes) -> None:
    assert "without a finish reason" in failure_of(chunk({"content": "Hi"}, ""), end).said


def test_call_without_arguments_is_an_answer() -> None:
    call = {"index": 0, "id": "call_1", "function": {"name": "stop_all", "arguments": ""}}

    assert Finished("tool_calls") == read(chunk({"tool_calls": [call]}), STOP, DONE)[-1]


def test_refusal_ends_as_content_filter() -> None:
    assert Finished("content_filter") == read(chunk({"refusal": "No."}), STOP, DONE)[-1]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_silence_that_is_explained_is_an_answer(reason: FinishReason) -> None:
    assert [OPENED, Finished(reason)] == read(chunk({}, reason), DONE)


@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource", "tool_calls"])
def test_failure_never_looks_finished(reason: str) -> None:
    first, token, last = read(TEXT, chunk({}, reason), DONE)

    assert [OPENED, ContentDelta("Hi")] == [first, token]
    assert isinstance(last, Broken)


@pytest.mark.parametrize(
    "pieces",
    [
        [event({"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "Upstream died"}}]})],
        [event({"choices": [{"delta": {}, "error": {"message": "Upstream died"}}]})],
        [chunk({}, "error"), event({"error": {"message": "Upstream died"}})],
        [chunk({}, "error"), event({"message": "Upstream died"})],
        [event({"code": 502, "message": "Upstream died"})],
        [event({"object": "error", "message": "Upstream died"})],
        [event([{"error": {"message": "Upstream died"}}])],
        [b'error: {"message":"Upstream died"}\n\n'],
        [b"event: server_error\ndata: Upstream died\n\n"],
        [b"data: Upstream died\n\n"],
    ],
)
def test_failure_has_the_providers_words(pieces: list[bytes]) -> None:
    assert "an error in the stream: Upstream died" == failure_of(TEXT, *pieces, DONE).said


def test_last_words_are_told_of_a_cut_stream() -> None:
    said = failure_of(TEXT, event({"message": f"worker restarts {KEY}"}), DONE).said

    assert "the stream ended without a finish reason; it said: worker restarts [redacted]" == said


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "unheard_of"])
def test_silence_is_nonsense(reason: str) -> None:
    failure = failure_of(chunk({"role": "assistant", "content": ""}), chunk({"reasoning": "Hm"}), chunk({}, reason))

    assert (UpstreamNonsense, "the stream has neither content nor tool calls") == (type(failure), failure.said)


def test_done_is_not_needed() -> None:
    assert [OPENED, ContentDelta("Hi"), Finished("stop")] == read(TEXT, STOP)


def test_done_is_not_enough() -> None:
    failure = failure_of(TEXT, DONE)

    assert (UpstreamNonsense, "the stream ended without a finish reason") == (type(failure), failure.said)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([TEXT], "the stream was cut: it ended without a finish reason"),
        ([TEXT, TEXT[:20]], "the stream was cut: it ended without a finish reason, 20 bytes into an event"),
        ([], "the stream was cut: it ended without a finish reason"),
    ],
)
def test_cut_stream_is_broken(pieces: list[bytes], said: str) -> None:
    failure = failure_of(*pieces)

    assert (UpstreamBroken, said) == (type(failure), failure.said)


def test_text_after_the_reason_is_text() -> None:
    assert [ContentDelta("Hi"), ContentDelta(" there")] == deltas_of(
        chunk({"content": "Hi"}, "stop"), chunk({"content": " there"}, "stop")
    )


def test_failure_given_is_the_one_told() -> None:
    reader = OpenAIStreamReader(CANDIDATE)
    reader.feed(TEXT)

    failure = AttemptTimedOut("no token for 30 s")

    assert [Broken(failure)] == reader.close(failure)


def test_failure_after_the_reason_is_forgiven() -> None:
    reader = OpenAIStreamReader(CANDIDATE)
    reader.feed(TEXT + STOP)

    assert [Finished("stop")] == reader.close(AttemptTimedOut("no end for 30 s"))


@pytest.mark.parametrize("end", [DONE, b"data:[DONE]\n\n", b"data: [DONE] \r\n\r\n", event({"error": "gone"})])
def test_nothing_follows_the_last_event(end: bytes) -> None:
    reader = OpenAIStreamReader(CANDIDATE)
    last = reader.feed(TEXT + STOP + end + TEXT)[-1]

    assert isinstance(last, Finished | Broken)
    assert reader.is_over
    assert ([], []) == (reader.feed(TEXT), reader.close())


# ── usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def counts(prompt: Any, completion: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([STOP, event({"choices": [], "usage": counts(1, 2)})], Usage(1, 2)),
        ([STOP, event({"choices": None, "usage": counts(1, 2)})], Usage(1, 2)),
        ([STOP, event({"usage": counts(1, 2)})], Usage(1, 2)),
        ([chunk({}, "stop", usage=counts(1, 2))], Usage(1, 2)),
        ([chunk({"content": "a"}, usage=counts(1, 1)), chunk({}, "stop", usage=counts(1, 2))], Usage(1, 2)),
        ([chunk({}, "stop", x_groq={"usage": counts(1, 2)})], Usage(1, 2)),
        ([chunk({}, "stop", x_groq={"usage": counts(8, 9)}, usage=counts(1, 2))], Usage(1, 2)),
        ([chunk({"content": "a"}, usage=counts(1, 2)), chunk({}, "stop", usage=counts(1, None))], Usage(1, 2)),
        ([chunk({"content": "a"}, usage=counts(1, 2)), chunk({}, "stop", usage=counts(1, -1))], None),
        ([chunk({}, "stop", x_groq="odd")], None),
        ([chunk({}, "stop", usage=counts(1, None))], None),
        ([chunk({}, "stop", usage=counts(-1, 2))], None),
        ([chunk({}, "stop", usage=counts(True, 2))], None),
        ([chunk({}, "stop", usage="many")], None),
        ([chunk({}, "stop", usage=counts(0, 0))], None),
        ([chunk({}, "stop", usage=counts(0, 2))], None),
        ([chunk({}, "stop", usage=counts(1, 0))], None),
        ([chunk({"content": "a"}, usage=counts(1, 0)), chunk({}, "stop", usage=counts(1, 2))], Usage(1, 2)),
        ([chunk({"content": "a"}, usage=counts(1, 2)), chunk({}, "stop", usage=counts(0, 0))], Usage(1, 2)),
        ([chunk({"content": "a"}, usage=counts(0, 0)), chunk({}, "stop", usage=counts(1, 2))], Usage(1, 2)),
        ([STOP], None),
    ],
)
def test_usage_wherever_it_stands(pieces: list[bytes], expected: Usage | None) -> None:
    assert Finished("stop", expected) == read(TEXT, *pieces, DONE)[-1]


# ── tool calls ───────────────────────────────────────────────────────────────────────────────────────────────────────


def call(index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: Any = None) -> Any:
    fields = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return {field: value for field, value in fields.items() if value is not None}


# A call of which nothing can be told yet shows that the model works.
LIFE = ReasoningDelta("")


def calls_of(*deltas: Any) -> list[Event]:
    return deltas_of(*[chunk({"tool_calls": [delta]}) for delta in deltas])


@pytest.mark.parametrize(
    "deltas",
    [
        [call(0, "a", "f", ""), call(0, arguments="{"), call(0, arguments="}"), call(1, "b", "g", "{}")],
        [call(3, "a", "f"), call(3, arguments="{"), call(3, arguments="}"), call(1, "b", "g", "{}")],
        [call(None, "a", "f"), call(arguments="{"), call(arguments="}"), call(None, "b", "g", "{}")],
        [call(0, "a", "f"), call(0, "a", "f", "{"), call(0, "a", "", "}"), call(1, "b", "g", "{}")],
        [call(0, "a", "f"), call(0, "made_up", None, "{"), call(0, "", None, "}"), call(0, "b", "g", "{}")],
        [call(None, "a", "f"), call(None, "a", None, "{"), call(None, "a", "f", "}"), call(None, "b", "g", {})],
    ],
    ids=["plain", "any index", "no index", "repeated", "ids made up, one index", "ids only"],
)
def test_tool_calls_are_told_apart(deltas: list[Any]) -> None:
    assert [
        LIFE,
        ToolCallDelta(0, "a", "f", "{"),
        ToolCallDelta(0, None, None, "}"),
        ToolCallDelta(1, "b", "g", "{}"),
    ] == calls_of(*deltas)


def test_interleaved_calls_keep_their_numbers() -> None:
    assert [
        LIFE,
        ToolCallDelta(0, "a", "f", ""),
        ToolCallDelta(0, None, None, "1"),
        ToolCallDelta(1, "b", "g", "2"),
    ] == calls_of(call(0, "a", "f"), call(1, "b", "g"), call(0, arguments="1"), call(1, arguments="2"))


def test_call_without_id_is_given_one() -> None:
    first, second = calls_of(call(0, None, "f", "{"), call(0, arguments="}"))

    assert isinstance(first, ToolCallDelta)
    assert first.id is not None
    assert first.id.startswith("call_")
    assert ToolCallDelta(0, None, None, "}") == second


@pytest.mark.parametrize(
    ("delta", "why"),
    [
        (7, " is a number, not an object"),
        (call(0, "a", None, "{}"), ".function.name is missing"),
        (call(0, "a", "", "{}"), ".function.name is missing"),
        ({"function": {"arguments": "{}"}}, ".function.name is missing"),
        ({"function": [1]}, ".function is a list, not an object"),
        ({"function": {"name": 1}}, ".function.name is a number, not a string"),
        ({"function": {"name": "f", "arguments": [1]}}, ".function.arguments is a list, not a string"),
    ],
)
def test_tool_call_defect_says_where(delta: Any, why: str) -> None:
    assert f"choices[0].delta.tool_calls[0]{why}" == failure_of(chunk({"tool_calls": [delta]}), STOP, DONE).said


def test_calls_are_bounded() -> None:
    calls = [call(index, str(index), "f") for index in range(MAX_TOOL_CALLS + 1)]

    events = read(chunk({"tool_calls": calls}))

    assert isinstance(events[-1], Broken)
    assert "is one of more than 128 tool calls" in events[-1].failure.said


# ── no answer ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"data: {\n\n", "a chunk of the stream is not JSON: error at character 1 of 1 bytes"),
        (b'data: {"a": "\xff"}\n\n', "a chunk of the stream is not JSON: invalid UTF-8 in 10 bytes"),
        (b"data: <html>\n\n", "a chunk of the stream is not JSON: error at character 0 of 6 bytes"),
        (b"data: [DONE\n\n", "a chunk of the stream is not JSON: error at character 1 of 5 bytes"),
        (b"data: [1]\n\n", "a chunk of the stream is a list, not an object"),
        (b'data: "more text"\n\n', "a chunk of the stream is a string, not an object"),
        (event({"choices": {"a": 1}}), "choices is an object, not a list"),
        (event({"choices": ["a"]}), "choices[0] is a string, not an object"),
        (event({"choices": [{"delta": "a"}]}), "choices[0].delta is a string, not an object"),
        (chunk({"content": True}), "choices[0].delta.content is true or false, not a string"),
        (chunk({"content": [1]}), "choices[0].delta.content[0] is a number, not an object"),
        (chunk({"content": [{"text": 1}]}), "choices[0].delta.content[0].text is a number, not a string"),
        (chunk({"refusal": 7}), "choices[0].delta.refusal is a number, not a string"),
        (chunk({"tool_calls": "a"}), "choices[0].delta.tool_calls is a string, not a list"),
        (event({"error": {"message": "Overloaded", "code": 503}}), "an error in the stream: Overloaded"),
        (event({"error": "Overloaded"}), "an error in the stream: Overloaded"),
        (event({"error": {"code": 7}}), "an error in the stream: no message"),
        (b'event: error\ndata: {"message":"Overloaded"}\n\n', "an error in the stream: Overloaded"),
        (b"event: error\ndata: Overloaded\n\n", "an error in the stream: Overloaded"),
        (event({"error": f"key {KEY}"}), "an error in the stream: key [redacted]"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "a chunk of the stream is not JSON: error at character"),
    ],
)
def test_nonsense_breaks_the_stream(broken: bytes, why: str) -> None:
    first, token, last = read(TEXT + broken + TEXT + STOP + DONE)

    assert [OPENED, ContentDelta("Hi")] == [first, token]
    assert isinstance(last, Broken)
    assert type(last.failure) is UpstreamNonsense
    assert last.failure.said.startswith(why)


def test_answer_is_bounded() -> None:
    eighth = chunk({"content": "x" * (MAX_ANSWER_CHARACTERS // 8)})

    events = read(*[eighth] * 8, chunk({"content": "x"}), STOP, DONE)

    assert 9 == sum(event.is_token for event in events)
    assert isinstance(events[-1], Broken)
    assert "the answer is over 4194304 characters" == events[-1].failure.said


EIGHTH = "x" * (MAX_ANSWER_CHARACTERS // 8)


@pytest.mark.parametrize(
    "delta",
    [
        pytest.param({"refusal": EIGHTH}, id="refusal"),
        pytest.param({"content": [{"type": "text", "text": EIGHTH}]}, id="parts"),
        pytest.param({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": EIGHTH}}]}, id="arguments"),
    ],
)
def test_whatever_is_kept_is_bounded(delta: Any) -> None:
    assert isinstance(read(*[chunk(delta)] * 8, STOP, DONE)[-1], Finished)
    assert "the answer is over 4194304 characters" == failure_of(*[chunk(delta)] * 9, STOP, DONE).said


def test_nonsense_after_the_reason_breaks_it_too() -> None:
    assert "an error in the stream: gone" == failure_of(TEXT, STOP, event({"error": "gone"}), DONE).said


PIECES = [
    *(TEXT, STOP, DONE, b"data: ", b"\n\n", b"\n", b"\r\n", b"data: {}\n\n", b": ping\n", b"\xef\xbb\xbf", b"{", b"}"),
    *(
        TEXT[:-1],
        STOP[:-1],
        chunk({"content": "@"}).replace(b"@", b"\\ud83d"),
        chunk({"reasoning": "Hm"}),
        chunk({}, "error"),
    ),
    *(
        chunk({"content": "@"}).replace(b"@", b"\\ude00"),
        b"error: x\n",
        b"event: error\n",
        b"event: ping\n",
        b"data: ping\n\n",
    ),
    chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    chunk({"function_call": {"arguments": "{}"}}),
    chunk({"content": "Hi"}, "stop").replace(b'"stop"', b"NaN"),
]


@given(st.lists(st.binary() | st.sampled_from(PIECES)))
def test_garbage_ends_as_an_event(pieces: list[bytes]) -> None:
    events = read(*pieces)

    assert isinstance(events[-1], Finished | Broken)
    assert not any(isinstance(event, Finished | Broken) for event in events[:-1])
    for event in events:
        if isinstance(event, ContentDelta | ReasoningDelta):
            event.text.encode()


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.data())
def test_any_split_gives_the_same_events(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    places = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)))
    split = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]

    assert [str(event) for event in read(stream)] == [str(event) for event in read(*split)]


NAMES = "choices delta content tool_calls function index id name arguments finish_reason usage x_groq error refusal"
FIELDS = st.sampled_from([*NAMES.split(), "reasoning", "type", "text", "thinking", "model"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "a", "stop"]),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(FIELDS, values, max_size=3),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=5))
def test_any_json_ends_as_an_event(chunks: list[Any]) -> None:
    events = read(*[event(value) for value in chunks])

    assert isinstance(events[-1], Finished | Broken)


@given(st.lists(JSON, min_size=1, max_size=5))
def test_any_choice_ends_as_an_event(choices: list[Any]) -> None:
    events = read(*[event({"choices": [{"delta": choice, "finish_reason": "stop"}]}) for choice in choices], DONE)

    assert isinstance(events[-1], Finished | Broken)
    assert all(event.text for event in events if isinstance(event, ContentDelta))


# ── chunks that differ in their text alone ───────────────────────────────────────────────────────────────────────────


def assert_read_as_ever(*pieces: bytes) -> None:
    """That a reader which takes no chunk for one like the last reads the same."""
    reader = OpenAIStreamReader(CANDIDATE)
    reader._around = NOTHING
    slowly = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
    assert [str(event) for event in slowly] == [str(event) for event in read(*pieces)]


LIKE = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":%b},"finish_reason":null}],"usage":null}\n\n'


@pytest.mark.parametrize(
    "content",
    [
        b'""',
        b'"\\u00fc \\"quoted\\" \\\\"',
        '"Grüße 世界 👋"'.encode(),
        b"null",
        b"7",
        b'"a","role":"b"',
        b'"a"},"finish_reason":"stop","delta":{"content":"b"',
        b'["x"]',
        b'[{"type":"text","text":"part"}]',
        b'"unclosed',
        b'"\\ud800"',
        b'"\xff"',
        b'"\x01"',
        b"",
        b'"',
        b' "a"',
        b'"a" ',
        b'"a"\n',
        b'\n"a"',
        b'"a"\r',
        b'\r\n"a"',
        b'"a\nb"',
        b'"a\n\nb"',
        # Two events in one read, of which the second begins as the first, or does not.
        b'"a"},"finish_reason":null}],"usage":null}\n\n'
        + LIKE.removesuffix(b'},"finish_reason":null}],"usage":null}\n\n'),
        b'"a"},"finish_reason":null}],"usage":null}\n\ndata: {"choices":[{"delta":{"content":"b"',
        b'"a"},"finish_reason":null}],"usage":null}\n\nevent: error\ndata: {"choices":[{"delta":{"content":"b"',
    ],
)
def test_text_alone_is_read_as_ever(content: bytes) -> None:
    pieces = [LIKE % b'"one"', LIKE % b'"two"', LIKE % content, LIKE % b'"four"', STOP, DONE]

    assert_read_as_ever(*pieces)


@pytest.mark.parametrize(
    "kept",
    [
        b"event: error\n",
        b"data: x\n",
        b"data: 1",
        b": a comment",
        b"\r",
        b"d",
        b"id: 1\n",
        b"error: no\n",
        b'data: {"a":1}\n',
    ],
)
def test_text_is_not_alone_behind_what_is_kept(kept: bytes) -> None:
    assert_read_as_ever(LIKE % b'"one"', LIKE % b'"two"', kept, LIKE % b'"three"', LIKE % b'"four"', STOP, DONE)
    assert_read_as_ever(LIKE % b'"one"', LIKE % b'"two"' + kept, LIKE % b'"three"', LIKE % b'"four"', STOP, DONE)


@pytest.mark.parametrize("field", [b"event:", b"error:", b"data:\t", b"note: ", b"data::"])
def test_text_of_another_field_is_none(field: bytes) -> None:
    like = LIKE.removeprefix(b"data: ")

    assert_read_as_ever(LIKE % b'"one"', LIKE % b'"two"', field + like % b'"three"', LIKE % b'"four"', STOP, DONE)


def test_nothing_is_told_after_the_end() -> None:
    assert_read_as_ever(LIKE % b'"one"', LIKE % b'"two"', STOP, DONE, LIKE % b'"three"')


def test_nothing_is_told_after_the_reader_was_closed() -> None:
    reader = OpenAIStreamReader(CANDIDATE)
    pieces = (LIKE % b'"one"', LIKE % b'"two"')
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.close(AttemptTimedOut("silent"))

    assert isinstance(events[-1], Broken)
    assert [] == reader.feed(LIKE % b'"three"')


@pytest.mark.parametrize("before", [b"", b"\0"])
def test_text_in_zero_bytes_is_no_chunk(before: bytes) -> None:
    odd = b'data: %b"hello"\0\n\n' % before

    # The events of a stream without it: first of all, who answers.
    assert read(TEXT, STOP, DONE) == read(odd, TEXT, STOP, DONE)
    # Behind half of a character, when no chunk is like another one.
    half = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"\\ud83d"}}]}\n\n'
    assert read(half, TEXT, STOP, DONE) == read(half, odd, TEXT, STOP, DONE)


LENGTH = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":%b},"finish_reason":"length"}]}\n\n'
COUNTED = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":%b}}],"usage":%b}\n\n'
FEW, MANY = (b'{"prompt_tokens":1,"completion_tokens":%d}' % tokens for tokens in (1, 9))


@pytest.mark.parametrize(
    ("like", "other", "expected"),
    [
        (LENGTH, STOP, Finished("length")),
        (COUNTED.replace(b"%b}\n", FEW + b"}\n"), COUNTED % (b'"x"', MANY), Finished("stop", Usage(1, 1))),
    ],
    ids=["reason", "usage"],
)
def test_last_word_counts_in_chunks_with_text_too(like: bytes, other: bytes, expected: Event) -> None:
    pieces = (like % b'"one"', like % b'"two"', other, like % b'"three"')

    for said in (pieces, [b"".join(pieces)]):
        assert expected == read(*said, *([] if like is LENGTH else [STOP]), DONE)[-1]


@pytest.mark.parametrize("last", [b"any text", b"any text.", b"one"])
def test_text_that_is_given_twice_is_the_last_one(last: bytes) -> None:
    twice = b'"%%b","content":"%b"' % last

    texts = deltas_of(*[LIKE % (twice % first) for first in (b"one", b"two", b"three")])

    assert [ContentDelta(last.decode())] * 3 == texts


@given(st.lists(st.tuples(st.text(max_size=9), st.booleans(), st.booleans()), min_size=2, max_size=9))
def test_any_texts_are_read_as_ever(texts: list[tuple[str, bool, bool]]) -> None:
    # With a field that changes from chunk to chunk, and with text that looks like the chunk around it.
    pieces = [
        chunk({"content": text + '"content":"' * quoted}, **({"obfuscation": text} if changing else {}))
        for text, quoted, changing in texts
    ]

    assert_read_as_ever(*pieces, STOP, DONE)


@pytest.mark.parametrize(
    "first",
    [
        b'data: {"id":"a","choices":[{"delta":{"content":"x"},"note":"\\"content\\":\\"x\\""}]}\n\n',
        b'data: {"id":"a","note":{"content":"x"},"choices":[{"delta":{"content":"x"}}]}\n\n',
        b'data: {"id":"a","choices":[{"delta":{"content":"x","content":"x"}}]}\n\n',
        b'data: {"id":"a","choices":[{"delta":{"content":"x","refusal":"no"}}]}\n\n',
        b'data: {"id":"a","choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"x"}}]}\n\n',
    ],
)
def test_what_only_looks_like_the_text_is_not_it(first: bytes) -> None:
    pieces = [first, first.replace(b'"x"', b'"y"', 1), first.replace(b'"no"', b'"yes"'), STOP, DONE]

    assert_read_as_ever(*pieces)


def test_error_event_like_a_chunk_is_an_error() -> None:
    failure = failure_of(LIKE % b'"one"', b"event: error\n" + LIKE % b'"two"', STOP, DONE)

    assert "an error in the stream: no message" == failure.said


def test_texts_alone_are_bounded() -> None:
    long = LIKE % (b'"' + b"x" * (MAX_ANSWER_CHARACTERS // 8) + b'"')

    failure = failure_of(LIKE % b'"one"', *[long] * 9, STOP, DONE)

    assert "the answer is over 4194304 characters" == failure.said


# ── read by what is meant ────────────────────────────────────────────────────────────────────────────────────────────


def half(first: str, second: str, field: str = "content") -> list[bytes]:
    pieces = [chunk({field: "@"}).replace(b"@", part.encode()) for part in (first, second)]
    return [*pieces, STOP, DONE]


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("hi \\ud83d", "\\ude00!", "hi \U0001f600!"),
        ("hi \\ud83d", "!", "hi \ufffd!"),
        ("hi \\ude00", "!", "hi \ufffd!"),
        ("hi", "\\ud83d", "hi\ufffd"),
        ("hi \\ud83d\\ude00", "!", "hi \U0001f600!"),
    ],
)
def test_character_in_two_halves(first: str, second: str, text: str) -> None:
    events = read(*half(first, second))

    assert text == "".join([event.text for event in events if isinstance(event, ContentDelta)])
    assert Finished("stop") == events[-1]


def test_half_a_character_in_reasoning_and_arguments() -> None:
    reasoning = read(TEXT, *half("\\ud83d", "\\ude00", "reasoning"))
    pieces = [chunk({"tool_calls": [call(0, "a", "f", text)]}).replace(b"@", b"\\") for text in ("@ud83d", "@ude00")]
    arguments = [event.arguments for event in read(*pieces, STOP, DONE) if isinstance(event, ToolCallDelta)]

    assert "\U0001f600" == "".join([event.text for event in reasoning if isinstance(event, ReasoningDelta)])
    assert "\U0001f600" == "".join(arguments)


@pytest.mark.parametrize(
    "pieces",
    [
        [chunk({"content": "Hi"}).replace(b'"choices"', b'"n":NaN,"choices"')],
        [b"\xef\xbb\xbf" + TEXT],
        [chunk({"content": "Hi"}, id=7, model=[], created="x", usage="n/a", system_fingerprint=1)],
        [event({"choices": [{"index": "0", "delta": {"content": "Hi"}}]})],
        [event({"choices": [{"index": None, "message": {"content": "Hi"}}]})],
        [event({"choices": [{"text": "H"}]}), event({"choices": [{"text": "i"}]})],
        [TEXT, event({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})],
        [b"event: chunk\n" + TEXT],
        [TEXT.rstrip(b"\n") + b"\n"],
    ],
)
def test_chunk_in_another_dress(pieces: list[bytes]) -> None:
    assert [ContentDelta("Hi")] == [
        ContentDelta("".join([event.text for event in read(*pieces, STOP, DONE) if isinstance(event, ContentDelta)]))
    ]
    assert Finished("stop") == read(*pieces, STOP, DONE)[-1]


def test_event_may_be_as_long_as_its_stream() -> None:
    picture = chunk({"images": [{"url": "A" * 1_500_000}], "content": ""})

    assert [ContentDelta("Hi"), ContentDelta("Hi")] == deltas_of(TEXT, picture, TEXT)


@pytest.mark.parametrize("end", [b"data: [done]\n\n", b'data: "[DONE]"\n\n', b"data: DONE\n\n", b"data: [DONE]", b""])
def test_end_in_another_spelling(end: bytes) -> None:
    assert Finished("stop") == read(TEXT, STOP, end)[-1]
    assert "without a finish reason" in failure_of(TEXT, end).said


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([call(0, "a", ""), call(0, None, "f", "{}")], [ToolCallDelta(0, "a", "f", "{}")]),
        ([call(0, "a"), call(0, None, None, "{"), call(0, None, "f", "}")], [LIFE, ToolCallDelta(0, "a", "f", "{}")]),
        (
            [call(0, "a", "get_"), call(0, None, "it"), call(0, None, None, "{}")],
            [LIFE, LIFE, ToolCallDelta(0, "a", "get_it", "{}")],
        ),
        (
            [call(0, "a", "get_"), call(0, "a", "get_it"), call(0, "a", "get_it", "{}")],
            [LIFE, LIFE, ToolCallDelta(0, "a", "get_it", "{}")],
        ),
        ([call(0, "a", "f", None)], [LIFE, ToolCallDelta(0, "a", "f", "")]),
        ([call(0, "7", "f", "{}") | {"id": 7, "index": "0"}], [ToolCallDelta(0, "7", "f", "{}")]),
        ([call(0, "a", "f", []), call(0, None, None, {"b": 1})], [LIFE, ToolCallDelta(0, "a", "f", '{"b":1}')]),
    ],
)
def test_call_is_told_once_it_is_known(deltas: list[Any], expected: list[Event]) -> None:
    assert expected == calls_of(*deltas)


@pytest.mark.parametrize(
    "deltas",
    [
        [call(0, None, "f", "{}"), call(0, None, "g", "{}")],
        [call(0, None, "f", "{}"), call(0, None, "f", "{}")],
        [call(None, None, "f", "{}"), call(None, None, "f", "{}")],
        [call(0, "same", "f", "{}"), call(0, "same", "g", "{}")],
        [call(0, "same", "f", "{}"), call(1, "same", "g", "{}")],
        [call(0, "a", "f", "{}"), call(0, "b", "f", "{}")],
        [call(None, None, "f", "{"), call(0, None, None, "}"), call(1, None, "g", "{}")],
    ],
)
def test_two_calls_are_never_one(deltas: list[Any]) -> None:
    told = [event for event in calls_of(*deltas) if isinstance(event, ToolCallDelta) and event.id is not None]

    assert 2 == len(told) == len({event.id for event in told})
    assert {"{}", "{"} >= {event.arguments for event in told}


# How servers write the pieces of a call: which of them have its index, its id and its name. A call's first piece has
# all that its server ever gives.
DIALECTS: dict[str, Any] = {
    "plain": lambda at, n, piece: piece | {"index": at} if n == 0 else {"index": at, "function": piece["function"]},
    "all in each": lambda at, n, piece: piece | {"index": at},
    "no index": lambda at, n, piece: piece if n == 0 else {"function": piece["function"]},
    "one index": lambda at, n, piece: {**(piece if n == 0 else {"function": piece["function"]}), "index": 0},
    "ids alone": lambda at, n, piece: piece,
    "index as text": lambda at, n, piece: (piece if n == 0 else {"function": piece["function"]}) | {"index": str(at)},
    "late index": lambda at, n, piece: piece if n == 0 else {"index": at, "function": piece["function"]},
}
# With an index in every piece, several calls may be under way at once.
INTERLEAVED = {"plain", "all in each", "index as text"}
written_calls = st.lists(
    st.tuples(
        st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
        st.dictionaries(st.text(max_size=4), st.integers(-9, 9), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@given(written_calls, st.sampled_from(list(DIALECTS)), st.data())
def test_calls_are_the_same_in_every_dialect(calls: list[tuple[str, Any]], dialect: str, data: st.DataObject) -> None:
    deltas = []
    for at, (name, arguments) in enumerate(calls):
        text = orjson.dumps(arguments).decode()
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3)))
        for n, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(text)], strict=True)):
            named = {"name": name} if n == 0 or dialect == "all in each" else {}
            piece = {"id": f"call_{at}", "function": {**named, "arguments": text[start:end]}}
            deltas.append((n if dialect in INTERLEAVED else 0, DIALECTS[dialect](at, n, piece)))
    deltas.sort(key=lambda delta: delta[0])

    told: dict[int, list[ToolCallDelta]] = {}
    for event in calls_of(*[piece for _, piece in deltas]):
        if isinstance(event, ToolCallDelta):
            told.setdefault(event.index, []).append(event)

    expected = [(f"call_{at}", name, orjson.dumps(arguments).decode()) for at, (name, arguments) in enumerate(calls)]
    assert expected == [
        (pieces[0].id, pieces[0].name, "".join([piece.arguments for piece in pieces]))
        for _, pieces in sorted(told.items())
    ]


def test_function_call_of_old_is_streamed() -> None:
    pieces = [{"name": "look_up", "arguments": ""}, {"arguments": '{"a"'}, {"arguments": ":1}"}]
    events = read(*[chunk({"content": None, "function_call": piece}) for piece in pieces], chunk({}, "function_call"))
    told = [event for event in events if isinstance(event, ToolCallDelta)]

    assert ["look_up", None] == [event.name for event in told]
    assert '{"a":1}' == "".join([event.arguments for event in told])
    assert Finished("tool_calls") == events[-1]


def test_empty_piece_of_a_call_shows_no_life() -> None:
    events = read(
        *[chunk({"tool_calls": [call(0, "a", "f", "{}")]}), chunk({"tool_calls": [call(0, "a", "", "")]})], STOP
    )

    assert [True, False] == [event.shows_life for event in events[1:]]


ODD_STREAM = (
    b'\xef\xbb\xbf: hi\r\n\r\ndata: {"id":7,"choices":[{"delta":{"reasoning":"H\\ud83d"}}]}\r\n\r\n'
    b'data: {"choices":[{"delta":{"reasoning":"\\ude00"}}]}\r\rdata: : keepalive\n\nevent: ping\ndata: x\n\n'
    b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\ndata: {"choices":[{"delta":{"content":"\\ude00b"}}]}\n'
    b'data: {"choices":[{"delta":{"tool_calls":{"id":1,"function":{"name":"f","arguments":null}}}}]}\n'
    b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{}"}}]},"finish_reason":"toolUse"}],"n":NaN}'
)


def test_odd_stream_is_the_same_however_it_is_split() -> None:
    whole = read(ODD_STREAM)

    assert Finished("tool_calls") == whole[-1]
    assert whole == read(*[bytes([byte]) for byte in ODD_STREAM])
    for place in range(len(ODD_STREAM)):
        assert whole == read(ODD_STREAM[:place], ODD_STREAM[place:]), place


def test_odd_stream_that_is_cut_never_looks_finished() -> None:
    for place in range(len(ODD_STREAM)):
        assert isinstance(read(ODD_STREAM[:place])[-1], Broken), place


def test_foreign_events_tell_nothing_of_the_answer() -> None:
    said = failure_of(TEXT, event({"type": "delta", "text": "what the model said"})).said

    assert "the stream was cut: it ended without a finish reason" == said
