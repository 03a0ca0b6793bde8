"""Whole responses against OpenAI's types, failures, and what a client sends back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead, WholeAnswer
from pg_trio.domain.chat import FinishReason, Reply, Usage
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.tools import ToolCall
from pg_trio.errors import (
    CallsUnpaired,
    GatewayError,
    NoFitCandidate,
    ParameterUnsupported,
    QuoteNotFound,
    SessionExpired,
    SessionMovedOn,
    SessionNotAccessible,
    SessionsNotEnabled,
)
from pg_trio.surfaces.v1.responses import RESPONSES
from pg_trio.surfaces.v1.responses.response_answer import render_answer
from pg_trio.surfaces.v1.responses.response_request import read_response_request
from tests.support.response_events import check_response
from tests.support.response_replies import replies

LIMITS = GatewaySettings()
HEAD = RequestHead(UUID(int=7), "p", None, [], None, [], 0.0, 1763800000.7)
TIMES = StageTimes(("auth", "provider"), (0.5, 1800.0))


def answer_to(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """The response's object."""
    request = read_response_request(orjson.dumps({"model": "ask", "input": "Hi", **body}), LIMITS, HEAD)
    answer = WholeAnswer(
        reply, Usage(5, 7), HEAD.request_id, "openai", [], TIMES, request, at=HEAD.at, session_id=HEAD.request_id
    )
    response: dict[str, Any] = orjson.loads(render_answer(answer).body)
    return response


functions = st.fixed_dictionaries(
    {"type": st.just("function"), "name": st.sampled_from(["add", "sub"])},
    optional={
        "description": st.one_of(st.none(), st.text(max_size=4)),
        "parameters": st.sampled_from([None, {}, {"type": "object", "properties": {"a": {}}}]),
        "strict": st.sampled_from([None, True, False]),
        "defer_loading": st.booleans(),
    },
)
formats = st.sampled_from(
    [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "description": None, "strict": None},
        {"type": "json_schema", "name": "x", "schema": {}, "description": "What it is", "strict": True},
    ]
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "instructions": st.one_of(st.none(), st.text(max_size=4)),
        "tools": st.lists(functions, max_size=3),
        "tool_choice": st.sampled_from(["auto", "none"]),
        "parallel_tool_calls": st.sampled_from([None, True, False]),
        "text": st.fixed_dictionaries({}, optional={"format": formats, "verbosity": st.sampled_from([None, "low"])}),
        "reasoning": st.fixed_dictionaries(
            {}, optional={"effort": st.sampled_from([None, "low"]), "summary": st.sampled_from([None, "auto"])}
        ),
        "temperature": st.one_of(st.none(), st.integers(0, 2), st.floats(0, 2)),
        "top_p": st.one_of(st.none(), st.floats(0, 1)),
        "max_output_tokens": st.one_of(st.none(), st.integers(1, 9)),
        "max_tool_calls": st.one_of(st.none(), st.integers(1, 9)),
        "top_logprobs": st.one_of(st.none(), st.integers(0, 20)),
        "metadata": st.one_of(st.none(), st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3)),
        "user": st.just("u"),
        "safety_identifier": st.just("s"),
        "prompt_cache_key": st.just("k"),
        "service_tier": st.sampled_from(["auto", "flex"]),
        "truncation": st.sampled_from([None, "auto", "disabled"]),
        "store": st.sampled_from([None, True, False]),
        "previous_response_id": st.just("resp_" + "0" * 48),
        "include": st.just(["reasoning.encrypted_content"]),
        "background": st.sampled_from([None, False]),
    },
)


@given(bodies, replies)
def test_any_response_is_of_openais_types(body: dict[str, Any], reply: Reply) -> None:
    response = check_response(answer_to(body, reply))

    expected = {"length": "incomplete", "content_filter": "incomplete"}.get(reply.finish_reason, "completed")
    assert (expected, 1763800000) == (response["status"], response["created_at"])
    assert (expected == "completed") == (response["completed_at"] == 1763800002)
    assert len({item["id"] for item in response["output"]}) == len(response["output"])


@given(replies)
def test_output_comes_back_as_input(reply: Reply) -> None:
    """A stateless client sends the items as they are, and the calls' outputs: nothing that a provider needs is lost."""
    items = answer_to({}, reply)["output"]
    outputs = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "3"}
        for item in items
        if item["type"] == "function_call"
    ]
    body = {
        "model": "ask",
        "input": [{"role": "user", "content": "Hi"}, *items, *outputs, {"role": "user", "content": ""}],
    }

    messages = read_response_request(orjson.dumps(body), LIMITS, HEAD).messages

    assistant = [message for message in messages if message.role == "assistant"]
    if reply.content or reply.tool_calls:
        [turn] = assistant
        assert (reply.content or None, reply.tool_calls) == (turn.content, turn.tool_calls)
        wanted = tuple(block for block in reply.reasoning_blocks if block.signature or block.data)
        assert wanted == turn.reasoning


def test_failed_reply_has_failed() -> None:
    reply = Reply("chatcmpl-1", "gpt", "Hi", "error")

    response = check_response(answer_to({}, reply))

    assert ("failed", "server_error") == (response["status"], response["error"]["code"])


@pytest.mark.parametrize("finish_reason", ["stop", "tool_calls"])
def test_calls_alone_have_no_message(finish_reason: FinishReason) -> None:
    reply = Reply("chatcmpl-1", "gpt", None, finish_reason, tool_calls=(ToolCall("call_a", "add", "{}"),))

    assert ["function_call"] == [item["type"] for item in answer_to({}, reply)["output"]]


@pytest.mark.parametrize(
    ("error", "status", "param", "code"),
    [
        (SessionNotAccessible(), 400, "previous_response_id", "previous_response_not_found"),
        (SessionMovedOn(), 400, "previous_response_id", None),
        (SessionsNotEnabled(), 400, None, None),
        (SessionExpired(), 410, None, None),
        (CallsUnpaired(), 400, "input", None),
        (QuoteNotFound(), 400, "input", None),
    ],
)
def test_failures_of_sessions(error: GatewayError, status: int, param: str | None, code: str | None) -> None:
    refused = RESPONSES.refuse_lost_session(error) if isinstance(error, SessionNotAccessible) else error

    answer = RESPONSES.render_error(refused, HEAD.request_id)

    body = orjson.loads(answer.body)["error"]
    assert (status, "invalid_request_error", param, code) == (answer.status, body["type"], body["param"], body["code"])
    assert b"false" == dict(answer.headers())[b"x-should-retry"]


@pytest.mark.parametrize(
    ("what", "named"), [("response_format", "text.format"), ("logprobs", "include"), ("tools", "tools")]
)
def test_what_no_wire_takes_has_its_name_here(what: str, named: str) -> None:
    error = RESPONSES.refuse_unfit(NoFitCandidate([(what, "anthropic/claude")]))

    assert isinstance(error, ParameterUnsupported)
    assert f"{named}: {named} is not supported by anthropic/claude." == error.text


def test_content_that_no_wire_takes_stays_a_422() -> None:
    error = NoFitCandidate([("audio", "anthropic/claude")])

    assert error is RESPONSES.refuse_unfit(error)
