"""What providers of the OpenAI wire sent, byte for byte, and what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pg_trio.domain.chat import Reply, ToolCall, Usage
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.errors import AttemptFailed, UpstreamNonsense, UpstreamRefused
from pg_trio.providers import adapter_for
from tests.support.recordings import RECORDINGS, Recording, load_recording


def candidate_of(provider: str) -> Candidate:
    return Candidate(Credential("main", provider, "https://api.test/v1", Secret("the-key-of-this-test")), "asked-for")


def read(name: str, change: Callable[[bytes], bytes] = lambda body: body) -> Reply:
    provider = name.partition("/")[0]
    recorded: Recording = load_recording(name)
    return adapter_for(provider).read_reply(
        recorded.status, recorded.headers, change(recorded.body), candidate_of(provider), now_s=0.0
    )


ANSWERS = {
    "openai/chat": Reply(
        "chatcmpl-123",
        "gpt-4o-mini-2024-07-18",
        "\n\nHello there, how may I assist you today? Ça va? 🙂",
        "stop",
        Usage(9, 12),
    ),
    "openai/tool_calls": Reply(
        "chatcmpl-abc123",
        "gpt-4o-mini",
        None,
        "tool_calls",
        Usage(82, 17),
        (ToolCall("call_abc123", "get_current_weather", '{\n"location": "Boston, MA"\n}'),),
    ),
    "openai/forced_tool": Reply(
        "chatcmpl-AbC",
        "gpt-4o-2024-08-06",
        None,
        "tool_calls",
        Usage(60, 11),
        (ToolCall("call_1", "generate_simple_list", '{"items":["apple","banana","cherry"]}'),),
    ),
    "openai/refusal": Reply(
        "chatcmpl-9nYAG9LPNonX8DAyrkwYfemr3C8HC",
        "gpt-4o-2024-08-06",
        "I'm sorry, I cannot assist with that request.",
        "content_filter",
        Usage(81, 11),
    ),
    "openai/content_filter": Reply("chatcmpl-cf1", "gpt-4o-mini", "", "content_filter", Usage(14, 0)),
    "openai/thought_away": Reply("chatcmpl-r1", "o3-mini-2025-01-31", "", "length", Usage(20, 64, reasoning_tokens=64)),
    "mistral/chat": Reply(
        "b5899875951449e9a2997246a3a54d21",
        "mistral-large-latest",
        "Coca-Cola is a carbonated soft drink. The exact formula is a closely guarded trade secret. However, it",
        "length",
        Usage(34, 100),
    ),
    "mistral/thinking": Reply(
        "cmpl-e5cc70bb28c444948073e77776eb30ef",
        "magistral-medium-2509",
        "17 × 23 = 391.",
        "stop",
        Usage(12, 48),
        reasoning="17 times 23 is 391.",
    ),
    "mistral/tool_calls": Reply(
        "cmpl-f1",
        "mistral-small-latest",
        None,
        "tool_calls",
        Usage(92, 38),
        (
            ToolCall("D681PevKs", "get_weather", '{"city": "Paris"}'),
            ToolCall("a1B2c3D4e", "get_weather", '{"city":"Lyon"}'),
        ),
    ),
    "mistral/model_length": Reply("cmpl-f2", "open-mistral-7b", "and so on and", "length", Usage(32700, 68)),
    "groq/chat": Reply(
        "34a9110d-c39d-423b-9ab9-9c748747b204",
        "mixtral-8x7b-32768",
        "Low latency LLMs are essential for real-time applications.",
        "stop",
        Usage(24, 377),
    ),
    "together/chat": Reply(
        "8b61924aa9de82dc-ARN",
        "meta-llama/meta-llama-3.1-8b-instruct-turbo",
        "There once was a GPU so fine,\nIt computed with speed and design.",
        "stop",
        Usage(22, 44),
    ),
    "ollama/chat": Reply("chatcmpl-768", "qwen2.5-coder:7b", "This is a test.", "stop", Usage(13, 6)),
    "ollama/no_finish_reason": Reply("chatcmpl-769", "qwen2.5-coder:7b", "This is a test.", "stop", Usage(13, 6)),
    "ollama/tool_calls": Reply(
        "chatcmpl-838",
        "qwen2.5-coder:7b",
        None,
        "tool_calls",
        Usage(190, 24),
        (ToolCall("call_hk81qg8b", "run_command", '{"command":"ls -la"}'),),
    ),
    "azure/chat": Reply("chatcmpl-AZ1", "gpt-4.1-2025-04-14", "Hello! How can I help?", "stop", Usage(11, 7)),
    "openrouter/chat": Reply(
        "gen-1763800000-abc",
        "anthropic/claude-sonnet-4.5",
        "Hello there.",
        "stop",
        Usage(42, 12, cached_tokens=30, cache_write_tokens=5, reasoning_tokens=4),
        reasoning="A greeting.",
    ),
    "deepseek/chat": Reply(
        "930c60df-bf64-41c9-a88e-3ec75f81e00e",
        "deepseek-v4-flash",
        "Hello!",
        "stop",
        Usage(16, 10, cached_tokens=8, reasoning_tokens=5),
        reasoning="They greet.",
    ),
    "deepseek/tool_calls": Reply(
        "ds-3",
        "deepseek-v4-pro",
        None,
        "tool_calls",
        Usage(180, 48, cached_tokens=128, reasoning_tokens=20),
        (ToolCall("call_00_IQhHZGdVx1Z5vKbR", "get_weather", '{"location": "Hangzhou"}'),),
        reasoning="I need the weather.",
    ),
    "xai/chat": Reply(
        "0daf962f-a275-4a3c-839a-047854645532",
        "grok-4.6",
        "101 * 3 is 303.",
        "stop",
        Usage(32, 103, cached_tokens=6, reasoning_tokens=94),
        reasoning="Let me multiply.",
    ),
    "fireworks/chat": Reply(
        "a3f1c2d4-8a3b",
        "accounts/fireworks/models/gpt-oss-20b",
        "Hello!",
        "stop",
        Usage(70, 20, cached_tokens=64),
        reasoning="Greet.",
    ),
    "perplexity/chat": Reply("3f8f0d1e-5a1c", "sonar", "Ulm lies on the Danube[1].", "stop", Usage(9, 12)),
    "perplexity/thinking": Reply(
        "3f8f0d1e-5a1f",
        "sonar-reasoning-pro",
        '{"city":"Ulm"}',
        "stop",
        Usage(9, 40),
        reasoning="The user wants JSON.\n",
    ),
    "cerebras/chat": Reply(
        "chatcmpl-c1",
        "gpt-oss-120b",
        "Fast inference saves time.",
        "stop",
        Usage(69, 45, cached_tokens=32, reasoning_tokens=8),
        reasoning="Think.",
    ),
    "sambanova/chat": Reply(
        "84a5d2e0-8c45", "Meta-Llama-3.3-70B-Instruct", "Hello from SambaNova.", "stop", Usage(35, 8)
    ),
    "nvidia/chat": Reply("chat-3b9c1e", "meta/llama-3.3-70b-instruct", "Hello.", "stop", Usage(15, 3)),
    "vllm/chat": Reply("chatcmpl-7e1f", "Qwen/Qwen3-8B", "Hello.", "stop", Usage(14, 11), reasoning="Say hello."),
    "lmstudio/chat": Reply("chatcmpl-lm1", "qwen/qwen3-4b", "Hi!", "stop", Usage(12, 3)),
    "llamacpp/chat": Reply(
        "chatcmpl-SOtkGKHJCWOvP067pDyn97nhBdTyILKM",
        "gpt-3.5-turbo",
        "Hello from llama.cpp.",
        "stop",
        Usage(34, 8),
        reasoning="Hm.",
    ),
    "huggingface/chat": Reply(
        "7c1d", "meta-llama/Llama-3.3-70B-Instruct", "Hello from the router.", "stop", Usage(17, 6)
    ),
    "bedrock/chat": Reply(
        "chatcmpl-b1", "openai.gpt-oss-20b-1:0", "Hello from Bedrock.", "stop", Usage(80, 20), reasoning="Greet."
    ),
    "bedrock/thinking": Reply(
        "chatcmpl-9b3f", "openai.gpt-oss-20b-1:0", "Hello!", "stop", Usage(70, 16), reasoning="A greeting."
    ),
    "vertex/chat": Reply(
        "2026-11-290800001-0812345",
        "google/gemini-3.5-flash",
        "Hello from Vertex.",
        "stop",
        Usage(2000, 23, reasoning_tokens=20),
    ),
    "vertex/tool_calls": Reply(
        "2026-11-297",
        "google/gemini-3.5-flash",
        None,
        "tool_calls",
        Usage(2000, 23, reasoning_tokens=20),
        (ToolCall("function-call-1", "get_weather", '{"city":"Ulm"}', "AY89a18IwQsQ8in"),),
    ),
}

# What is said, the wait in seconds, and whether the next candidate is asked.
REFUSALS: dict[str, tuple[str, float | None, bool]] = {
    "openai/error_400": (
        "HTTP 400: Unsupported value: 'temperature' does not support 0.2 with this model."
        " Only the default (1) value is supported.",
        None,
        False,
    ),
    "openai/error_401": (
        "HTTP 401: Incorrect API key provided: [redacted]."
        " You can find your API key at https://platform.openai.com/account/api-keys.",
        None,
        True,
    ),
    "openai/error_429": (
        "HTTP 429: Rate limit reached for gpt-4o-mini in organization org-abc on tokens per min (TPM):"
        " Limit 200000, Used 199500, Requested 2200. Please try again in 6.521s.",
        6.521,
        True,
    ),
    "openai/html_502": ("HTTP 502: HTML page: 502 Bad Gateway", None, True),
    "mistral/error_401": ("HTTP 401: Unauthorized", None, True),
    "mistral/error_422": ("HTTP 422: body.messages.0.user.name: Extra inputs are not permitted", None, False),
    "groq/error_429": (
        "HTTP 429: Rate limit reached for model gemma2-9b-it in organization ... service tier on_demand on tokens per"
        " minute (TPM): Limit 15000, Used 11972, Requested 4351. Please try again in 5.289s. Visit"
        " https://console.groq.com/docs/rate-limits for more information.",
        5.0,
        True,
    ),
    "together/error_401": (
        "HTTP 401: Invalid API key provided. You can find your API key at https://api.together.xyz/settings/api-keys.",
        None,
        True,
    ),
    "ollama/error_404": ("HTTP 404: model 'llama3.2' not found", None, True),
    "azure/error_400_filter": (
        "HTTP 400: The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
        " Please modify your prompt and retry.",
        None,
        False,
    ),
    "azure/error_401": (
        "HTTP 401: Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid"
        " key for an active subscription and use a correct regional API endpoint for your resource.",
        None,
        True,
    ),
    "azure/error_404": (
        "HTTP 404: The API deployment for this resource does not exist. If you created the deployment within the"
        " last 5 minutes, please wait a moment and try again.",
        None,
        True,
    ),
    "openrouter/error_402": (
        "HTTP 402: Insufficient credits. Add more using https://openrouter.ai/settings/credits",
        None,
        True,
    ),
    "deepseek/error_402": ("HTTP 402: Insufficient Balance", None, True),
    "xai/error_400": ("HTTP 400: Model grok-4-latest does not support parameter reasoningEffort.", None, False),
    "xai/error_403": (
        "HTTP 403: Your team 1a2b has used all available credits. To continue making API requests, please purchase"
        " more credits.",
        None,
        True,
    ),
    "fireworks/error_404": ("HTTP 404: Model not found, inaccessible, and/or not deployed", None, True),
    "perplexity/error_400": (
        "HTTP 400: After the (optional) system message(s), user or tool message(s) should alternate with assistant"
        " message(s).",
        None,
        False,
    ),
    "cerebras/error_401": ("HTTP 401: Wrong API Key", None, True),
    "cerebras/error_429": ("HTTP 429: Tokens per minute limit exceeded - too many tokens processed.", 11.38, True),
    "sambanova/error_429": ("HTTP 429: Rate limit exceeded", None, True),
    "nvidia/error_403": ("HTTP 403: Forbidden: Authorization failed", None, True),
    "vllm/error_400": (
        "HTTP 400: This model's maximum context length is 4096 tokens. However, your request has 9000 input tokens."
        " Please reduce the length of the input messages.",
        None,
        True,
    ),
    "vllm/error_400_object": (
        "HTTP 400: [{'type': 'extra_forbidden', 'loc': ('body', 'messages', 0, 'typed-dict', 'id'), 'msg': 'Extra"
        " inputs are not permitted'}]",
        None,
        False,
    ),
    "lmstudio/error_404": ("HTTP 404: Model 'nothing' is not loaded. Please load the model first.", None, True),
    "llamacpp/error_400": ("HTTP 400: the request exceeds the available context size, try increasing it", None, True),
    "llamacpp/error_503": ("HTTP 503: Loading model", None, True),
    "huggingface/error_400": (
        "HTTP 400: The requested model 'a/b' is not supported by any provider you have enabled.",
        None,
        True,
    ),
    "huggingface/error_402": (
        "HTTP 402: You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO to get"
        " 20x more monthly included credits.",
        None,
        True,
    ),
    "bedrock/error_403": ("HTTP 403: Authentication failed: Please make sure your API Key is valid.", None, True),
    "bedrock/error_429": ("HTTP 429: Too many tokens, please wait before trying again.", None, True),
    "vertex/error_401": (
        "HTTP 401: Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or"
        " other valid authentication credential.",
        None,
        True,
    ),
}

# Any server of OpenAI's wire: each recording of the others may be one of its.
UNRECORDED = {"openai_compatible"}

NONSENSE = {"openai/cut_short": "the answer is not JSON: error at character 172 of 172 bytes"}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_becomes_reply(name: str) -> None:
    assert ANSWERS[name] == read(name)


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_says_why(name: str) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        read(name)

    refused = caught.value
    assert REFUSALS[name] == (refused.said, refused.retry_after_s, refused.fails_over)


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_says_where(name: str) -> None:
    with pytest.raises(UpstreamNonsense, match=f"^{re.escape(NONSENSE[name])}$"):
        read(name)


def test_every_recording_is_used() -> None:
    recorded = {str(path.relative_to(RECORDINGS).with_suffix("")) for path in RECORDINGS.glob("*/*.http")}
    wire = {name for name in recorded if PROVIDERS[name.partition("/")[0]].wire == "openai"}

    # Streams are test_openai_stream_recordings' own.
    assert {name for name in wire if "/stream" not in name} == {*ANSWERS, *REFUSALS, *NONSENSE}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_cut_is_nonsense(name: str) -> None:
    whole = load_recording(name).body
    taken = []
    for length in range(len(whole)):
        try:
            read(name, lambda body, length=length: body[:length])  # type: ignore[misc]
        except UpstreamNonsense:
            continue
        taken.append(length)

    assert [] == taken


@pytest.mark.parametrize("name", ["openai/chat", "mistral/tool_calls"])
def test_damaged_byte_is_reply_or_failure(name: str) -> None:
    whole = load_recording(name).body
    for position in range(len(whole)):
        for byte in (b"\xff", b"\x00", b'"', b"}", b"0", b"-"):
            try:
                reply = read(name, lambda body, at=position, byte=byte: body[:at] + byte + body[at + 1 :])  # type: ignore[misc]
            except AttemptFailed:
                continue
            assert isinstance(reply, Reply)


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name not in UNRECORDED])
def test_every_provider_has_recordings(provider: str) -> None:
    """A whole answer, a stream and a refusal; where from and when is in the first line."""
    files = {path.stem: path for path in (RECORDINGS / provider).glob("*.http")}

    assert {"chat", "stream"} <= files.keys()
    assert any(name.startswith("error") for name in files)
    for path in files.values():
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        assert re.search(r"^# .{10,}, (?:read|written) 202\d-\d\d-\d\d\b", first), path
