"""What Anthropic, Google and Cohere sent, byte for byte, and what becomes of it: whole, streamed, cut, split."""

from __future__ import annotations

import pytest
from attrs import evolve

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import Reasoning, Reply, ToolCall, Usage
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, ReasoningDelta
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.secret import Secret
from pg_trio.errors import UpstreamBroken, UpstreamNonsense, UpstreamRefused
from pg_trio.providers import adapter_for
from tests.support.recordings import RECORDINGS, load_recording

WIRES = ("anthropic", "google", "cohere")
NAMES = sorted(f"{wire}/{path.stem}" for wire in WIRES for path in (RECORDINGS / wire).glob("*.http"))
SIGNATURE = "CpQCAdHtim9iVQZGHkFDHwLQUAYJ8TDq4hHq"

ANSWERS = {
    "anthropic/chat": Reply(
        "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "claude-sonnet-4-5-20250929",
        "Hi! My name is Claude. Ça va? 🙂",
        "stop",
        Usage(2095 + 2051 + 2051, 503, cached_tokens=2051, cache_write_tokens=2051),
    ),
    "anthropic/tool_calls": Reply(
        "msg_01Aq9w938a90dw8q",
        "claude-sonnet-4-5-20250929",
        "I'll check the weather.",
        "tool_calls",
        Usage(472, 89),
        (
            ToolCall(
                "toolu_01A09q90qw90lq917835lq9", "get_weather", '{"location":"San Francisco, CA","unit":"celsius"}'
            ),
            ToolCall("toolu_02", "get_time", "{}"),
        ),
    ),
    "anthropic/thinking": Reply(
        "msg_05",
        "claude-sonnet-4-5-20250929",
        "21",
        "stop",
        Usage(30, 120, reasoning_tokens=90),
        reasoning="Let me analyze this.",
        reasoning_blocks=(
            Reasoning("Let me analyze this.", "WaUjzkypQ2mUEVM36O2TxuC06KN8xyfbJwyem2dw3URve="),
            Reasoning("", data="EmwKAhgBEgy3va3pzix"),
        ),
    ),
    "anthropic/thought_away": Reply(
        "msg_06",
        "claude-sonnet-4-5-20250929",
        "",
        "length",
        Usage(30, 1024),
        reasoning="Let me analyze",
        reasoning_blocks=(Reasoning("Let me analyze", "c2ln"),),
    ),
    "anthropic/refusal": Reply("msg_07", "claude-sonnet-4-5-20250929", "", "content_filter", Usage(30, 1)),
    "google/chat": Reply(
        "mAitaLmkHPPlz7IPvtfUqQ4",
        "gemini-2.5-flash",
        "Hello, ça va? 🙂",
        "stop",
        Usage(8, 10, cached_tokens=4),
    ),
    "google/tool_calls": Reply(
        "mAitaLmkHPPlz7IPvtfUqQ4",
        "gemini-2.5-flash",
        None,
        "tool_calls",
        Usage(57, 55, reasoning_tokens=20),
        (
            ToolCall("8f2b1a3c", "get_weather", '{"location":"Paris"}', SIGNATURE),
            ToolCall("made up", "get_time", "{}"),
        ),
    ),
    "google/thinking": Reply(
        "mAitaLmkHPPlz7IPvtfUqQ4",
        "gemini-2.5-flash",
        "The answer is 21.",
        "stop",
        Usage(12, 96, reasoning_tokens=90),
        reasoning="**Thinking about it**\n",
    ),
    "google/thought_away": Reply("r1", "gemini-2.5-pro", "", "length", Usage(12, 64, reasoning_tokens=64)),
    "google/blocked": Reply("b1", "gemini-2.5-flash", "", "content_filter", Usage(9, 0)),
    "cohere/chat": Reply(
        "c14c80c3-18eb-4519-9460-6c92edd8cfb4",
        "asked-for",
        "LLMs are large, ça va? 🙂",
        "stop",
        Usage(71, 418, cached_tokens=64),
    ),
    "cohere/tool_calls": Reply(
        "c14c80c3-18eb-4519-9460-6c92edd8cfb4",
        "asked-for",
        None,
        "tool_calls",
        Usage(913, 83),
        (
            ToolCall("get_weather_p1t92w7gfgq7", "get_weather", '{"location":"Madrid"}'),
            ToolCall("get_time_ay6nmvjgp9vn", "get_time", "{}"),
        ),
        reasoning="I will search.",
    ),
    "cohere/thinking": Reply(
        "c14c80c3-18eb-4519-9460-6c92edd8cfb4",
        "asked-for",
        "It is 21.",
        "stop",
        Usage(20, 90),
        reasoning="The user wants the GCD.",
    ),
}
STREAMS = {
    "anthropic/stream": Reply(
        "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyy",
        "claude-sonnet-4-5-20250929",
        "Hello, ça va? 🙂",
        "stop",
        Usage(235, 15, cached_tokens=200, cache_write_tokens=10),
    ),
    "anthropic/stream_tool_calls": Reply(
        "msg_014p7gG3wDgGV9EUtLvnow3U",
        "claude-sonnet-4-5-20250929",
        "Let's check the weather:",
        "tool_calls",
        Usage(472, 89),
        (
            ToolCall("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather", '{"location": "San Francisco, CA"}'),
            ToolCall("toolu_02", "get_time", "{}"),
        ),
    ),
    "anthropic/stream_thinking": Reply(
        "msg_01",
        "claude-sonnet-4-5-20250929",
        "The greatest common divisor is 21.",
        "stop",
        Usage(30, 120, reasoning_tokens=90),
        reasoning_blocks=(
            Reasoning(
                "I need to find the GCD\n1071 = 2 × 462 + 147",
                "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk=",
            ),
            Reasoning(
                "",
                data="EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpPkNRj2YfWXGmKDxH4mPnZ5sQ7vB9URj2pLmN3kF8",
            ),
        ),
    ),
    "anthropic/stream_server_tools": Reply(
        "msg_01G", "claude-sonnet-4-5-20250929", "I'll check. It rains.", "stop", Usage(2679, 510)
    ),
    "anthropic/stream_refusal": Reply(
        "msg_02", "claude-sonnet-4-5-20250929", "Hello..", "content_filter", Usage(25, 22)
    ),
    "google/stream": Reply(
        "mAitaLmkHPPlz7IPvtfUqQ4",
        "gemini-2.5-flash",
        "Hello, ça va? 🙂",
        "stop",
        Usage(8, 10, cached_tokens=4),
    ),
    "google/stream_tool_calls": Reply(
        "mAitaLmkHPPlz7IPvtfUqQ4",
        "gemini-2.5-flash",
        "I look.",
        "tool_calls",
        Usage(57, 55, reasoning_tokens=20),
        (
            ToolCall("8f2b1a3c", "get_weather", '{"location":"Paris"}', SIGNATURE),
            ToolCall("made up", "get_time", "{}"),
        ),
    ),
    "google/stream_thinking": Reply(
        "mAitaLmkHPPlz7IPvtfUqQ4",
        "gemini-2.5-flash",
        "The answer is 21.",
        "stop",
        Usage(12, 96, reasoning_tokens=90),
    ),
    "google/stream_blocked": Reply("b1", "gemini-2.5-flash", "", "content_filter", Usage(9, 0)),
    "google/stream_safety": Reply("mAitaLmkHPPlz7IPvtfUqQ4", "gemini-2.5-flash", "Once", "content_filter", Usage(9, 1)),
    "cohere/stream": Reply(
        "29f14a5a-11de-4cae-9800-25e4747408ea",
        "asked-for",
        "Hello, ça va? 🙂",
        "stop",
        Usage(496, 7, cached_tokens=400),
    ),
    "cohere/stream_tool_calls": Reply(
        "29f14a5a-11de-4cae-9800-25e4747408ea",
        "asked-for",
        None,
        "tool_calls",
        Usage(913, 83),
        (
            ToolCall("get_weather_p1t92w7gfgq7", "get_weather", '{\n    "location": "Madrid"\n}'),
            ToolCall("get_time_ay6nmvjgp9vn", "get_time", "{}"),
        ),
    ),
    "cohere/stream_thinking": Reply(
        "29f14a5a-11de-4cae-9800-25e4747408ea", "asked-for", "It is 21.", "stop", Usage(20, 90)
    ),
}
BROKEN = {
    "anthropic/stream_error": "an error in the answer: Overloaded",
    "anthropic/cut_short": "the stream was cut: it ended without a finish reason",
    "google/stream_error": "an error in the answer: The model is overloaded. Please try again later.",
    "google/cut_short": "the stream was cut: it ended without a finish reason",
    "cohere/stream_error": "an error in the answer: the model is overloaded",
    "cohere/cut_short": "the stream was cut: it ended without a finish reason",
}
# What is said, when to come back, whom it concerns, and whether another candidate is asked.
REFUSALS = {
    "anthropic/error_400": (
        'HTTP 400: messages: roles must alternate between "user" and "assistant", but found multiple "user" roles in a '
        "row",
        None,
        None,
        False,
    ),
    "anthropic/error_400_context": (
        "HTTP 400: prompt is too long: 210000 tokens > 200000 maximum",
        None,
        "context",
        True,
    ),
    "anthropic/error_400_credit": (
        "HTTP 400: Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade "
        "or purchase credits.",
        None,
        "credit",
        True,
    ),
    "anthropic/error_401": ("HTTP 401: invalid x-api-key", None, None, True),
    "anthropic/error_429": (
        "HTTP 429: This request would exceed your organization's rate limit of 50,000 input tokens per minute.",
        12.0,
        None,
        True,
    ),
    "anthropic/error_529": ("HTTP 529: Overloaded", None, None, True),
    "google/error_400": (
        "HTTP 400: Please ensure that function call turn comes immediately after a user turn or after a function "
        "response turn.",
        None,
        None,
        False,
    ),
    "google/error_400_key": ("HTTP 400: API key not valid. Please pass a valid API key.", None, "key", True),
    "google/error_429": (
        "HTTP 429: You exceeded your current quota, please check your plan and billing details.",
        34.07,
        None,
        True,
    ),
    "google/error_503": ("HTTP 503: The model is overloaded. Please try again later.", None, None, True),
    "cohere/error_400": (
        "HTTP 400: invalid request: all elements in history must have a message.",
        None,
        None,
        False,
    ),
    "cohere/error_400_context": (
        "HTTP 400: too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292. Try using "
        "a shorter prompt, or enabling prompt truncating.",
        None,
        "context",
        True,
    ),
    "cohere/error_401": ("HTTP 401: invalid api token", None, None, True),
    "cohere/error_429": (
        "HTTP 429: You are using a Trial key, which is limited to 40 API calls / minute.",
        9.0,
        None,
        True,
    ),
}
NONSENSE = {
    "google/malformed_call": "the provider ended the answer with an error (MALFORMED_FUNCTION_CALL: Malformed function "
    "call: print(default_api.get_weather()",
}


