"""What goes to a provider of the OpenAI wire, byte for byte."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from attrs import evolve

from pg_trio import __version__
from pg_trio.domain.chat import Message, Prompt, Reasoning, ToolCall
from pg_trio.domain.options import Options, ResponseFormat
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.domain.tools import ToolChoice
from pg_trio.domain.upstream import WireRequest
from pg_trio.providers import adapter_for
from tests.support.content import parts, tool

HI = Prompt((Message("user", "Hi"),))
CALL = ToolCall("call_abc123", "look_up", '{"city": "Ulm"}')


def candidate_of(provider: str, key: str | None = "the-key") -> Candidate:
    secret = None if key is None else Secret(key)
    return Candidate(
        Credential("main", provider, PROVIDERS[provider].base_url or "https://example.org/v1", secret), "some-model"
    )


def build(prompt: Prompt, provider: str = "openai") -> WireRequest:
    return adapter_for(provider).build_request(prompt, candidate_of(provider))


def body_of(prompt: Prompt, provider: str = "openai") -> Any:
    return orjson.loads(build(prompt, provider).body)


def test_smallest_request() -> None:
    request = build(HI)

    assert b'{"model":"some-model","messages":[{"role":"user","content":"Hi"}]}' == request.body
    assert ("POST", "https://api.openai.com/v1/chat/completions") == (request.method, request.url)
    assert [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pg-trio/{__version__}"),
        ("Authorization", "Bearer the-key"),
    ] == list(request.headers)


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        ("openai", "https://api.openai.com/v1/chat/completions"),
        ("mistral", "https://api.mistral.ai/v1/chat/completions"),
        ("groq", "https://api.groq.com/openai/v1/chat/completions"),
        ("together", "https://api.together.xyz/v1/chat/completions"),
        ("ollama", "http://localhost:11434/v1/chat/completions"),
    ],
)
def test_provider_is_reached_at_its_address(provider: str, url: str) -> None:
    assert url == build(HI, provider).url


def test_no_key_no_authorization() -> None:
    request = adapter_for("ollama").build_request(HI, candidate_of("ollama", key=None))

    assert "Authorization" not in dict(request.headers)


def test_key_never_shows_in_a_repr() -> None:
    assert "the-key" not in repr(build(HI))


def test_candidates_do_not_share_a_route() -> None:
    adapter = adapter_for("openai")
    first, second = candidate_of("openai", "key-one"), candidate_of("openai", "key-two")

    headers = [dict(adapter.build_request(HI, candidate).headers) for candidate in (first, second, first)]

    assert ["Bearer key-one", "Bearer key-two", "Bearer key-one"] == [each["Authorization"] for each in headers]


@pytest.mark.parametrize("allowed", [True, False])
def test_private_addresses_are_the_credentials_matter(allowed: bool) -> None:
    candidate = candidate_of("openai")
    candidate = evolve(candidate, credential=evolve(candidate.credential, allow_private_addresses=allowed))

    request = adapter_for("openai").build_request(HI, candidate)

    assert allowed == request.allow_private_addresses


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ("openai", "max_completion_tokens"),
        ("mistral", "max_tokens"),
        ("groq", "max_tokens"),
        ("together", "max_tokens"),
        ("ollama", "max_tokens"),
    ],
)
def test_sampling_settings(provider: str, field: str) -> None:
    body = body_of(evolve(HI, options=Options(temperature=0.0, top_p=0.5, max_output_tokens=64)), provider)

    assert {
        "model": "some-model",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.0,
        "top_p": 0.5,
        field: 64,
    } == body


def test_zero_is_a_setting() -> None:
    body = body_of(evolve(HI, options=Options(temperature=0.0, top_p=0.0)))

    assert (0.0, 0.0) == (body["temperature"], body["top_p"])


def test_tools_pass_through() -> None:
    shape = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}

    body = body_of(evolve(HI, tools=(tool(shape),), tool_choice=ToolChoice("function", "look_up")))

    assert [shape] == body["tools"]
    assert {"type": "function", "function": {"name": "look_up"}} == body["tool_choice"]


def test_shape_of_the_answer_passes_through() -> None:
    answer = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}}
    wanted = ResponseFormat.of(answer)

    body = body_of(
        evolve(HI, options=Options(parallel_tool_calls=False, response_format=wanted, reasoning_effort="low"))
    )

    assert (False, answer, "low") == (body["parallel_tool_calls"], body["response_format"], body["reasoning_effort"])


def test_what_is_not_asked_for_is_not_sent() -> None:
    assert not {"parallel_tool_calls", "response_format", "reasoning_effort"} & body_of(HI).keys()


def test_conversation_with_tools() -> None:
    shapes: list[dict[str, Any]] = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    prompt = Prompt(
        (
            Message("system", "Be brief."),
            Message("user", parts(*shapes), name="ann"),
            Message("assistant", None, tool_calls=(CALL,)),
            Message("tool", "12°", tool_call_id="call_abc123"),
            Message("assistant", "", tool_calls=(CALL,)),
        )
    )
    wire_call = {
        "id": "call_abc123",
        "type": "function",
        "function": {"name": "look_up", "arguments": '{"city": "Ulm"}'},
    }

    assert [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": shapes, "name": "ann"},
        {"role": "assistant", "tool_calls": [wire_call]},
        {"role": "tool", "content": "12°", "tool_call_id": "call_abc123"},
        {"role": "assistant", "content": "", "tool_calls": [wire_call]},
    ] == body_of(prompt)["messages"]


def test_mistral_names_tools_only() -> None:
    prompt = Prompt((Message("user", "Hi", name="ann"), Message("tool", "12°", name="f", tool_call_id="a1B2c3D4e")))

    assert [
        {"role": "user", "content": "Hi"},
        {"role": "tool", "content": "12°", "name": "f", "tool_call_id": "a1B2c3D4e"},
    ] == body_of(prompt, "mistral")["messages"]


def test_mistral_is_told_what_to_go_on_from() -> None:
    prompt = Prompt(messages=(Message("assistant", "Earlier"), Message("user", "Hi"), Message("assistant", "Hel")))

    assert [None, None, True] == [message.get("prefix") for message in body_of(prompt, "mistral")["messages"]]
    assert all("prefix" not in message for message in body_of(prompt, "openai")["messages"])


def test_mistral_gets_ids_it_takes() -> None:
    prompt = Prompt(
        (
            Message(
                "assistant",
                None,
                tool_calls=tuple(evolve(CALL, id=id) for id in (CALL.id, "call_other", "a1B2c3D4e5", "a1B2c3D4e")),
            ),
            Message("tool", "12°", tool_call_id="call_abc123"),
        )
    )

    calls, result = body_of(prompt, "mistral")["messages"]
    first, second, longer, own = [call["id"] for call in calls["tool_calls"]]

    assert first == result["tool_call_id"]
    assert first != second
    assert "a1B2c3D4e" == own
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in (first, second, longer))


def test_text_goes_as_utf8() -> None:
    body = build(Prompt((Message("user", '🙂 "\n\x00'),))).body

    assert '🙂 \\"\\n\\u0000'.encode() in body


@pytest.mark.parametrize("provider", ["openai", "groq"])
def test_unknown_fields_replace_nothing_of_the_gateway_s_own(provider: str) -> None:
    """A field that a surface does not know may have a name on this wire."""
    own = ["model", "messages", "tools", "tool_choice", "functions", "function_call", "stream", "stream_options", "n"]
    taken = dict.fromkeys([*own, "max_tokens", "max_completion_tokens", "response_format"], "x")

    body = body_of(Prompt(HI.messages, Options(max_output_tokens=5, more={**taken, "made_up": 1})), provider)

    limit = "max_completion_tokens" if provider == "openai" else "max_tokens"
    assert {"model", "messages", "made_up", limit} == body.keys()
    assert ("some-model", 5) == (body["model"], body[limit])


def test_limit_s_own_name_is_no_unknown_field() -> None:
    url = "https://example.org/v1"
    credential = Credential("main", "openai_compatible", url, None, max_tokens_field="max_completion_tokens")

    request = adapter_for("openai_compatible").build_request(
        Prompt(HI.messages, Options(more={"max_completion_tokens": 9_999})), Candidate(credential, "m")
    )

    assert {"model", "messages"} == orjson.loads(request.body).keys()


def test_unknown_provider_is_a_bug() -> None:
    with pytest.raises(KeyError):
        adapter_for("nobody")


# ── a streamed answer ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("provider", ["openai", "groq", "together", "ollama"])
def test_stream_is_asked_for_with_usage(provider: str) -> None:
    body = orjson.loads(adapter_for(provider).build_request(HI, candidate_of(provider), stream=True).body)

    assert (True, {"include_usage": True}) == (body["stream"], body["stream_options"])


def test_mistral_is_not_asked_for_usage() -> None:
    credential = Credential("main", "mistral", "https://api.mistral.ai/v1", Secret("key"))
    body = orjson.loads(adapter_for("mistral").build_request(HI, Candidate(credential, "m"), stream=True).body)

    assert True is body["stream"]
    assert "stream_options" not in body


@pytest.mark.parametrize(
    ("base_url", "goes_out"), [("https://api.openai.com/v1", 40), ("http://127.0.0.1:8080/v1", 314)]
)
def test_long_call_id_is_cut_for_openai_alone(base_url: str, goes_out: int) -> None:
    long_id = "call_9__thought__" + "A/+=" * 74 + "B"
    call, result = ToolCall(long_id, "now", "{}"), Message("tool", "12:00", tool_call_id=long_id)
    asked = Prompt((Message("user", "Hi"), Message("assistant", None, tool_calls=(call,)), result))
    there = Candidate(Credential("main", "openai", base_url, Secret("key")), "m")

    messages = orjson.loads(adapter_for("openai").build_request(asked, there).body)["messages"]

    sent = messages[1]["tool_calls"][0]["id"]
    assert sent == messages[2]["tool_call_id"]
    assert (goes_out, goes_out == 314) == (len(sent), sent == long_id)


def test_server_at_another_address_is_asked_for_usage() -> None:
    credential = Credential("main", "mistral", "http://127.0.0.1:8080/v1", Secret("key"))
    adapter, there = adapter_for("mistral"), Candidate(credential, "m")
    asked, again = (
        orjson.loads(adapter.build_request(HI, there, stream=True, asks_usage=asks).body) for asks in (True, False)
    )

    assert {"include_usage": True} == asked["stream_options"]
    assert "stream_options" not in again


def test_stream_differs_in_body_and_mark_only() -> None:
    whole = build(HI)
    streamed = adapter_for("openai").build_request(HI, candidate_of("openai"), stream=True)

    assert (False, True) == (whole.is_stream, streamed.is_stream)
    assert whole == evolve(streamed, body=whole.body, is_stream=False)


# ── reasoning, signatures ────────────────────────────────────────────────────────────────────────────────────────────


def sent_to(provider: str, model: str, prompt: Prompt, base_url: str | None = None) -> Any:
    address = base_url or PROVIDERS[provider].base_url or "https://example.org/v1"
    candidate = Candidate(Credential("main", provider, address, Secret("key")), model)
    return orjson.loads(adapter_for(provider).build_request(prompt, candidate).body)


@pytest.mark.parametrize(
    ("provider", "model", "options", "sent"),
    [
        ("openai", "gpt-4o", Options(reasoning_effort="high"), {}),
        ("openai", "gpt-5.4", Options(reasoning_effort="max"), {"reasoning_effort": "xhigh"}),
        ("openai", "gpt-5.4", Options(thinking_budget_tokens=0), {"reasoning_effort": "none"}),
        ("openai", "gpt-5.4", Options(thinking_budget_tokens=4096), {}),
        ("deepseek", "deepseek-v4-flash", Options(reasoning_effort="none"), {"thinking": {"type": "disabled"}}),
        ("deepseek", "deepseek-v4-flash", Options(thinking_budget_tokens=0), {"thinking": {"type": "disabled"}}),
        ("deepseek", "deepseek-v4-flash", Options(reasoning_effort="low"), {"reasoning_effort": "high"}),
        ("ollama", "qwen3", Options(reasoning_effort="odd"), {"reasoning_effort": "odd"}),
        ("ollama", "qwen3", Options(thinking_budget_tokens=0), {}),
    ],
)
def test_effort_in_the_model_s_words(provider: str, model: str, options: Options, sent: dict[str, Any]) -> None:
    body = sent_to(provider, model, evolve(HI, options=options))

    assert sent == {name: body[name] for name in body if name in ("reasoning_effort", "thinking")}


@pytest.mark.parametrize(("model", "is_kept"), [("gpt-4o", True), ("o3", False), ("gpt-5", False), ("gpt-5.4", True)])
def test_stop_only_where_it_is_taken(model: str, is_kept: bool) -> None:
    assert is_kept == ("stop" in sent_to("openai", model, evolve(HI, options=Options(stop=("END",)))))


SIGNED, UNSIGNED, LATER = (
    ToolCall("call_1", "f", "{}", "c2lnbmVk"),
    ToolCall("call_2", "f", "{}"),
    ToolCall("call_3", "f", "{}"),
)


def signed_round(*calls: ToolCall) -> Prompt:
    results = [Message("tool", "7", tool_call_id=call.id) for call in calls]
    return Prompt((*HI.messages, Message("assistant", None, tool_calls=calls), *results))


@pytest.mark.parametrize(
    ("provider", "model", "base_url"),
    [
        ("vertex", "google/gemini-3.5-flash", None),
        ("openai_compatible", "gemini-3.5-flash", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ],
)
def test_signature_goes_back_to_google(provider: str, model: str, base_url: str | None) -> None:
    def signatures(*calls: ToolCall) -> list[Any]:
        body = sent_to(provider, model, signed_round(*calls), base_url)
        return [call.get("extra_content") for call in body["messages"][1]["tool_calls"]]

    skip, own = (
        {name: {"thought_signature": signature} for name in ("google", "vertex")}
        for signature in ("skip_thought_signature_validator", "c2lnbmVk")
    )
    assert [own, None] == signatures(SIGNED, LATER)
    assert [skip, own] == signatures(UNSIGNED, SIGNED)
    assert [skip, None] == signatures(UNSIGNED, LATER)


@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-4o"), ("mistral", "m"), ("vertex", "meta/llama-4")])
def test_signature_goes_nowhere_else(provider: str, model: str) -> None:
    [_, turn, *_] = sent_to(provider, model, signed_round(SIGNED))["messages"]

    assert {"id", "type", "function"} == turn["tool_calls"][0].keys()


def test_deepseek_gets_reasoning_back() -> None:
    """Without it, its thinking models answer 400, also where another provider wrote the message."""
    prompt = Prompt(
        (
            *HI.messages,
            Message("assistant", "Hello", reasoning=(Reasoning("Hm.", "c2ln"), Reasoning("So.", "c2ln"))),
            *signed_round(UNSIGNED).messages,
        )
    )

    def reasoning(provider: str, model: str) -> list[Any]:
        return [message.get("reasoning_content") for message in sent_to(provider, model, prompt)["messages"]]

    assert [None, "Hm.So.", None, " ", None] == reasoning("deepseek", "deepseek-v4-pro")
    assert [None] * 5 == reasoning("deepseek", "deepseek-chat")
    assert [None] * 5 == reasoning("openai", "deepseek-v4-pro")
