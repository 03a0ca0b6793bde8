"""Full rounds of tools: asked of one provider, answered by another. Ids, names, arguments and order survive.

The other side is the simulator: it refuses results that belong to no call, and calls without their signature.
"""

from __future__ import annotations

import re

import orjson
import pytest

from pg_trio.domain.chat import Message, Prompt, Reply
from pg_trio.domain.options import Options
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.tools import Tool, ToolCall
from pg_trio.providers import adapter_for
from tests.support.simulated import ask, candidate_of, meaning, read_events

WEATHER = Tool("get_weather", None, {"type": "object", "properties": {"city": {"type": "string"}}})
TIME = Tool("get_time")
QUESTION = Message("user", "Weather and time in Ulm?")
CITY = '{"city":"Ulm"}'
# Ids as providers make them, and some that break one rule or another.
IDS = (
    "call_abc123",
    "toolu_01A09q90qw90lq917835lq9",
    "AbC123xyZ",
    "get_weather_p1t92w7gfgq7",
    "functions.get_weather:0",
    "chatcmpl-tool-0a1b2c3d4e5f",
    "x" * 200,
    "an id of a client's own, ümläut",
)


def call_tool(provider: str, prompt: Prompt) -> Reply:
    exchange = ask(provider, prompt, f"tool=get_weather:{CITY}&reasoning=1")
    return adapter_for(provider).read_reply(
        exchange.status, exchange.headers, exchange.body, candidate_of(provider), now_s=0.0
    )


def sent_by(provider: str, prompt: Prompt) -> bytes:
    return adapter_for(provider).build_request(prompt, candidate_of(provider)).body


def pairs_of(body: bytes) -> tuple[list[tuple[str | None, str]], list[str | None]]:
    """What is sent on any wire: (id, name) of each call, and the ids that results answer, in order."""
    sent = orjson.loads(body)
    calls: list[tuple[str | None, str]] = []
    results: list[str | None] = []
    for turn in sent.get("messages", []):
        calls += [(call["id"], call["function"]["name"]) for call in turn.get("tool_calls") or []]
        if turn["role"] == "tool":
            results.append(turn["tool_call_id"])
        for block in turn["content"] if isinstance(turn.get("content"), list) else []:
            if block["type"] == "tool_use":
                calls.append((block["id"], block["name"]))
            elif block["type"] == "tool_result":
                results.append(block["tool_use_id"])
    for part in [part for content in sent.get("contents", []) for part in content["parts"]]:
        if "functionCall" in part:
            calls.append((part["functionCall"]["id"], part["functionCall"]["name"]))
        elif "functionResponse" in part:
            results.append(part["functionResponse"]["id"])
    return calls, results


@pytest.mark.parametrize("second", PROVIDERS)
@pytest.mark.parametrize("first", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True])
def test_round_goes_on_elsewhere(first: str, second: str, stream: bool) -> None:
    tools = (WEATHER, TIME)
    reply = call_tool(first, Prompt((QUESTION,), Options(reasoning_effort="low"), tools))
    [call] = reply.tool_calls
    turn = Message("assistant", reply.content, tool_calls=reply.tool_calls, reasoning=reply.reasoning_blocks)
    result = Message("tool", "7 degrees", tool_call_id=call.id)
    prompt = Prompt((QUESTION, turn, result), Options(reasoning_effort="low"), tools)

    answered = ask(second, prompt, "content=7 degrees.&usage=1:2", stream=stream)

    assert ["opened", "7 degrees.", []] == meaning(read_events(second, answered))[:3]
    calls, results = pairs_of(sent_by(second, prompt))
    assert ["get_weather"] == [name for _, name in calls]
    assert [call_id for call_id, _ in calls] == results


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("call_id", IDS)
def test_id_of_any_provider_is_taken(provider: str, call_id: str) -> None:
    calls = (ToolCall(call_id, "get_weather", CITY), ToolCall(f"{call_id}2", "get_time", "{}"))
    results = (
        Message("tool", "7 degrees", tool_call_id=call_id),
        Message("tool", "noon", tool_call_id=f"{call_id}2"),
    )
    prompt = Prompt((QUESTION, Message("assistant", None, tool_calls=calls), *results), tools=(WEATHER, TIME))

    answered = ask(provider, prompt, "content=Yes&usage=1:2")

    assert "Yes" == meaning(read_events(provider, answered))[1]
    sent, answers = pairs_of(sent_by(provider, prompt))
    assert ["get_weather", "get_time"] == [name for _, name in sent]
    assert [sent_id for sent_id, _ in sent] == answers
    assert len(set(answers)) == 2
    if provider == "mistral":
        assert all(re.fullmatch("[A-Za-z0-9]{9}", str(sent_id)) for sent_id in answers)
    if provider == "openai":
        assert all(len(str(sent_id)) <= 40 for sent_id in answers)
    if provider == "anthropic":
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,256}", str(sent_id)) for sent_id in answers)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_results_out_of_order_keep_their_calls(provider: str) -> None:
    calls = (ToolCall("call_1", "get_weather", CITY), ToolCall("call_2", "get_time", "{}"))
    late = Message("tool", "noon", tool_call_id="call_2")
    early = Message("tool", "7 degrees", tool_call_id="call_1")
    prompt = Prompt((QUESTION, Message("assistant", None, tool_calls=calls), late, early), tools=(WEATHER, TIME))

    _, results = pairs_of(sent_by(provider, prompt))

    sent = [call_id for call_id, _ in pairs_of(sent_by(provider, prompt))[0]]
    assert [sent[1], sent[0]] == results


def test_two_rounds_across_four_wires() -> None:
    messages: tuple[Message, ...] = (QUESTION,)
    for provider in ("google", "anthropic", "cohere", "mistral"):
        reply = call_tool(provider, Prompt(messages, tools=(WEATHER,)))
        turn = Message("assistant", reply.content, tool_calls=reply.tool_calls, reasoning=reply.reasoning_blocks)
        messages = (*messages, turn, Message("tool", f"from {provider}", tool_call_id=reply.tool_calls[0].id))

    for provider in PROVIDERS:
        calls, results = pairs_of(sent_by(provider, Prompt(messages, tools=(WEATHER,))))
        assert [call_id for call_id, _ in calls] == results
        assert 4 == len(set(results))