def candidate_of(name: str) -> Candidate:
    provider = name.partition("/")[0]
    return Candidate(Credential("main", provider, "https://api.test/v1", Secret("the-key-of-this-test")), "asked-for")


def read(name: str, body: bytes | None = None) -> Reply:
    recorded = load_recording(name)
    candidate = candidate_of(name)
    whole = recorded.body if body is None else body
    reply = adapter_for(candidate.provider).read_reply(recorded.status, recorded.headers, whole, candidate, now_s=0.0)
    return with_known_ids(name, reply)


def with_known_ids(name: str, reply: Reply) -> Reply:
    """Ids that the provider did not give are made up anew each time."""
    expected = (ANSWERS | STREAMS).get(name)
    calls = tuple(
        evolve(call, id="made up") if wanted.id == "made up" and call.id.startswith("call_") else call
        for call, wanted in zip(reply.tool_calls, expected.tool_calls if expected else (), strict=False)
    )
    return evolve(reply, tool_calls=calls or reply.tool_calls)


def stream(name: str, *pieces: bytes) -> list[Event]:
    recorded, candidate = load_recording(name), candidate_of(name)
    adapter = adapter_for(candidate.provider)
    assert adapter.is_stream(recorded.status, recorded.headers, recorded.body)
    reader = adapter.open_stream(candidate)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.close()


