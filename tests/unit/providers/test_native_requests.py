"""What goes to Anthropic, Google and Cohere: rules of their documentation that no type can say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pg_trio.domain.chat import Message, Prompt, Reasoning
from pg_trio.domain.content import Audio, File, Image, Text
from pg_trio.domain.options import Options, ResponseFormat
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.domain.tools import ForeignTool, Tool, ToolCall, ToolChoice
from pg_trio.errors import CandidateUnfit
from pg_trio.providers import adapter_for
from tests.support.prompts import PIXEL, prompts

MODELS = {"anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-flash", "cohere": "command-a-reasoning-08-2025"}
HI = Message("user", "Hi")
CALL = ToolCall("call_1", "get_weather", '{"city": "Ulm"}')
SECOND_CALL = ToolCall("call_2", "get_time", "{}")
WEATHER = Tool("get_weather", "Weather of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"score": {"type": "integer", "minimum": 0}}, "required": ["score"]}
AS_SCHEMA = ResponseFormat.of({"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}})

GRAMMAR = ResponseFormat.of({"type": "grammar"})

many = settings(max_examples=80, suppress_health_check=list(HealthCheck))


def candidate_of(provider: str, model: str | None = None) -> Candidate:
    credential = Credential("main", provider, PROVIDERS[provider].base_url or "", Secret("the-key"))
    return Candidate(credential, model or MODELS[provider])


def body_of(provider: str, prompt: Prompt | Message, model: str | None = None) -> Any:
    asked = prompt if isinstance(prompt, Prompt) else Prompt((prompt,))
    return orjson.loads(adapter_for(provider).build_request(asked, candidate_of(provider, model)).body)


def asked(provider: str, *messages: Message, model: str | None = None, **options: Any) -> Any:
    return body_of(provider, Prompt(messages, Options(**options)), model)


def why_unfit(provider: str, prompt: Prompt, model: str | None = None) -> str | None:
    return adapter_for(provider).why_unfit(prompt, candidate_of(provider, model))


# ── where, and with which key ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("provider", "model", "stream", "url"),
    [
        ("anthropic", "claude-x", False, "https://api.anthropic.com/v1/messages"),
        ("cohere", "command-x", True, "https://api.cohere.com/v2/chat"),
        (
            "google",
            "gemini-x",
            False,
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-x:generateContent",
        ),
        (
            "google",
            "tunedModels/mine",
            True,
            "https://generativelanguage.googleapis.com/v1beta/tunedModels/mine:streamGenerateContent?alt=sse",
        ),
        (
            "google",
            "odd?name#1",
            False,
            "https://generativelanguage.googleapis.com/v1beta/models/odd%3Fname%231:generateContent",
        ),
    ],
)
def test_provider_is_reached_at_its_address(provider: str, model: str, stream: bool, url: str) -> None:
    request = adapter_for(provider).build_request(Prompt((HI,)), candidate_of(provider, model), stream=stream)

    assert (url, stream) == (request.url, request.is_stream)


@pytest.mark.parametrize(
    ("provider", "header"),
    [
        ("anthropic", ("x-api-key", "the-key")),
        ("google", ("x-goog-api-key", "the-key")),
        ("cohere", ("Authorization", "Bearer the-key")),
    ],
)
def test_key_goes_in_a_header_alone(provider: str, header: tuple[str, str]) -> None:
    request = adapter_for(provider).build_request(Prompt((HI,)), candidate_of(provider))

    assert [header] == [(name, value) for name, value in request.headers if "the-key" in value]
    assert "the-key" not in request.url + repr(request) + request.body.decode()


def test_anthropic_version_is_sent() -> None:
    request = adapter_for("anthropic").build_request(Prompt((HI,)), candidate_of("anthropic"))

    assert ("anthropic-version", "2023-06-01") in request.headers


# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@many
@given(prompts(), st.sampled_from(["claude-3-haiku-20240307", "claude-opus-4-5", "claude-next"]))
def test_anthropic_turns_are_as_documented(prompt: Prompt, model: str) -> None:
    assume(why_unfit("anthropic", prompt, model) is None)
    body = body_of("anthropic", prompt, model)

    roles = [turn["role"] for turn in body["messages"]]
    assert ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2) == roles
    for before, turn in zip([None, *body["messages"]], body["messages"], strict=False):
        blocks = turn["content"]
        kinds = [block["type"] for block in blocks]
        assert blocks
        assert all(block["text"] for block in blocks if block["type"] == "text")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert ["tool_result"] * len(results) == kinds[: len(results)]
        called = [block["id"] for block in (before or {"content": []})["content"] if block["type"] == "tool_use"]
        assert called == results
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,256}", call_id) for call_id in called)
    if any(message.tool_calls for message in prompt.messages):
        assert body["tools"]
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        assert body.get("tool_choice", {}).get("type") not in ("any", "tool")
        assert body.get("thinking", {}).get("budget_tokens", 0) < body["max_tokens"]
        assert "temperature" not in body


@many
@given(prompts(), st.sampled_from(["gemini-2.0-flash", "gemini-2.5-pro", "gemini-3-pro-preview"]))
def test_google_turns_are_as_documented(prompt: Prompt, model: str) -> None:
    assume(why_unfit("google", prompt, model) is None)
    body = body_of("google", prompt, model)

    contents = body["contents"]
    roles = [content["role"] for content in contents]
    assert ["user", "model"] * (len(roles) // 2) + ["user"] == roles
    for before, content in zip([None, *contents], contents, strict=False):
        parts = content["parts"]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        calls = [part for part in (before or {"parts": []})["parts"] if "functionCall" in part]
        assert [(call["functionCall"]["id"], call["functionCall"]["name"]) for call in calls] == [
            (result["id"], result["name"]) for result in results
        ]
        assert not calls or calls[0]["thoughtSignature"]
        assert all(part.get("text", "x") for part in parts)


@many
@given(prompts())
def test_cohere_ranges_are_kept(prompt: Prompt) -> None:
    assume(why_unfit("cohere", prompt) is None)
    body = body_of("cohere", prompt)

    assert 0 <= body.get("temperature", 0) <= 1
    assert 0.01 <= body.get("p", 0.5) <= 0.99
    assert all(0 <= body.get(name, 0) <= 1 for name in ("presence_penalty", "frequency_penalty"))
    assert len(body.get("stop_sequences", [])) <= 5
    assert body.get("tool_choice") in (None, "REQUIRED", "NONE")
    assert not ("tools" in body and "response_format" in body)
    assert body["messages"][-1]["role"] in ("user", "tool")


def test_system_messages_are_lifted() -> None:
    messages = (Message("system", "Be brief."), HI, Message("system", "Be kind."))

    assert [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}] == asked(
        "anthropic", *messages
    )["system"]
    assert {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]} == asked("google", *messages)["systemInstruction"]
    assert ["system", "user", "system"] == [turn["role"] for turn in asked("cohere", *messages)["messages"]][:3]


@pytest.mark.parametrize("provider", MODELS)
def test_conversation_without_a_user_gets_one(provider: str) -> None:
    body = asked(provider, Message("system", "Say hello."))

    turns = body.get("messages") or body["contents"]
    assert "user" == turns[-1]["role"]


@pytest.mark.parametrize("provider", MODELS)
def test_rest_is_asked_for_where_no_prefill_is(provider: str) -> None:
    body = asked(provider, HI, Message("assistant", "Once upon "), model={"anthropic": "claude-opus-4-6"}.get(provider))

    last = (body.get("messages") or body["contents"])[-1]
    assert "user" == last["role"]
    assert b"exactly where it stopped" in orjson.dumps(last)


def test_prefill_is_used_where_it_is_taken() -> None:
    body = asked("anthropic", HI, Message("assistant", "Once upon "), model="claude-sonnet-4-5")

    assert {"role": "assistant", "content": [{"type": "text", "text": "Once upon"}]} == body["messages"][-1]


@pytest.mark.parametrize("options", [{"reasoning_effort": "high"}, {"response_format": AS_SCHEMA}])
def test_no_prefill_beside_thinking_or_a_schema(options: dict[str, Any]) -> None:
    body = asked("anthropic", HI, Message("assistant", "Once"), model="claude-sonnet-4-5", **options)

    assert "user" == body["messages"][-1]["role"]


@pytest.mark.parametrize("provider", MODELS)
def test_empty_texts_are_left_out(provider: str) -> None:
    body = asked(provider, HI, Message("assistant", ""), Message("user", (Text(""), Text("again"))))

    assert b'""' not in orjson.dumps(body)


# ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────

ROUND = (
    HI,
    Message("assistant", None, tool_calls=(CALL, SECOND_CALL)),
    Message("tool", '{"degrees": 7}', tool_call_id="call_1"),
    Message("tool", "noon", tool_call_id="call_2"),
)


def test_round_on_anthropics_wire() -> None:
    body = body_of("anthropic", Prompt(ROUND, tools=(WEATHER,)))

    assert [
        {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Ulm"}},
        {"type": "tool_use", "id": "call_2", "name": "get_time", "input": {}},
    ] == body["messages"][1]["content"]
    assert [
        {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": '{"degrees": 7}'}]},
        {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "noon"}]},
    ] == body["messages"][2]["content"]
    assert WEATHER.parameters == body["tools"][0]["input_schema"]


def test_round_on_googles_wire() -> None:
    body = body_of("google", Prompt(ROUND, tools=(WEATHER,)))

    assert [
        {
            "functionCall": {"id": "call_1", "name": "get_weather", "args": {"city": "Ulm"}},
            "thoughtSignature": "skip_thought_signature_validator",
        },
        {"functionCall": {"id": "call_2", "name": "get_time", "args": {}}},
    ] == body["contents"][1]["parts"]
    assert [
        {"functionResponse": {"id": "call_1", "name": "get_weather", "response": {"degrees": 7}}},
        {"functionResponse": {"id": "call_2", "name": "get_time", "response": {"output": "noon"}}},
    ] == body["contents"][2]["parts"]
    assert WEATHER.parameters == body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]


def test_round_on_coheres_wire() -> None:
    body = body_of("cohere", Prompt(ROUND, tools=(WEATHER,)))

    assert {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Ulm"}'},
            },
            {"id": "call_2", "type": "function", "function": {"name": "get_time", "arguments": "{}"}},
        ],
    } == body["messages"][1]
    assert {"role": "tool", "tool_call_id": "call_2", "content": "noon"} == body["messages"][3]


def test_googles_own_signature_goes_back() -> None:
    signed = ToolCall("call_1", "get_weather", "{}", "c2lnbmVk")

    body = asked("google", HI, Message("assistant", None, tool_calls=(signed,)), Message("tool", "7"))

    assert "c2lnbmVk" == body["contents"][1]["parts"][0]["thoughtSignature"]


def test_anthropics_signed_reasoning_goes_back_first() -> None:
    reasoning = (Reasoning("Hm.", "c2ln"), Reasoning("", data="ZW5j"), Reasoning("no signature"))
    turn = Message("assistant", "I look.", tool_calls=(CALL,), reasoning=reasoning)

    body = asked("anthropic", HI, turn, Message("tool", "7", tool_call_id="call_1"), reasoning_effort="high")

    assert [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "text", "text": "I look."},
    ] == body["messages"][1]["content"][:3]
    assert "enabled" == body["thinking"]["type"]


def test_round_without_its_reasoning_does_not_think() -> None:
    assert "thinking" not in asked("anthropic", *ROUND, reasoning_effort="high")


def test_results_stand_before_what_the_user_says_between() -> None:
    messages = (*ROUND[:2], Message("user", "Quick!"), *ROUND[2:])

    assert ["tool_result", "tool_result", "text"] == [
        block["type"] for block in asked("anthropic", *messages)["messages"][2]["content"]
    ]
    assert [True, True, False] == [
        "functionResponse" in part for part in asked("google", *messages)["contents"][2]["parts"]
    ]


def test_called_tools_are_declared_where_the_client_sends_none() -> None:
    body = body_of("anthropic", Prompt(ROUND))

    assert ["get_weather", "get_time"] == [tool["name"] for tool in body["tools"]]
    assert {"type": "none"} == body["tool_choice"]


@pytest.mark.parametrize(
    ("choice", "anthropic", "google", "cohere"),
    [
        (ToolChoice("auto"), {"type": "auto"}, {"mode": "AUTO"}, None),
        (ToolChoice("none"), {"type": "none"}, {"mode": "NONE"}, "NONE"),
        (ToolChoice("required"), {"type": "any"}, {"mode": "ANY"}, "REQUIRED"),
        (
            ToolChoice("function", "get_weather"),
            {"type": "tool", "name": "get_weather"},
            {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
            "REQUIRED",
        ),
    ],
)
def test_tool_choices(choice: ToolChoice, anthropic: Any, google: Any, cohere: Any) -> None:
    prompt = Prompt((HI,), tools=(WEATHER, Tool("get_time")), tool_choice=choice)

    assert anthropic == body_of("anthropic", prompt)["tool_choice"]
    assert google == body_of("google", prompt)["toolConfig"]["functionCallingConfig"]
    assert cohere == body_of("cohere", prompt).get("tool_choice")
    named = ["get_weather"] if choice.name else ["get_weather", "get_time"]
    assert named == [each["function"]["name"] for each in body_of("cohere", prompt)["tools"]]


def test_one_call_at_a_time() -> None:
    prompt = Prompt((HI,), Options(parallel_tool_calls=False), (WEATHER,))

    assert {"type": "auto", "disable_parallel_tool_use": True} == body_of("anthropic", prompt)["tool_choice"]


# ── what a candidate cannot take ─────────────────────────────────────────────────────────────────────────────────────

PDF = File(data=f"data:application/pdf;base64,{PIXEL}", name="a.pdf")
CASES: list[tuple[str, Prompt, tuple[str | None, str | None, str | None]]] = [
    ("image", Prompt((Message("user", (Image(f"data:image/png;base64,{PIXEL}"),)),)), (None, None, None)),
    ("address", Prompt((Message("user", (Image("https://example.org/a.png"),)),)), (None, None, None)),
    ("drawing", Prompt((Message("user", (Image("data:image/svg+xml,<svg/>"),)),)), ("image", "image", "image")),
    ("sound", Prompt((Message("user", (Audio(PIXEL, "wav"),)),)), ("audio", None, "audio")),
    ("document", Prompt((Message("user", (PDF,)),)), (None, None, "file")),
    ("upload", Prompt((Message("user", (File(id="file-1"),)),)), ("file", "file", "file")),
    ("custom tool", Prompt((HI,), tools=(ForeignTool({"type": "custom"}),)), ("tools", "tools", "tools")),
    ("dotted name", Prompt((HI,), tools=(Tool("a.b"),)), ("tools", None, "tools")),
    (
        "dotted call",
        Prompt((HI, Message("assistant", None, tool_calls=(ToolCall("1", "a.b", "{}"),)))),
        ("tool_calls", None, "tool_calls"),
    ),
    (
        "grammar",
        Prompt((HI,), Options(response_format=GRAMMAR)),
        ("response_format",) * 3,
    ),
    ("schema", Prompt((HI,), Options(response_format=AS_SCHEMA)), (None, None, None)),
    ("logprobs", Prompt((HI,), Options(more={"logprobs": True})), ("logprobs",) * 3),
    ("no logprobs", Prompt((HI,), Options(more={"logprobs": False})), (None, None, None)),
]


@pytest.mark.parametrize(("prompt", "unfit"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_no_candidate_of_a_wire_takes(prompt: Prompt, unfit: Sequence[str | None]) -> None:
    assert list(unfit) == [why_unfit(provider, prompt) for provider in MODELS]


def test_unfit_candidate_is_not_asked() -> None:
    prompt = Prompt((Message("user", (Audio(PIXEL, "wav"),)),))

    with pytest.raises(CandidateUnfit) as caught:
        body_of("anthropic", prompt)

    assert ("anthropic cannot take this request: audio", True) == (caught.value.said, caught.value.fails_over)


def test_schema_wants_a_model_that_takes_one() -> None:
    assert "response_format" == why_unfit(
        "anthropic", Prompt((HI,), Options(response_format=AS_SCHEMA)), "claude-3-5-haiku-latest"
    )


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (f"data:image/png;base64,{PIXEL}", {"inlineData": {"mimeType": "image/png", "data": PIXEL}}),
        (
            "https://example.org/a.webp?size=1",
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://example.org/a.webp?size=1"}},
        ),
        ("https://example.org/a.php", {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.org/a.php"}}),
    ],
)
def test_images_on_googles_wire(url: str, wanted: Any) -> None:
    assert [wanted] == asked("google", Message("user", (Image(url),)))["contents"][0]["parts"]


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("claude-3-haiku-20240307", {"temperature": 1.0, "top_p": 0.5, "max_tokens": 4096}),
        ("claude-sonnet-4-5", {"temperature": 1.0, "max_tokens": 50_000}),
        ("claude-opus-4-7", {"max_tokens": 50_000}),
    ],
)
def test_claude_gets_what_it_takes(model: str, sent: dict[str, Any]) -> None:
    body = asked("anthropic", HI, model=model, temperature=1.5, top_p=0.5, max_output_tokens=50_000)

    assert sent == {name: body[name] for name in body if name in ("temperature", "top_p", "max_tokens")}


@pytest.mark.parametrize(
    ("model", "limit", "budget", "sent"),
    [
        # Without a limit, the budget comes on top; 64,000 is what these models have.
        ("claude-sonnet-4-5", None, 2048, (34_048, 2048)),
        ("claude-sonnet-4-5", None, 31_999, (63_999, 31_999)),
        ("claude-sonnet-4-5", None, 200_000, (64_000, 63_999)),
        ("claude-opus-4-1", None, 30_000, (32_000, 30_000)),
        # A limit is a limit.
        ("claude-sonnet-4-5", 4096, 2048, (4096, 2048)),
        ("claude-sonnet-4-5", 4096, 8192, (4096, 4095)),
        ("claude-sonnet-4-5", 1024, 8192, (1024, None)),
        # Newer ones have no budgets, older ones no thinking.
        ("claude-opus-4-8", None, 20_000, (32_000, None)),
        ("claude-3-5-haiku-latest", None, 20_000, (8192, None)),
    ],
)
def test_budget_leaves_claude_room_for_its_answer(
    model: str, limit: int | None, budget: int, sent: tuple[int, int | None]
) -> None:
    body = asked("anthropic", HI, model=model, max_output_tokens=limit, thinking_budget_tokens=budget)

    assert sent == (body["max_tokens"], body.get("thinking", {}).get("budget_tokens"))


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("claude-3-5-haiku-latest", "high", {}),
        ("claude-sonnet-4-5", "medium", {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        ("claude-sonnet-4-5", "none", {"thinking": {"type": "disabled"}}),
        (
            "claude-opus-4-6",
            "xhigh",
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
        ),
        (
            "claude-opus-4-8",
            "xhigh",
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
        ),
    ],
)
def test_effort_on_anthropics_wire(model: str, effort: str, sent: dict[str, Any]) -> None:
    body = asked("anthropic", HI, model=model, reasoning_effort=effort)

    assert sent == {name: body[name] for name in body if name in ("thinking", "output_config")}


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("gemini-2.0-flash", "high", None),
        ("gemma-3-27b-it", "high", None),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-flash", "low", {"includeThoughts": True, "thinkingBudget": 1024}),
        ("gemini-3-pro-preview", "medium", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-3.1-pro", "medium", {"includeThoughts": True, "thinkingLevel": "MEDIUM"}),
        ("gemini-flash-latest", "minimal", {"includeThoughts": True, "thinkingLevel": "MINIMAL"}),
    ],
)
def test_effort_on_googles_wire(model: str, effort: str, sent: Any) -> None:
    assert sent == asked("google", HI, model=model, reasoning_effort=effort).get("generationConfig", {}).get(
        "thinkingConfig"
    )


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("command-a-03-2025", "high", None),
        ("command-a-reasoning-08-2025", "low", {"type": "enabled", "token_budget": 1024}),
        ("command-a-reasoning-08-2025", "none", {"type": "disabled"}),
    ],
)
def test_effort_on_coheres_wire(model: str, effort: str, sent: Any) -> None:
    assert sent == asked("cohere", HI, model=model, reasoning_effort=effort).get("thinking")


@pytest.mark.parametrize(
    ("wire", "model"),
    [
        ("anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-4-6"),
        ("anthropic", "claude-opus-4-8"),
        ("cohere", "command-a-reasoning-08-2025"),
    ],
)
def test_a_budget_of_nothing_turns_thinking_off(wire: str, model: str) -> None:
    body = asked(wire, HI, model=model, thinking_budget_tokens=0)

    assert {"type": "disabled"} == body["thinking"]
    assert "output_config" not in body


def test_penalties_only_for_geminis_that_take_them() -> None:
    options = {"presence_penalty": 0.5, "frequency_penalty": 0.5}

    assert "generationConfig" not in asked("google", HI, model="gemini-2.5-flash", **options)
    assert 0.5 == asked("google", HI, model="gemini-2.0-flash", **options)["generationConfig"]["presencePenalty"]


def test_schema_on_each_wire() -> None:
    anthropic = asked("anthropic", HI, response_format=AS_SCHEMA)["output_config"]["format"]
    google = asked("google", HI, response_format=AS_SCHEMA)["generationConfig"]
    cohere = asked("cohere", HI, response_format=AS_SCHEMA)["response_format"]

    score = {"type": "integer", "description": "{minimum: 0}"}
    closed = {"type": "object", "properties": {"score": score}, "required": ["score"], "additionalProperties": False}
    assert {"type": "json_schema", "schema": closed} == anthropic
    assert {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA} == google
    assert {"type": "json_object", "json_schema": SCHEMA} == cohere


@pytest.mark.parametrize(("model", "has_format"), [("gemini-2.5-flash", False), ("gemini-3-flash", True)])
def test_schema_beside_tools_on_googles_wire(model: str, has_format: bool) -> None:
    body = body_of("google", Prompt((HI,), Options(response_format=AS_SCHEMA), (WEATHER,)), model)

    assert has_format == ("responseJsonSchema" in body.get("generationConfig", {}))
