"""Bodies for the log: what they show, what they hide, and that they stay small."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from pg_trio.domain.chat import ChatRequest, Message, Reply, ToolCall
from pg_trio.domain.content import NativePart, Text
from pg_trio.domain.log_body import BodyBudget
from pg_trio.domain.options import Options, ResponseFormat
from pg_trio.domain.tools import ToolChoice
from tests.support.content import parts, tool

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5000, "detail": "low"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "B" * 7000, "format": "wav"}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "minimum": 3}}}
REPLY = Reply("id-1", "gpt", "It is sunny", "stop", tool_calls=(ToolCall("call_1", "weather", '{"city":"Bonn"}'),))


def ask(*messages: Message, **fields: object) -> ChatRequest:
    return ChatRequest(messages=messages, body={"message": "raw secret of the client"}, **fields)  # type: ignore[arg-type]


def full(characters: int = 10_000) -> BodyBudget:
    return BodyBudget(characters, shows_texts=True)


def redacted(characters: int = 10_000) -> BodyBudget:
    return BodyBudget(characters, shows_texts=False)


def test_full_shows_messages() -> None:
    request = ask(
        Message("user", "Hello", name="jane"),
        Message("assistant", None, tool_calls=(ToolCall("call_1", "weather", "{}"),)),
        Message("tool", parts({"type": "text", "text": "sunny"}), tool_call_id="call_1"),
        tools=(tool(TOOL),),
        tool_choice=ToolChoice("auto"),
        stream=True,
    )

    expected = {
        "messages": [
            {"role": "user", "name": "jane", "content": "Hello"},
            {"role": "assistant", "tool_calls": [{"id": "call_1", "name": "weather", "arguments": "{}"}]},
            {"role": "tool", "content": [{"type": "text", "text": "sunny"}], "tool_call_id": "call_1"},
        ],
        "tools": [TOOL],
        "tool_choice": "auto",
        "stream": True,
    }
    assert expected == full().describe_request(request)


def test_full_shows_the_answer_s_format() -> None:
    answer = {"type": "json_schema", "json_schema": {"name": "x"}}
    options = Options(parallel_tool_calls=False, response_format=ResponseFormat.of(answer), reasoning_effort="low")
    request = ask(Message("user", "Hi"), options=options)

    shown = full().describe_request(request)

    assert (False, answer, "low") == (
        shown["parallel_tool_calls"],
        shown["response_format"],
        shown["reasoning_effort"],
    )


def test_reasoning_is_never_kept() -> None:
    thought = evolve(REPLY, reasoning="It may rain")

    assert full().describe_reply(REPLY) == full().describe_reply(thought)


def test_full_shows_answer() -> None:
    expected = {
        "content": "It is sunny",
        "tool_calls": [{"id": "call_1", "name": "weather", "arguments": '{"city":"Bonn"}'}],
        "finish_reason": "stop",
    }
    assert expected == full().describe_reply(REPLY)


def test_redacted_shows_shape_alone() -> None:
    request = ask(
        Message("user", parts({"type": "text", "text": "Hello"}, PICTURE), name="jane"), tools=(tool(TOOL), tool(TOOL))
    )

    expected = {
        "messages": [
            {
                "role": "user",
                "name": "[4 characters]",
                "content": [
                    {"type": "text", "text": "[5 characters]"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "[5022 characters]", "detail": "[3 characters]"},
                    },
                ],
            }
        ],
        "tools": 2,
    }
    assert expected == redacted().describe_request(request)


def test_redacted_answer_shows_no_word() -> None:
    shown = json.dumps(redacted().describe_reply(REPLY))

    assert [] == [word for word in ("sunny", "weather", "Bonn", "call_1") if word in shown]


@pytest.mark.parametrize("part", [PICTURE, AUDIO])
def test_data_is_its_length(part: dict[str, object]) -> None:
    shown = json.dumps(full().describe_request(ask(Message("user", parts(part)))))

    assert "00 characters]" in shown or "5022 characters]" in shown
    assert "AAAA" not in shown
    assert "BBBB" not in shown


def test_credentials_are_masked() -> None:
    key = "sk-proj-0123456789abcdef"

    shown = full().describe_request(ask(Message("user", f"my key is {key}, do not tell")))

    assert "my key is [redacted], do not tell" == shown["messages"][0]["content"]


def test_long_text_is_cut() -> None:
    shown = full(100).describe_request(ask(Message("user", "x" * 300), Message("user", "never seen")))

    assert {"messages": [{"role": "user", "content": "x" * 84 + "… [216 characters cut]"}], "cut": True} == shown


def test_cut_leaves_no_half_credential() -> None:
    # The cut runs through the key: after it, eleven of its characters would be left.
    text = "x" * 70 + " sk-proj-0123456789abcdef"

    content = full(100).describe_request(ask(Message("user", text)))["messages"][0]["content"]

    assert "sk-" not in content


@pytest.mark.parametrize("budget", [full(1000), redacted(1000)])
@pytest.mark.parametrize(
    "request_",
    [
        ask(*[Message("user", "")] * 2000),
        ask(Message("user", tuple(Text("a") for _ in range(2000)))),
        ask(Message("assistant", None, tool_calls=tuple(ToolCall("a", "b", "c") for _ in range(2000)))),
        ask(Message("user", "a"), tools=(tool({"type": "function", "n": [1] * 100_000}),)),
        ask(Message("user", "a"), tools=(tool({"k" * 5000: 1, "l" * 5000: {}}),) * 100),
    ],
)
def test_body_is_bounded(budget: BodyBudget, request_: ChatRequest) -> None:
    shown = json.dumps(budget.describe_request(request_))

    assert len(shown) < 8000


def test_raw_body_is_never_shown() -> None:
    assert "raw secret" not in json.dumps(full().describe_request(ask(Message("user", "Hello"), stream=True)))


def test_blocks_that_only_one_wire_has_are_described() -> None:
    block = NativePart({"type": "later", "text": "Hello", "data": "QUJD"})

    shown, hidden = (
        budget.describe_request(ask(Message("user", (block,))))["messages"][0] for budget in (full(), redacted())
    )

    assert [{"type": "later", "text": "Hello", "data": "[4 characters]"}] == shown["content"]
    assert [{"type": "later", "text": "[5 characters]", "data": "[4 characters]"}] == hidden["content"]