def body_of(name: str) -> bytes:
    return load_recording(name).body + b"\n\n"


def reply_of(name: str, events: list[Event]) -> Reply:
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    return with_known_ids(name, assembler.reply())


def merged(events: list[Event]) -> list[object]:
    """The events with neighbouring texts joined, ids that are made up left out, and failures by what they say."""
    told: list[object] = []
    for event in events:
        if isinstance(event, ContentDelta) and told and isinstance(told[-1], ContentDelta):
            told[-1] = ContentDelta(told[-1].text + event.text)
        elif isinstance(event, Broken):
            told.append((type(event.failure), event.failure.said))
        elif getattr(event, "id", None) is not None:
            told.append((type(event), getattr(event, "name", None), getattr(event, "signature", None)))
        else:
            told.append(event)
    return told


def test_every_recording_is_judged() -> None:
    assert NAMES == sorted([*ANSWERS, *STREAMS, *BROKEN, *REFUSALS, *NONSENSE])


@pytest.mark.parametrize("name", ANSWERS)
def test_whole_answer(name: str) -> None:
    assert ANSWERS[name] == read(name)


@pytest.mark.parametrize("name", STREAMS)
def test_streamed_answer(name: str) -> None:
    assert STREAMS[name] == reply_of(name, stream(name, body_of(name)))


