"""Whole answers of the OpenAI wire that are none, and those that only look odd."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from pg_trio.config.key_file import CHECK_EVERY_S, KeyFile
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
        (b"<h1>Sorry</h1>", {"content-type": "text/html"}, "content type text/html: HTML page: Sorry"),
        (b"no healthy upstream", {"content-type": "text/plain"}, "content type text/plain: no healthy upstream"),
        (b"Once upon a time " * 99, {"content-type": "text/plain"}, "of 1683 bytes, content type text/plain"),
        (b'{"id": "\xff"}', JSON, "invalid UTF-8 in 11 bytes"),
        (b'{"id": "\\ud800"', JSON, "error at character 8 of 15 bytes"),
        (b'{"id": NaN', JSON, "error at character 7 of 10 bytes"),
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
        ({"choices": [{"message": "hi"}]}, "choices[0].message is a string, not an object"),
        ({"choices": [{"delta": {"content": "hi"}}]}, "choices[0].message is missing"),
        (message_with(content=True), "choices[0].message.content is true or false, not a string"),
        (message_with(content=[1]), "choices[0].message.content[0] is a number, not an object"),
        (message_with(content=[{"text": 1}]), "choices[0].message.content[0].text is a number, not a string"),
        (message_with(refusal=1), "choices[0].message.refusal is a number, not a string"),
        ({"choices": [{"delta": {"content": "hi"}, "finish_reason": ""}]}, "choices[0].message is missing"),
    ],
)
def test_defect_says_where(answer: Any, why: str) -> None:
    assert why == why_nonsense(answer)


@pytest.mark.parametrize(
    "message", [{}, {"content": None}, {"content": ""}, {"content": []}, {"content": "", "tool_calls": []}]
)
@pytest.mark.parametrize("finish_reason", ["stop", "unheard_of", None])
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
        ({"code": "server_error", "message": ""}, "server_error"),
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
        ("look_up", "choices[0].message.tool_calls is a string, not a list"),
        ("7", "choices[0].message.tool_calls is a number, not a list"),
        (["look_up"], "choices[0].message.tool_calls[0] is a string, not an object"),
        ([CALL, {"id": "2"}], "choices[0].message.tool_calls[1].function.name is missing"),
        ([{"function": {"name": ""}}], "choices[0].message.tool_calls[0].function.name is missing"),
        ([{"function": [1]}], "choices[0].message.tool_calls[0].function is a list, not an object"),
        (
            [{"function": {"name": "f", "arguments": [1]}}],
            "choices[0].message.tool_calls[0].function.arguments is a list, not a string",
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


def test_deep_arguments_stay_as_they_are() -> None:
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    body = b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":' + deep + b"}}]}}]}"

    assert deep.decode() == read(body).tool_calls[0].arguments


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
        ("", "stop"),
        ("STOP", "stop"),
        ("unheard_of", "stop"),
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
        ("unheard_of", "tool_calls"),
    ],
)
def test_finish_reason_of_calls(theirs: str | None, ours: str) -> None:
    assert ours == read_json(message_with(tool_calls=[CALL], finish_reason=theirs)).finish_reason


def test_missing_finish_reason_is_stop() -> None:
    assert "stop" == read_json({"choices": [{"message": {"content": "Hi"}}]}).finish_reason


# ── usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [-1, True, False, 1.0, "1", [], {}, 10**9 + 1, 2**64 - 1, 1e300])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_odd_count_is_estimated(name: str, count: Any) -> None:
    reply = read_json(answer_with(usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, name: count}))

    assert ("Hi", None) == (reply.content, reply.usage)


def test_count_past_64_bits_is_estimated() -> None:
    body = orjson.dumps(answer_with(usage={"prompt_tokens": 1, "completion_tokens": 12345}))

    assert read(body.replace(b"12345", b"1" + b"0" * 40)).usage is None


@pytest.mark.parametrize("total", [-1, 5.5, "2", None, [], 10**18])
def test_total_is_of_no_need(total: Any) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": total}

    assert Usage(1, 1) == read_json(answer_with(usage=usage)).usage


@pytest.mark.parametrize(("total", "completion"), [(15, 12), (5, 2), (None, 2)])
def test_reasoning_that_is_not_counted_is_added(total: int | None, completion: int) -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 10}}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": total, **details}

    expected = Usage(3, completion, reasoning_tokens=min(10, completion))
    assert expected == read_json(answer_with(usage=usage)).usage


@pytest.mark.parametrize("usage", [[], "9", 9, True, "n/a"])
def test_usage_of_another_shape_is_estimated(usage: Any) -> None:
    assert read_json(answer_with(usage=usage)).usage is None


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


@pytest.mark.parametrize(("prompt_tokens", "completion_tokens"), [(0, 0), (0, 9), (9, 0)])
def test_zero_tokens_are_a_count_of_no_answer(prompt_tokens: int, completion_tokens: int) -> None:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}

    answered = read_json(answer_with(usage=usage))
    filtered = read_json({**message_with("content_filter", content=""), "usage": usage})

    assert answered.usage is None
    assert Usage(prompt_tokens, completion_tokens) == filtered.usage


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


@pytest.mark.parametrize(
    "theirs", ["HiddenHeader42Secret", "chatcmpl-HiddenHeader42Secret", "chatcmpl-OldKey0123456789"]
)
def test_id_with_another_secret_of_the_credential_is_replaced(theirs: str, tmp_path: Path) -> None:
    """Of a header's value, and of a key whose file has changed."""
    path, now = tmp_path / "key", [0.0]
    path.write_text("OldKey0123456789")
    key = KeyFile(path, lambda: now[0])
    with_header = Credential("a", "openai", "https://a/v1", Secret("key"), hidden=(Secret("HiddenHeader42Secret"),))
    of_file = Credential("b", "openai", "https://b/v1", key, hidden=(Secret("HiddenHeader42Secret"),))
    path.write_text("NewKey0123456789 ")
    now[0] = 2 * CHECK_EVERY_S

    shown = {credential.name: reply_id(theirs, Candidate(credential, "m")) for credential in (with_header, of_file)}

    assert "NewKey0123456789" == key.reveal()
    assert re.fullmatch(r"[0-9a-f]{24}", shown["b"])
    assert ("OldKey" in theirs) == (shown["a"] == theirs)


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


