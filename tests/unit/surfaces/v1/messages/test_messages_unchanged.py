"""What came in on Messages goes out to Anthropic unchanged, but for the gateway's own changes."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_trio.domain.chat import ChatRequest, Message
from pg_trio.domain.content import Audio
from pg_trio.domain.message_json import message_from_json, message_to_json
from pg_trio.domain.options import ResponseFormat
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.domain.tools import ToolCall
from pg_trio.providers import adapter_for
from tests.support.messages_bodies import CACHED, PIXEL, Body, bodies, conversations, prompt_of, read_body, sent_to

ASKED: Body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}


@given(body=bodies(), stream=st.booleans())
@settings(max_examples=200)
def test_body_goes_out_unchanged(body: Body, stream: bool) -> None:
    sent = sent_to("anthropic", prompt_of(read_body(body)), "claude-sonnet-4-5", stream=stream)

    assert {**body, **({"stream": True} if stream else {})} == sent


def test_only_the_model_is_the_candidates() -> None:
    sent = sent_to("anthropic", prompt_of(read_body(ASKED)), "claude-opus-4-7")

    assert {**ASKED, "model": "claude-opus-4-7"} == sent


def test_settings_that_a_model_refuses_are_the_clients() -> None:
    body = {**ASKED, "temperature": 1, "top_k": 3, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    body["messages"] = [*body["messages"], {"role": "assistant", "content": "The answer is "}]

    assert {**body, "model": "claude-opus-4-7"} == sent_to("anthropic", prompt_of(read_body(body)), "claude-opus-4-7")


def headers_of(fields: dict[bytes, bytes]) -> dict[str, str]:
    candidate = Candidate(Credential("main", "anthropic", "https://api.test/v1", Secret("sk-ant")), "claude")
    built = adapter_for("anthropic").build_request(prompt_of(read_body(ASKED, fields)), candidate)
    assert len(dict(built.headers)) == len(built.headers)
    return {name.lower(): value for name, value in built.headers}


def test_headers_of_the_wire_survive() -> None:
    sent = headers_of({b"anthropic-version": b"2023-01-01", b"anthropic-beta": b"context-1m-2025-08-07\0files-api"})

    assert ("2023-01-01", "context-1m-2025-08-07,files-api") == (sent["anthropic-version"], sent["anthropic-beta"])


def test_version_of_ours_without_the_clients() -> None:
    sent = headers_of({})

    assert ("2023-06-01", False) == (sent["anthropic-version"], "anthropic-beta" in sent)


# ── the gateway's own changes ────────────────────────────────────────────────────────────────────────────────────────


def test_prompt_of_the_endpoint_comes_first() -> None:
    body = {**ASKED, "system": [{"type": "text", "text": "Be kind.", **CACHED}]}
    prompt = prompt_of(read_body(body))
    prompt = evolve(prompt, messages=(Message("system", "Be brief."), *prompt.messages))

    sent = sent_to("anthropic", prompt)

    assert [{"type": "text", "text": "Be brief."}, *body["system"]] == sent["system"]
    assert body["messages"] == sent["messages"]


def test_limit_and_temperature_of_the_endpoint_hold() -> None:
    body = {**ASKED, "max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 8000}, "temperature": 1}
    prompt = prompt_of(read_body(body))
    prompt = evolve(prompt, options=evolve(prompt.options, max_output_tokens=2000, temperature=0.5))

    sent = sent_to("anthropic", prompt)

    # The budget must stay below the limit, and thinking takes no temperature.
    assert {**ASKED, "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1999}} == {
        **sent,
        "model": "m",
    }


def test_effort_and_format_of_the_endpoint_hold() -> None:
    given = {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}, "later_field": 1}
    body = {**ASKED, "output_config": given, "thinking": {"type": "disabled"}}
    prompt = prompt_of(read_body(body))
    wanted = ResponseFormat.of({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}})
    options = evolve(prompt.options, reasoning_effort="high", thinking_budget_tokens=None, response_format=wanted)

    sent = sent_to("anthropic", evolve(prompt, options=options), "claude-opus-4-7")

    assert {"type": "array"} == sent["output_config"]["format"]["schema"]
    assert ("high", 1, "adaptive") == (
        sent["output_config"]["effort"],
        sent["output_config"]["later_field"],
        sent["thinking"]["type"],
    )


def test_text_of_a_broken_stream_is_continued() -> None:
    """The rest is asked for in words, as of any model that takes no prefill."""
    prompt = prompt_of(read_body(ASKED))
    prompt = evolve(prompt, messages=(*prompt.messages, Message("assistant", "The answer ")))

    prefilled = sent_to("anthropic", prompt, "claude-sonnet-4-5")["messages"]
    asked = sent_to("anthropic", prompt, "claude-opus-4-7")["messages"]

    assert {"role": "assistant", "content": [{"type": "text", "text": "The answer"}]} == prefilled[-1]
    assert ["user", "assistant", "user"] == [turn["role"] for turn in asked]


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def stored(message: Message) -> Message:
    return message_from_json(orjson.loads(orjson.dumps(message_to_json(message))))


@given(turns=conversations)
@settings(max_examples=200)
def test_history_keeps_all_but_thinking_and_cache_marks(turns: list[Body]) -> None:
    request = read_body({**ASKED, "messages": turns})
    history = tuple([stored(message) for message in request.messages])

    sent = sent_to("anthropic", prompt_of(evolve(request, messages=history)))["messages"]

    assert joined(without_unstored(turns)) == joined(without_unstored(sent))


def joined(turns: list[Body]) -> list[tuple[str, list[Body]]]:
    """The blocks of turns; where a turn of nothing but thinking is gone, its neighbours are one."""
    blocks = [(turn["role"], blocks_of(turn["content"])) for turn in turns if turn["content"]]
    return [
        (role, [block for _, some in group for block in some]) for role, group in groupby(blocks, key=itemgetter(0))
    ]


def blocks_of(content: str | list[Body]) -> list[Body]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def without_unstored(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: without_unstored(item) for name, item in node.items() if name != "cache_control"}
    if isinstance(node, list):
        unstored = ("thinking", "redacted_thinking")
        return [
            without_unstored(item) for item in node if not (isinstance(item, dict) and item.get("type") in unstored)
        ]
    return node


def test_history_that_no_block_can_say_passes_the_candidate_over() -> None:
    request = read_body(ASKED)
    heard = Message("user", (Audio(PIXEL, "wav"),))
    prompt = prompt_of(evolve(request, messages=(heard, *request.messages)))
    candidate = Candidate(Credential("main", "anthropic", PROVIDERS["anthropic"].base_url or "", None), "claude")

    assert "audio" == adapter_for("anthropic").why_unfit(prompt, candidate)


def test_round_of_a_session_whose_thinking_is_lost_does_without() -> None:
    """Sessions store no reasoning, and Anthropic refuses a round without it where thinking is on."""
    call = ToolCall("toolu_1", "look", "{}")
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain"}]}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    session = {b"x-pg-session-id": b"00000000-0000-4000-8000-000000000001"}
    request = read_body({**ASKED, "max_tokens": 2000, "messages": [result], "thinking": thinking}, session)
    history = (Message("user", "Hi"), stored(Message("assistant", None, tool_calls=(call,))))

    resumed = sent_to("anthropic", prompt_of(evolve(request, messages=(*history, *request.messages))))

    assert ("thinking" in resumed, "thinking" in sent_to("anthropic", prompt_of(request))) == (False, True)


# ── other wires ──────────────────────────────────────────────────────────────────────────────────────────────────────


def why_unfit(provider: str, request: ChatRequest) -> str | None:
    candidate = Candidate(Credential("main", provider, PROVIDERS[provider].base_url or "", Secret("key")), "a-model")
    return adapter_for(provider).why_unfit(prompt_of(request), candidate)


ONLY_ANTHROPIC: list[tuple[str, Body]] = [
    ("tools", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("tool_choice", {"tool_choice": {"type": "later"}}),
    ("mcp_servers", {"mcp_servers": [{"type": "url", "url": "https://a", "name": "m"}]}),
    ("container", {"container": {"skills": [{"skill_id": "pdf"}]}}),
    ("max_tokens", {"max_tokens": 0}),
    ("search_result", {"messages": [{"role": "user", "content": [{"type": "search_result", "source": "a"}]}]}),
    (
        "document",
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}]},
    ),
    (
        "image",
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
    ),
    (
        "server_tool_use",
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [{"type": "server_tool_use", "id": "a", "name": "b", "input": {}}]},
            ]
        },
    ),
    (
        "tool_reference",
        {
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t",
                            "content": [{"type": "tool_reference", "tool_name": "a"}],
                        }
                    ],
                },
            ]
        },
    ),
]


@pytest.mark.parametrize("provider", ["openai", "google", "cohere", "groq"])
@pytest.mark.parametrize(("what", "fields"), ONLY_ANTHROPIC, ids=[what for what, _ in ONLY_ANTHROPIC])
def test_what_only_anthropic_takes_is_for_anthropic_alone(provider: str, what: str, fields: Body) -> None:
    request = read_body({**ASKED, **fields})

    assert what == why_unfit(provider, request)
    assert why_unfit("anthropic", request) is None


def test_fields_of_style_pass_no_candidate_over() -> None:
    request = read_body(
        {
            **ASKED,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", **CACHED}]}],
            "context_management": {"edits": []},
            "service_tier": "auto",
            "top_k": 3,
        }
    )

    assert [None, None, None] == [why_unfit(provider, request) for provider in ("openai", "google", "cohere")]


def test_openai_is_sent_neutral_values_alone() -> None:
    body = {
        **ASKED,
        "system": [{"type": "text", "text": "Be kind.", **CACHED}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", **CACHED}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "Ulm"}, **CACHED},
                    {"type": "text", "text": "I look."},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain", "is_error": True, **CACHED},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A map."}},
                ],
            },
        ],
        "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}, **CACHED}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "thinking": {"type": "adaptive"},
        "top_k": 3,
    }

    sent = sent_to("openai", prompt_of(read_body(body)), "gpt-4o")

    look = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    called = {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"Ulm"}'}}
    assert {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "I look.", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain"},
            {"role": "user", "content": "A map."},
        ],
        "tools": [{"type": "function", "function": look}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_completion_tokens": 100,
        "stop": ["END"],
        "user": "u-1",
    } == sent


def test_images_of_a_result_move_behind_the_results() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    calls = [{"type": "tool_use", "id": f"t{number}", "name": "shot", "input": {}} for number in (1, 2)]
    results = [{"type": "tool_result", "tool_use_id": f"t{number}", "content": [image]} for number in (1, 2)]
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
    ]

    sent = sent_to(
        "openai",
        prompt_of(
            read_body({**ASKED, "messages": turns, "tools": [{"name": "shot", "input_schema": {"type": "object"}}]})
        ),
        "gpt-4o",
    )["messages"]

    assert ["user", "assistant", "tool", "tool", "user"] == [message["role"] for message in sent]
    assert ["image_url", "image_url"] == [part["type"] for part in sent[-1]["content"]]


def test_choice_without_tools_is_for_anthropic_alone() -> None:
    request = read_body({**ASKED, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}})

    assert "tool_choice" in sent_to("anthropic", prompt_of(request))
    assert not {"tool_choice", "parallel_tool_calls"} & sent_to("openai", prompt_of(request)).keys()
