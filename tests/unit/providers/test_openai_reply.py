"""Whole answers of the OpenAI wire that are none, and those that only look odd."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pg_trio.domain.chat import FinishReason, Reply, ToolCall, Usage
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.secret import Secret
from pg_trio.errors import AttemptFailed, UpstreamNonsense, UpstreamRefused
from pg_trio.providers import adapter_for
from pg_trio.providers.openai_fields import reply_id

KEY = "0a1b2c3d4e5f60718293"
CANDIDATE = Candidate(Credential("main", "openai", "https://api.openai.com/v1", Secret(KEY)), "gpt-4o-mini")
JSON = {"content-type": "application/json"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


def read(body: bytes, headers: Mapping[str, str] = JSON, status: int = 200) -> Reply:
    return adapter_for("openai").read_reply(status, headers, body, CANDIDATE, now_s=0.0)


def answer_with(**fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hi"}
    return {"choices": [{"message": message, "finish_reason": "stop"}], **fields}


def message_with(finish_reason: Any = "stop", **fields: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **fields}, "finish_reason": finish_reason}]}


def read_json(answer: Any) -> Reply:
    return read(orjson.dumps(answer))


def why_nonsense(answer: Any) -> str:
    with pytest.raises(UpstreamNonsense) as caught:
        read_json(answer)
    return caught.value.said


# ── not JSON at all ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (b"", JSON, "its body is empty"),
        (b"", {}, "its body is empty, no content type"),
        (b"<html></html>", {"content-type": "text/html"}, "error at character 0 of 13 bytes, content type text/html"),
        (b'{"id": "\xff"}', JSON, "invalid UTF-8 in 11 bytes"),
        (b'{"id": "\\ud800"}', JSON, "error at character 8 of 16 bytes"),
        (b'{"id": NaN}', JSON, "error at character 7 of 11 bytes"),
        (b"data: {}\n\n", {"content-type": "text/event-stream"}, "error at character 0 of 10 bytes, content type"),
        (b"1" * 5000, JSON, "error at character 0 of 5000 bytes"),
        (b'{"choices":' + b"[" * 100_000, JSON, "of 100011 bytes"),
        (b'{"a":' * 100_000, JSON, "of 500000 bytes"),
    ],
)
def test_not_json_says_where(body: bytes, headers: dict[str, str], why: str) -> None:
    with pytest.raises(UpstreamNonsense, match="^the answer is not JSON: .*" + re.escape(why)):
        read(body, headers)


def test_content_type_is_masked_and_cut() -> None:
    with pytest.raises(UpstreamNonsense) as caught:
        read(b"nope", {"content-type": "0a1b2c3d4e5f60718293 " + "x" * 10_000})

    assert "0a1b2c3d4e5f60718293" not in caught.value.said
    assert len(caught.value.said) <= 500


# ── JSON, but no answer ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "the answer is missing"),
        ([], "the answer is a list, not an object"),
        ("hi", "the answer is a string, not an object"),
        (True, "the answer is true or false, not an object"),
        ({}, "choices is missing"),
        ({"choices": None}, "choices is missing"),
        ({"choices": {}}, "choices is an object, not a list"),
        ({"choices": []}, "choices is empty"),
        ({"choices": [None]}, "choices[0] is missing"),
        ({"choices": ["hi"]}, "choices[0] is a string, not an object"),
        ({"choices": [{}]}, "choices[0].message is missing"),
        ({"choices": [{"text": "a completion"}]}, "choices[0].message is missing"),
        ({"choices": [{"message": "hi"}]}, "choices[0].message is a string, not an object"),
        ({"choices": [{"delta": {"content": "hi"}}]}, "choices[0].message is missing"),
        (message_with(content=1), "choices[0].message.content is a number, not a string"),
        (message_with(content={}), "choices[0].message.content is an object, not a string"),
        (message_with(content=["hi"]), "choices[0].message.content[0] is a string, not an object"),
        (message_with(content=[{"type": "text"}]), "choices[0].message.content[0].text is missing"),
        (message_with(content=[{"text": 1}]), "choices[0].message.content[0].text is a number, not a string"),
        (message_with(refusal=1), "choices[0].message.refusal is a number, not a string"),
        (message_with(content="hi", finish_reason=1), "choices[0].finish_reason is a number, not a string"),
        (answer_with(id=7), "id is a number, not a string"),
        (answer_with(model=[]), "model is a list, not a string"),
    ],
)
def test_defect_says_where(answer: Any, why: str) -> None:
    assert why == why_nonsense(answer)


@pytest.mark.parametrize(
    "message", [{}, {"content": None}, {"content": ""}, {"content": []}, {"content": "", "tool_calls": []}]
)
@pytest.mark.parametrize("finish_reason", ["stop", "tool_calls", "error", "unheard_of", None])
def test_nothing_said_is_nonsense(message: dict[str, Any], finish_reason: str | None) -> None:
    said = why_nonsense(message_with(finish_reason=finish_reason, **message))

    assert "choices[0].message has neither content nor tool calls" == said


def test_thinking_alone_is_nonsense() -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]

    assert "choices[0].message has neither content nor tool calls" == why_nonsense(message_with(content=thinking))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"message": "The server is overloaded"}, "The server is overloaded"),
        ("overloaded", "overloaded"),
        ({"code": 500}, "no message"),
        ({}, "no message"),
        (1, "no message"),
    ],
)
def test_error_in_an_answer_is_nonsense(error: Any, said: str) -> None:
    assert f"an error in an answer with status 200: {said}" == why_nonsense(answer_with(error=error))


def test_null_error_is_none() -> None:
    assert "Hi" == read_json(answer_with(error=None)).content


def test_error_message_is_masked() -> None:
    said = why_nonsense({"error": {"message": "no 0a1b2c3d4e5f60718293 sk-abcdefghijkl"}})

    assert "an error in an answer with status 200: no [redacted] [redacted]" == said


@pytest.mark.parametrize("status", [199, 300, 304, 400, 500])
def test_no_other_status_is_an_answer(status: int) -> None:
    with pytest.raises(UpstreamRefused):
        read(orjson.dumps(answer_with()), status=status)


@pytest.mark.parametrize("status", [200, 201, 203, 299])
def test_every_2xx_is_an_answer(status: int) -> None:
    assert "Hi" == read(orjson.dumps(answer_with()), status=status).content


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
@pytest.mark.parametrize("content", ["", None, []])
def test_explained_silence_is_an_answer(finish_reason: FinishReason, content: Any) -> None:
    reply = read_json(message_with(finish_reason=finish_reason, content=content))

    assert ("", finish_reason) == (reply.content, reply.finish_reason)


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}]

    assert "ab" == read_json(message_with(content=parts)).content


def test_refusal_is_the_content() -> None:
    reply = read_json(message_with(content=None, refusal="I can't."))

    assert ("I can't.", "content_filter") == (reply.content, reply.finish_reason)


def test_content_goes_before_refusal() -> None:
    reply = read_json(message_with(content="Hi", refusal="I can't."))

    assert ("Hi", "stop") == (reply.content, reply.finish_reason)


def test_first_choice_is_the_answer() -> None:
    answer = answer_with()
    answer["choices"].append({"message": None})

    assert "Hi" == read_json(answer).content


# ── tool calls ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ({}, "choices[0].message.tool_calls is an object, not a list"),
        (["look_up"], "choices[0].message.tool_calls[0] is a string, not an object"),
        ([CALL, {}], "choices[0].message.tool_calls[1].function is missing"),
        ([{"function": {}}], "choices[0].message.tool_calls[0].function.name is missing"),
        ([{"function": {"name": "f"}}], "choices[0].message.tool_calls[0].function.arguments is missing"),
        (
            [{"function": {"name": "f", "arguments": []}}],
            "choices[0].message.tool_calls[0].function.arguments is a list, not a string",
        ),
        (
            [{"id": 1, "function": {"name": "f", "arguments": ""}}],
            "choices[0].message.tool_calls[0].id is a number, not a string",
        ),
    ],
)
def test_defective_call_says_where(calls: Any, why: str) -> None:
    assert why == why_nonsense(message_with(tool_calls=calls))


def test_call_beside_text() -> None:
    reply = read_json(message_with(content="Let me see.", tool_calls=[CALL], finish_reason="tool_calls"))

    assert ("Let me see.", (ToolCall("call_1", "look_up", "{}"),)) == (reply.content, reply.tool_calls)


def test_call_alone_has_no_content() -> None:
    assert read_json(message_with(content="", tool_calls=[CALL])).content is None


def test_arguments_stay_as_written() -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": '{"a": not json'}}

    assert '{"a": not json' == read_json(message_with(tool_calls=[call])).tool_calls[0].arguments


def test_deep_arguments_are_nonsense() -> None:
    deep = b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":' + b'{"a":' * 500 + b"1"
    body = deep + b"}" * 500 + b"}}]}}]}"

    with pytest.raises(UpstreamNonsense, match=r"nested too deeply$"):
        read(body)


def test_call_without_id_gets_one() -> None:
    calls = read_json(message_with(tool_calls=[{**CALL, "id": None}, {**CALL, "id": ""}])).tool_calls

    assert all(re.fullmatch(r"call_[0-9a-f]{24}", call.id) for call in calls)
    assert calls[0].id != calls[1].id


# ── finish reason ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        (None, "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
        ("error", "error"),
        ("", "error"),
        ("STOP", "error"),
        ("unheard_of", "error"),
        ("tool_calls", "error"),
    ],
)
def test_finish_reason_of_text(theirs: str | None, ours: str) -> None:
    assert ours == read_json(message_with(content="Hi", finish_reason=theirs)).finish_reason


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("stop", "tool_calls"),
        ("eos", "tool_calls"),
        (None, "tool_calls"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("unheard_of", "error"),
    ],
)
def test_finish_reason_of_calls(theirs: str | None, ours: str) -> None:
    assert ours == read_json(message_with(tool_calls=[CALL], finish_reason=theirs)).finish_reason


def test_missing_finish_reason_is_stop() -> None:
    assert "stop" == read_json({"choices": [{"message": {"content": "Hi"}}]}).finish_reason


# ── usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [-1, True, False, 1.0, "1", [], {}, 10**9 + 1, 2**64 - 1, 1e300])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_count_must_be_one(name: str, count: Any) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, name: count}

    assert why_nonsense(answer_with(usage=usage)).startswith(f"usage.{name} is ")


def test_count_past_64_bits_is_nonsense() -> None:
    body = orjson.dumps(answer_with(usage={"prompt_tokens": 1, "completion_tokens": 12345}))

    with pytest.raises(UpstreamNonsense, match=r"^usage\.completion_tokens is a number, not an integer$"):
        read(body.replace(b"12345", b"1" + b"0" * 40))


@pytest.mark.parametrize("usage", [[], "9", 9, True])
def test_usage_must_be_an_object(usage: Any) -> None:
    assert why_nonsense(answer_with(usage=usage)).startswith("usage is ")


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
        {"prompt_tokens": 9, "completion_tokens": None},
        {"completion_tokens": 9},
    ],
)
def test_absent_usage_is_none(usage: Any) -> None:
    assert read_json(answer_with(usage=usage)).usage is None


def test_zero_tokens_count() -> None:
    assert Usage(0, 0) == read_json(answer_with(usage={"prompt_tokens": 0, "completion_tokens": 0})).usage


# ── id and model ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("chatcmpl-AbC_1-2", "chatcmpl-AbC_1-2"),
        ("gen-1", "gen-1"),
        ("a b/c\r\nd", "abcd"),
        ("chatcmpl-a b", "chatcmpl-ab"),
        ("chatcmpl-a\n", "chatcmpl-a"),
        ("x" * 1_000_000, "x" * 64),
        ("chatcmpl-" + "y" * 65, "chatcmpl-" + "y" * 64),
    ],
)
def test_id_is_the_providers_own(theirs: str, ours: str) -> None:
    assert ours == read_json(answer_with(id=theirs)).id


@pytest.mark.parametrize("theirs", [None, "", "chatcmpl-", "üöä", "///", "/" * 2000 + "too-far-in"])
def test_missing_id_is_made(theirs: str | None) -> None:
    first, second = read_json(answer_with(id=theirs)).id, read_json(answer_with(id=theirs)).id

    assert re.fullmatch(r"[0-9a-f]{24}", first)
    assert first != second


def test_model_is_what_answered() -> None:
    assert "gpt-4o-mini-2024-07-18" == read_json(answer_with(model="gpt-4o-mini-2024-07-18")).model


@pytest.mark.parametrize("theirs", [KEY, f"chatcmpl-{KEY}", f"x-{KEY}-y", ".".join(KEY), "sk-proj-abcdef123456"])
def test_id_with_a_secret_is_replaced(theirs: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{24}", read_json(answer_with(id=theirs)).id)


@pytest.mark.parametrize("key", ["Zq" * 300, "a.b+c/" * 6])
def test_id_with_a_long_or_odd_key_is_replaced(key: str) -> None:
    candidate = Candidate(Credential("main", "openai", "https://api.openai.com/v1", Secret(key)), "gpt-4o-mini")

    assert re.fullmatch(r"[0-9a-f]{24}", reply_id(f"chatcmpl-{key}", candidate))


@pytest.mark.parametrize("theirs", ["meta-llama/Llama-3.3-70B", "llama3.2:1b", "ft:gpt-4o:org::id", "a@b+c_d"])
def test_models_of_all_providers_pass(theirs: str) -> None:
    assert theirs == read_json(answer_with(model=theirs)).model


@pytest.mark.parametrize(
    "theirs",
    [
        *(None, "", "a\r\nSet-Cookie: b", "модель", "x" * 257, "a b", "<b>", 'a"b'),
        *(KEY, f"gpt/{KEY}", "sk-proj-abcdef123456", base64.b64encode(KEY.encode()).decode().rstrip("=")),
    ],
)
def test_unusable_model_is_the_one_asked_for(theirs: str | None) -> None:
    assert "gpt-4o-mini" == read_json(answer_with(model=theirs)).model


# ── anything ─────────────────────────────────────────────────────────────────────────────────────────────────────────

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def sometimes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return strategy | json_values


almost_calls = st.fixed_dictionaries(
    {},
    optional={
        "id": sometimes(st.text()),
        "function": sometimes(
            st.fixed_dictionaries({}, optional={"name": sometimes(st.text()), "arguments": sometimes(st.text())})
        ),
    },
)
almost_messages = st.fixed_dictionaries(
    {},
    optional={
        "content": sometimes(st.text()),
        "refusal": sometimes(st.text()),
        "tool_calls": sometimes(st.lists(sometimes(almost_calls), max_size=2)),
    },
)
almost_answers = st.fixed_dictionaries(
    {
        "choices": sometimes(
            st.lists(
                sometimes(
                    st.fixed_dictionaries(
                        {"message": sometimes(almost_messages)},
                        optional={"finish_reason": sometimes(st.sampled_from(["stop", "length", "tool_calls"]))},
                    )
                ),
                max_size=2,
            )
        )
    },
    optional={
        "id": sometimes(st.text()),
        "model": sometimes(st.text()),
        "usage": sometimes(st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens"]), json_values)),
        "error": json_values,
    },
)


@given(almost_answers)
def test_any_json_is_reply_or_failure(answer: Any) -> None:
    try:
        reply = read_json(answer)
    except AttemptFailed:
        return
    assert re.fullmatch(r"(chatcmpl-)?[A-Za-z0-9_-]{1,64}", reply.id)
    assert reply.content or reply.tool_calls or reply.finish_reason in ("length", "content_filter")
    assert orjson.dumps([reply.content, reply.model, [call.arguments for call in reply.tool_calls]])


@given(st.binary(), st.integers(100, 599), st.dictionaries(st.sampled_from(["content-type", "retry-after"]), st.text()))
@example(b'{"error":' * 1000 + b"1" + b"}" * 1000, 500, {})
def test_any_bytes_are_reply_or_failure(body: bytes, status: int, headers: dict[str, str]) -> None:
    with pytest.raises(AttemptFailed):
        read(body, headers, status)