@pytest.mark.parametrize("name", STREAMS)
def test_stream_that_came_as_a_whole(name: str) -> None:
    """As a proxy hands it over that took the stream in before it passed it on."""
    reply = read(name, load_recording(name).body)

    assert (STREAMS[name].content, STREAMS[name].tool_calls) == (reply.content, reply.tool_calls)


@pytest.mark.parametrize("name", [name for name in STREAMS if name.startswith("google/")])
def test_google_stream_as_a_list(name: str) -> None:
    """Without `alt=sse` the same chunks are the items of a JSON list."""
    chunks = [line.removeprefix(b"data: ") for line in load_recording(name).body.split(b"\n\n")]

    assert STREAMS[name].content == read(name, b"[" + b",\n".join(chunks) + b"]").content


@pytest.mark.parametrize("name", BROKEN)
def test_broken_stream_says_why(name: str) -> None:
    last = stream(name, body_of(name))[-1]

    assert isinstance(last, Broken)
    assert BROKEN[name] == last.failure.said
    assert last.failure.fails_over


@pytest.mark.parametrize("name", [*STREAMS, *BROKEN])
def test_split_at_every_byte(name: str) -> None:
    body = body_of(name)
    wanted = merged(stream(name, body))

    for cut in range(len(body) + 1):
        assert wanted == merged(stream(name, body[:cut], body[cut:]))
    assert wanted == merged(stream(name, *[body[place : place + 1] for place in range(len(body))]))


@pytest.mark.parametrize("name", STREAMS)
def test_cut_stream_never_looks_whole(name: str) -> None:
    """Until the finish reason is there, whatever came before it."""
    body = body_of(name)
    ends_at = max(body.rfind(b'"stop_reason":"'), body.rfind(b'"finishReason"'), body.rfind(b'"finish_reason"'))
    ends_at = ends_at if ends_at >= 0 else body.rfind(b'"blockReason"')

    for cut in range(0, ends_at, 7):
        last = stream(name, body[:cut])[-1]
        assert isinstance(last, Broken)
        assert isinstance(last.failure, UpstreamBroken)


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_says_why(name: str) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        read(name)

    refused = caught.value
    assert REFUSALS[name] == (refused.said, refused.retry_after_s, refused.concerns, refused.fails_over)


@pytest.mark.parametrize("name", NONSENSE)
def test_failed_answer_says_why(name: str) -> None:
    with pytest.raises(UpstreamNonsense) as caught:
        read(name)

    assert NONSENSE[name] == caught.value.said


@pytest.mark.parametrize("name", ["anthropic/stream_thinking", "google/stream_thinking", "cohere/stream_thinking"])
def test_reasoning_is_never_content(name: str) -> None:
    events = stream(name, body_of(name))

    reasoned = [event for event in events if isinstance(event, ReasoningDelta)]
    assert reasoned
    assert not any(event.is_token for event in reasoned)
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize("wire", WIRES)
def test_secret_in_an_error_is_masked(wire: str) -> None:
    body = b'{"error": {"message": "no such key: the-key-of-this-test"}, "message": "the-key-of-this-test"}'
    candidate = candidate_of(wire)

    with pytest.raises(UpstreamRefused) as caught:
        adapter_for(wire).read_reply(401, {}, body, candidate, now_s=0.0)

    assert "the-key-of-this-test" not in caught.value.said