# An answer as most are, but for at most one place.
usual_fields: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from(["chatcmpl-B9MBs8Cjc", "a-b", "", "x" * 70, KEY]),
    "model": st.sampled_from(["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "no model", KEY]),
    "usage": st.just({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
    "error": st.none() | st.just({}),
}
usual_choices = st.fixed_dictionaries(
    {
        "index": st.just(0),
        "message": st.fixed_dictionaries(
            {"content": st.sampled_from(["Hi", "Hi", "", None]) | json_values},
            optional={"refusal": sometimes(st.text()), "reasoning": st.just("Hm") | json_values},
        ),
        "finish_reason": st.sampled_from(["stop", "stop", "length", "error", None]),
    },
    optional={
        "logprobs": st.none() | st.just({"content": []}),
        "stop_reason": st.none() | st.just("END"),
        "error": st.none() | st.just({"message": "no"}) | json_values,
    },
)
usual_answers = st.fixed_dictionaries({"choices": st.tuples(usual_choices).map(list)}, optional=usual_fields)


@given(usual_answers, st.sampled_from(sorted(usual_fields)), json_values)
def test_usual_answers_mean_the_same_on_every_way(answer: dict[str, Any], field: str, odd: Any) -> None:
    """A null in place of tool calls says nothing, but such an answer is not read on the straight way."""
    answer = {"id": "a", **answer} if odd is None else {"id": "a", **answer, field: odd}
    [choice] = answer["choices"]
    other = {**answer, "choices": [{**choice, "message": {**choice["message"], "tool_calls": None}}]}

    assert outcome_of(other) == outcome_of(answer)


def outcome_of(answer: Any) -> Reply | str:
    try:
        reply = read_json(answer)
    except AttemptFailed as failure:
        return failure.said
    # A new id is random.
    return evolve(reply, id="made") if re.fullmatch(r"[0-9a-f]{24}", reply.id) else reply


@given(st.binary(), st.integers(100, 599), st.dictionaries(st.sampled_from(["content-type", "retry-after"]), st.text()))
@example(b'{"error":' * 1000 + b"1" + b"}" * 1000, 500, {})
def test_any_bytes_are_reply_or_failure(body: bytes, status: int, headers: dict[str, str]) -> None:
    with pytest.raises(AttemptFailed):
        read(body, headers, status)


# ── read by what is meant ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("odd", [7, True, [], {}, 1.5, None])
def test_fields_that_nobody_needs_may_hold_anything(odd: Any) -> None:
    fields = dict.fromkeys(("model", "created", "object", "system_fingerprint", "service_tier", "code"), odd)
    reply = read_json(answer_with(id=odd, usage=odd, **fields))

    assert ("Hi", "gpt-4o-mini") == (reply.content, reply.model)


def test_number_is_an_id() -> None:
    assert "123" == read_json(answer_with(id=123)).id


@pytest.mark.parametrize(
    "error", [None, {}, [], "", False, 0, {"message": "", "type": "", "param": "", "code": None}, {"code": "0"}]
)
def test_error_that_says_nothing_is_none(error: Any) -> None:
    assert "Hi" == read_json(answer_with(error=error)).content


@pytest.mark.parametrize("message", [{}, {"message": None}])
@pytest.mark.parametrize("finish_reason", ["length", "content_filter", "MAX_TOKENS"])
def test_reason_alone_is_an_answer(message: Any, finish_reason: str) -> None:
    assert "" == read_json({"choices": [{**message, "finish_reason": finish_reason}]}).content


@pytest.mark.parametrize(
    "choice",
    [
        {"text": "Hi", "finish_reason": "stop"},
        {"delta": {"content": "Hi"}, "finish_reason": "stop"},
        {"message": {"content": ["Hi"]}},
        {"message": {"content": {"type": "text", "text": "Hi"}}},
        {"message": {"content": [{"type": "output_text", "text": {"value": "Hi"}}, None, {"type": "text"}]}},
        {"message": {"content": "Hi", "tool_calls": "", "function_call": {}}, "finish_reason": True},
        {"message": {"content": "Hi"}, "finish_reason": {"type": "stop"}, "error": {"message": ""}},
        {"message": {"content": "Hi"}, "finish_reason": 1, "index": "0"},
    ],
)
def test_answer_in_another_shape(choice: Any) -> None:
    reply = read_json({"choices": [choice]})

    assert ("Hi", "stop", ()) == (reply.content, reply.finish_reason, reply.tool_calls)


def test_choice_zero_is_the_answer() -> None:
    choices = [{"index": index, "message": {"content": str(index)}} for index in (1, 0)]

    assert "0" == read_json({"choices": choices}).content


@pytest.mark.parametrize("reason", ["error", "ERROR", "network_error", "insufficient_system_resource", "tool_calls"])
def test_failure_is_no_answer(reason: str) -> None:
    assert why_nonsense(message_with(content="half an ans", finish_reason=reason))


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"error": {"message": "Upstream died"}, "finish_reason": "error", "message": {"content": "Hi"}}]},
        {"choices": [{"error": "Upstream died", "message": {"content": "Hi"}, "finish_reason": "stop"}]},
        {"code": 404, "message": "Upstream died", "object": "error"},
        {"code": "x", "message": "Upstream died", "choices": None},
        {"detail": "Upstream died"},
        [{"error": {"code": 400, "message": "Upstream died"}}],
    ],
)
def test_failure_in_a_good_status_has_its_words(answer: Any) -> None:
    assert "an error in an answer with status 200: Upstream died" == why_nonsense(answer)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"function": {"name": "f", "arguments": None}}, "{}"),
        ({"function": {"name": "f"}}, "{}"),
        ({"function": {"name": "f", "arguments": []}}, "{}"),
        ({"function": {"name": "f", "arguments": ""}}, ""),
        ({"name": "f", "arguments": '{"a":1}'}, '{"a":1}'),
        ({"function": {"name": "f", "arguments": {"a": 1}}}, '{"a":1}'),
        ({"id": 7, "type": None, "function": {"name": "f", "arguments": "{}"}}, "{}"),
    ],
)
def test_call_in_another_shape(call: Any, expected: str) -> None:
    (read_call,) = read_json(message_with(tool_calls=[call, None, {}])).tool_calls

    assert ("f", expected) == (read_call.name, read_call.arguments)
    assert read_call.id == "7" or re.fullmatch(r"call_[0-9a-f]{24}", read_call.id)


