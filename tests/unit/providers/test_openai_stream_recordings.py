"""What providers of the OpenAI wire stream, byte for byte, and what becomes of it: whole, split, cut."""

from __future__ import annotations

import pytest

from pg_trio.domain.adapter import StreamReader
from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import Reply, ToolCall, Usage
from pg_trio.domain.events import Broken, Event, Finished
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.errors import UpstreamBroken
from pg_trio.providers import adapter_for
from tests.support.recordings import RECORDINGS, load_recording


def candidate_of(name: str) -> Candidate:
    provider = name.partition("/")[0]
    return Candidate(Credential("main", provider, "https://api.test/v1", Secret("the-key-of-this-test")), "asked-for")


def reader_for(name: str) -> StreamReader:
    candidate = candidate_of(name)
    recorded = load_recording(name)
    adapter = adapter_for(candidate.provider)
    assert adapter.is_stream(recorded.status, recorded.headers, recorded.body)
    return adapter.open_stream(candidate)


def body_of(name: str) -> bytes:
    return load_recording(name).body + b"\n\n"


def read(name: str, *pieces: bytes) -> list[Event]:
    reader = reader_for(name)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.close()


def reply_of(events: list[Event]) -> Reply:
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    return assembler.reply()


ANSWERS = {
    "openai/stream": Reply(
        "chatcmpl-A7mKGugwaczn3YyrJLlZY6CM0Wlkr",
        "gpt-4o-mini-2024-07-18",
        "Hello there,\nça va? 🙂",
        "stop",
        Usage(9, 12),
    ),
    "openai/stream_tool_calls": Reply(
        "chatcmpl-A7mKGugwaczn3YyrJLlZY6CM0Wlkr",
        "gpt-4o-mini-2024-07-18",
        None,
        "tool_calls",
        Usage(82, 30),
        (ToolCall("call_1", "get_weather", '{"city":"Ulm"}'), ToolCall("call_2", "get_time", "{}")),
    ),
    "openai/stream_refusal": Reply(
        "chatcmpl-A7mKGugwaczn3YyrJLlZY6CM0Wlkr",
        "gpt-4o-mini-2024-07-18",
        "I'm sorry.",
        "content_filter",
        Usage(81, 5),
    ),
    "openai/stream_filter_first": Reply(
        "chatcmpl-A7mKGugwaczn3YyrJLlZY6CM0Wlkr", "gpt-4o-mini-2024-07-18", "Hi", "stop"
    ),
    "mistral/stream": Reply(
        "c3c77283055240cbbaf6f01d384cfccb", "magistral-medium-2509", "Bonjour", "stop", Usage(7, 3)
    ),
    "mistral/stream_thinking": Reply(
        "c3c77283055240cbbaf6f01d384cfccb",
        "magistral-medium-2509",
        "17 × 23 = 391.",
        "stop",
        Usage(12, 48),
    ),
    "groq/stream": Reply(
        "chatcmpl-eb063827-f4d7-4f4a-98ca-cbf8fac3db0d", "openai/gpt-oss-20b", "Hi!", "stop", Usage(23, 19)
    ),
    "together/stream": Reply("nz7JbnQ-4yUbBN-8f1c", "Qwen/Qwen3.7-Plus", "Good day", "stop", Usage(18, 3)),
    "ollama/stream": Reply("chatcmpl-801", "qwen3.5:4b", "Hey you", "stop", Usage(33, 8)),
    "ollama/stream_tool_calls": Reply(
        "chatcmpl-801",
        "qwen3.5:4b",
        None,
        "tool_calls",
        None,
        (ToolCall("call_z6ed1hvv", "list_windows", "{}"), ToolCall("call_b", "focus", '{"window":1}')),
    ),
    "azure/stream": Reply("chatcmpl-AZ2", "gpt-4.1-2025-04-14", "Hello!", "stop", Usage(11, 3)),
    "openrouter/stream": Reply(
        "gen-1763800000-def", "anthropic/claude-sonnet-4.5", "Hello there.", "stop", Usage(42, 12, cached_tokens=30)
    ),
    "deepseek/stream": Reply(
        "1f633d8b-fc25-4103-9c0f-87f0c5f1c1aa",
        "deepseek-v4-flash",
        "Hello!",
        "stop",
        Usage(16, 10, cached_tokens=8, reasoning_tokens=5),
    ),
    "xai/stream": Reply(
        "0daf962f-a275-4a3c-839a-047854645533",
        "grok-4.6",
        "303",
        "stop",
        Usage(32, 103, cached_tokens=6, reasoning_tokens=94),
    ),
    "fireworks/stream": Reply(
        "a3f1c2d4-8a3c", "accounts/fireworks/models/gpt-oss-20b", "Hello!", "stop", Usage(70, 20, cached_tokens=64)
    ),
    "perplexity/stream": Reply("3f8f0d1e-5a1d", "sonar", "Ulm lies on the Danube[1].", "stop", Usage(9, 12)),
    "perplexity/stream_thinking": Reply("3f8f0d1e-5a20", "sonar-reasoning-pro", '{"city":"Ulm"}', "stop", Usage(9, 40)),
    "cerebras/stream": Reply(
        "chatcmpl-c2",
        "gpt-oss-120b",
        "Fast inference saves time.",
        "stop",
        Usage(69, 45, cached_tokens=32, reasoning_tokens=8),
    ),
    "sambanova/stream": Reply(
        "84a5d2e0-8c46", "Meta-Llama-3.3-70B-Instruct", "Hello from SambaNova.", "stop", Usage(35, 8)
    ),
    "nvidia/stream": Reply("chat-3b9c1f", "meta/llama-3.3-70b-instruct", "Hello.", "stop", Usage(15, 3)),
    "vllm/stream": Reply("chatcmpl-7e20", "Qwen/Qwen3-8B", "\n\nHello.", "stop", Usage(14, 11)),
    "lmstudio/stream": Reply("chatcmpl-lm2", "qwen/qwen3-4b", "Hi!", "stop", Usage(12, 3)),
    "llamacpp/stream": Reply(
        "chatcmpl-SOtkGKHJCWOvP067pDyn97nhBdTyILKN", "gpt-3.5-turbo", "Hello from llama.cpp.", "stop", Usage(34, 8)
    ),
    "huggingface/stream": Reply(
        "7c1e", "meta-llama/Llama-3.3-70B-Instruct", "Hello from the router.", "stop", Usage(17, 6)
    ),
    "bedrock/stream": Reply("chatcmpl-b2", "openai.gpt-oss-20b-1:0", "Hello from Bedrock.", "stop", Usage(80, 20)),
    "vertex/stream": Reply(
        "2026-11-290800002-0812346",
        "google/gemini-3.5-flash",
        "Hello from Vertex.",
        "stop",
        Usage(2000, 23, reasoning_tokens=20),
    ),
    "vertex/stream_tool_calls": Reply(
        "2026-11-290800002-0812346",
        "google/gemini-3.5-flash",
        None,
        "tool_calls",
        Usage(2000, 23, reasoning_tokens=20),
        (
            ToolCall("function-call-1", "get_weather", '{"city":"Ulm"}', "AY89a18IwQsQ8in"),
            ToolCall("function-call-2", "get_time", "{}"),
        ),
    ),
}
ERRORS = {
    "openai/stream_error": "The server had an error while processing your request. Sorry about that!",
    "groq/stream_error": "over capacity",
    "openrouter/stream_error": "Provider disconnected unexpectedly",
    "vllm/stream_error": "EngineCore encountered an issue.",
    "lmstudio/stream_error": "The number of tokens to keep from the initial prompt is greater than the context length.",
}