@pytest.mark.parametrize("calls", ["[]", "null", "{}", "0"])
def test_empty_list_as_text_is_none(calls: str) -> None:
    assert () == read_json(message_with(content="Hi", tool_calls=calls)).tool_calls


def test_one_call_stands_alone() -> None:
    assert (ToolCall("call_1", "look_up", "{}"),) == read_json(message_with(tool_calls=CALL)).tool_calls


def test_function_call_of_old_is_a_tool_call() -> None:
    old = {"name": "look_up", "arguments": "{}"}
    reply = read_json(message_with(content=None, function_call=old, finish_reason="function_call"))
    both = read_json(message_with(content=None, function_call=old, tool_calls=[CALL]))

    assert ("tool_calls", "look_up", "{}") == (
        reply.finish_reason,
        reply.tool_calls[0].name,
        reply.tool_calls[0].arguments,
    )
    assert 1 == len(both.tool_calls)


def test_ids_given_twice_are_told_apart() -> None:
    calls = read_json(message_with(tool_calls=[CALL, CALL])).tool_calls

    assert "call_1" == calls[0].id != calls[1].id


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"reasoning_content": "Hm"}, "Hm"),
        ({"reasoning": "Hm", "reasoning_details": [{"text": "Hm"}]}, "Hm"),
        ({"reasoning": None, "reasoning_details": [{"summary": "Hm"}]}, "Hm"),
        ({"content": [{"type": "thinking", "thinking": [{"text": "Hm"}]}, {"type": "text", "text": "Hi"}]}, "Hm"),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}, None),
        ({"reasoning": 7}, None),
    ],
)
def test_reasoning_is_kept_apart(fields: Any, reasoning: str | None) -> None:
    reply = read_json(message_with(**{"content": "Hi", **fields}))

    assert ("Hi", reasoning) == (reply.content, reply.reasoning)


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"\xef\xbb\xbf" + orjson.dumps(answer_with()), "Hi"),
        (orjson.dumps(answer_with()).decode().encode("utf-16"), "Hi"),
        (b'{"choices":[{"message":{"content":"Hi \xed\xa0\xbd\xed\xb8\x80"}}]}', "Hi \U0001f600"),
        (b'{"choices":[{"message":{"content":"Hi"},"logprobs":NaN}],"timings":{"a":-Infinity}}', "Hi"),
        (b'{"choices":[{"message":{"content":"Hi \\ud83d!"}}]}', "Hi \ufffd!"),
        (b'{"choices":[{"message":{"content":"Hi \\ud83d\\ude00"},"x":NaN}]}', "Hi \U0001f600"),
        (b'{"choices":[{"message":{"content":"Hi\tthere\n"}}]}', "Hi\tthere\n"),
        (b'{"choices":[{"message":{"content":"Hi"}}],"n":' + b"9" * 400 + b"}", "Hi"),
    ],
)
def test_odd_json_is_read(body: bytes, content: str) -> None:
    assert content == read(body).content


def test_stream_that_nobody_asked_for_is_put_together() -> None:
    pieces = [
        {"id": "1", "choices": [{"delta": {"role": "assistant", "reasoning_content": "Hm"}}]},
        {"choices": [{"delta": {"content": "Hel"}}]},
        {"choices": [{"delta": {"content": "lo"}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    ]
    body = b": ping\n\n" + b"".join([b"data: " + orjson.dumps(piece) + b"\n\n" for piece in pieces])

    assert Reply("1", "gpt-4o-mini", "Hello", "stop", Usage(1, 2), (), "Hm") == read(body + b"data: [DONE]\n\n")
    with pytest.raises(AttemptFailed, match="the stream was cut"):
        read(body[: body.index(b'{"choices":[{"delta":{}')])


def test_chunks_without_field_names_are_put_together() -> None:
    pieces = [
        {"id": "1", "choices": [{"delta": {"content": "Hel"}}]},
        {
            "choices": [
                {
                    "delta": {"content": "lo"},
                    "finish_reason": "stop",
                    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
                }
            ]
        },
    ]
    body = b"\n".join([orjson.dumps(piece) for piece in pieces])

    assert Reply("1", "gpt-4o-mini", "Hello", "stop", Usage(1, 2)) == read(body + b"\r\n")
    for place in range(len(body)):
        with pytest.raises(AttemptFailed):
            read(body[:place])