def test_every_recording_is_read() -> None:
    recorded = {f"{path.parent.name}/{path.stem}" for path in RECORDINGS.glob("*/stream*.http")}
    wire = {name for name in recorded if PROVIDERS[name.partition("/")[0]].wire == "openai"}

    assert wire == {*ANSWERS, *ERRORS}


@pytest.mark.parametrize(("name", "expected"), ANSWERS.items(), ids=ANSWERS)
def test_recorded_answer(name: str, expected: Reply) -> None:
    assert expected == reply_of(read(name, body_of(name)))


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_line_ends_change_nothing(name: str, line_end: bytes) -> None:
    body = body_of(name)

    assert read(name, body) == read(name, body.replace(b"\n", line_end))


@pytest.mark.parametrize("name", ANSWERS)
def test_split_changes_nothing(name: str) -> None:
    body = body_of(name)
    whole = read(name, body)

    assert whole == read(name, *[bytes([byte]) for byte in body])
    for place in range(0, len(body), 7):
        assert whole == read(name, body[:place], body[place:]), place


@pytest.mark.parametrize("name", ANSWERS)
def test_cut_never_looks_finished(name: str) -> None:
    body = body_of(name)
    whole = read(name, body)
    # The end of the last chunk that has a finish reason: its line end and the blank line may be missing.
    reason_at = max(body.rfind(b'"finish_reason":"' + word) for word in (b"stop", b"tool_calls", b"eos"))
    complete_at = body.index(b"\n\n", reason_at)

    for place in range(complete_at):
        last = read(name, body[:place])[-1]
        assert isinstance(last, Broken), place
        assert type(last.failure) is UpstreamBroken
    for place in range(complete_at, len(body)):
        events = read(name, body[:place])
        assert whole[:-1] == events[:-1], place
        assert isinstance(events[-1], Finished)


@pytest.mark.parametrize(("name", "said"), ERRORS.items(), ids=ERRORS)
def test_recorded_error(name: str, said: str) -> None:
    events = read(name, body_of(name))

    last = events[-1]
    assert isinstance(last, Broken)
    assert f"an error in the stream: {said}" == last.failure.said
    assert [True] == list({event.is_token for event in events[1:-1]})
