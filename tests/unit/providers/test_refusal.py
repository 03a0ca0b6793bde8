"""Failure statuses: what is passed on of them, and for how long a candidate is put aside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.secret import Secret
from pg_trio.errors import UpstreamRefused
from pg_trio.providers.refusal import read_refusal
from pg_trio.providers.retry_after import RETRY_AFTER_LIMIT_S, read_limit_reset, read_retry_after

KEY = "0a1b2c3d4e5f60718293"
CANDIDATE = Candidate(Credential("main", "openai", "https://api.openai.com/v1", Secret(KEY)), "gpt-4o-mini")
KEYLESS = Candidate(Credential("local", "ollama", "http://localhost:11434/v1"), "llama3.2")
NOON = 1_795_348_800.0  # Sun, 22 Nov 2026 12:00:00 GMT


def refusal(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> UpstreamRefused:
    return read_refusal(status, headers or {}, body, CANDIDATE, now_s=NOON)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"message":"Rate limit reached"}}', "HTTP 429: Rate limit reached"),
        (b'{"error":"busy"}', "HTTP 429: busy"),
        (b'{"message":"slow down"}', "HTTP 429: slow down"),
        (b'{"detail":"not now"}', "HTTP 429: not now"),
        (b'{"detail":[{"loc":["body","model"],"msg":"Field required"}]}', "HTTP 429: body.model: Field required"),
        (b'{"detail":[{"msg":"Field required"}]}', "HTTP 429: Field required"),
        (b'{"detail":[{"loc":["body"]}]}', "HTTP 429"),
        (b'{"detail":[]}', "HTTP 429"),
        (b'{"error":{"error":{"error":{"message":"deep"}}}}', "HTTP 429: deep"),
        (b'{"error":{"message":null},"message":"x"}', "HTTP 429: x"),
        (b'{"error":{"code":7}}', "HTTP 429"),
        (b'{"error":null,"message":"still"}', "HTTP 429: still"),
        (b'{"error":true,"message":"still"}', "HTTP 429: still"),
        (b'"just a string"', "HTTP 429: just a string"),
        (b"[1]", "HTTP 429"),
        (b"null", "HTTP 429"),
        (b"", "HTTP 429"),
        (b"upstream connect error\r\nreset: overflow", "HTTP 429: upstream connect error reset: overflow"),
        (b'{"error":{"message":"cut sho', "HTTP 429: cut sho"),
        (b'{"error":{"mess', "HTTP 429"),
        (b"\x1f\x8b\x08\x00\x00\x00", "HTTP 429"),
        (b"\xff\xfe\xfd\xfc", "HTTP 429"),
        (b"<!DOCTYPE html><title>Just a moment</title>", "HTTP 429: HTML page: Just a moment"),
        (b" \n<html>", "HTTP 429: HTML page"),
        (b"<html><head><title>\n 502 Bad Gateway\n</title>", "HTTP 429: HTML page: 502 Bad Gateway"),
        (b"<?xml version='1.0'?><Error><Code>X</Code><Message>Slow down</Message></Error>", "HTTP 429: Slow down"),
        (b'[{"error":{"code":429,"message":"Quota exceeded"}}]', "HTTP 429: Quota exceeded"),
        (b'{"title":"Not found","detail":"No such model","status":404}', "HTTP 429: Not found: No such model"),
        (b'{"type":"about:blank","title":"Too many requests"}', "HTTP 429: Too many requests"),
        (b'{"Message":"User is not authorized"}', "HTTP 429: User is not authorized"),
        (b'{"__type":"com.aws#ThrottlingException"}', "HTTP 429: com.aws#ThrottlingException"),
        (b'{"errors":[{"code":7003,"message":"No route"}],"success":false}', "HTTP 429: No route"),
        (b'{"errors":["a is missing","b is odd"]}', "HTTP 429: a is missing; b is odd"),
        (b'{"errors":{"model":["is unknown"]}}', "HTTP 429: is unknown"),
        (b'{"message":"Invalid","errors":[{"message":"model: unknown"}]}', "HTTP 429: Invalid: model: unknown"),
        (b'{"error":"SyntaxError","message":"Bad character","status":500}', "HTTP 429: Bad character"),
        (
            b'{"statusCode":413,"code":"FST","error":"Too Large","message":"Body is too large"}',
            "HTTP 429: Body is too large",
        ),
        (b'{"message":["messages must be an array"],"error":"Bad Request"}', "HTTP 429: messages must be an array"),
        (
            b'{"error":{"message":"Provider returned error","metadata":{"raw":"m is busy"}}}',
            "HTTP 429: Provider returned error: m is busy",
        ),
        (
            b'{"error":{"message":"Provider returned error","metadata":{"raw":"{\\"error\\":\\"x\\"}"}}}',
            "HTTP 429: Provider returned error: x",
        ),
        (b'{"error":{"message":{"detail":"nested"}}}', "HTTP 429: nested"),
        (b'{"error":{"message":"{\\"error\\":{\\"message\\":\\"inner\\"}}"}}', "HTTP 429: inner"),
        (b'{"error":"invalid_token","error_description":"It has expired"}', "HTTP 429: It has expired"),
        (b'{"base_resp":{"status_code":1004,"status_msg":"login fail"}}', "HTTP 429: login fail"),
        (b'{"Response":{"Error":{"Code":"X","Message":"No balance"},"RequestId":"1"}}', "HTTP 429: No balance"),
        (b'{"fault":{"faultstring":"Quota violated","detail":{"errorcode":"x"}}}', "HTTP 429: Quota violated"),
        (b'{"error_code":17,"error_msg":"Daily limit"}', "HTTP 429: Daily limit"),
        (b'{"error":{"code":"insufficient_quota"}}', "HTTP 429: insufficient_quota"),
        (b'{"data":null,"result":{"status":{"message":"deep down"}}}', "HTTP 429: deep down"),
        (b'{"detail":{"error":{"message":"FastAPI\'s own"}}}', "HTTP 429: FastAPI's own"),
        (b'{"detail":[{"loc":["a"],"msg":"x"},{"loc":["b",0],"msg":"y"}]}', "HTTP 429: a: x; b.0: y"),
        (b"{'detail': 'Python wrote this'}", "HTTP 429: Python wrote this"),
        (b'\xef\xbb\xbf{"error":{"message":"quota is used up"}}', "HTTP 429: quota is used up"),
        (b'{"error":{"message":"busy","load":NaN}}', "HTTP 429: busy"),
        (b'data: {"error":{"message":"too long"}}\n\ndata: [DONE]\n\n', "HTTP 429: too long"),
        (b'event: error\ndata: {"message":"too long"}\n\n', "HTTP 429: too long"),
        (b'error: {"message":"too long"}\n\n', "HTTP 429: too long"),
        (b'{"error":{"message":"","code":null},"detail":"still"}', "HTTP 429: still"),
        (b"x" * 1_100_000, "HTTP 429"),
    ],
)
def test_words_of_a_refusal(body: bytes, said: str) -> None:
    assert said == refusal(429, body).said


def test_html_by_its_content_type() -> None:
    assert "HTTP 503: HTML page" == refusal(503, b"Sorry", {"content-type": "Text/HTML; charset=utf-8"}).said


def test_key_is_masked() -> None:
    said = refusal(401, f'{{"error":{{"message":"Bad key {KEY} (sk-abcdefghijkl)"}}}}'.encode()).said

    assert "HTTP 401: Bad key [redacted] ([redacted])" == said


def test_candidate_without_key() -> None:
    assert "HTTP 500: oh" == read_refusal(500, {}, b'{"error":"oh"}', KEYLESS, now_s=NOON).said


def test_long_message_is_cut() -> None:
    said = refusal(500, b'{"error":"' + b"ab " * 10_000 + b'"}').said

    assert (500, "…") == (len(said), said[-1])


@pytest.mark.parametrize("status", [301, 307, 308, 401, 402, 403, 404, 408, 409, 425, 429, 500, 503, 529, 100])
def test_status_fails_over(status: int) -> None:
    assert (status, True) == (refusal(status, b"").upstream_status, refusal(status, b"").fails_over)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_malformed_request_does_not_fail_over(status: int) -> None:
    assert not refusal(status, b"").fails_over


def test_redirect_is_not_followed() -> None:
    refused = refusal(302, b"", {"location": "https://elsewhere.example/v1"})

    assert ("HTTP 302", True) == (refused.said, refused.fails_over)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e8"}, 3_600.0),
        ({"retry-after": "9" * 5000}, 3_600.0),
        ({"retry-after": "inf"}, 3_600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Sunday, 22-Nov-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun Nov 22 12:00:30 2026"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2027 12:00:00 GMT"}, 3_600.0),
        ({"retry-after": "Sun, 99 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 +99999999999999999999"}, None),
        ({"retry-after": "3600"}, 3_600.0),
        ({"retry-after": str(int(NOON) + 7)}, 7.0),
        ({"retry-after": f"{NOON + 7.5}"}, 7.5),
        ({"retry-after": str((int(NOON) + 7) * 1000)}, 7.0),
        ({"retry-after": str((int(NOON) + 7) * 10**6)}, 7.0),
        ({"retry-after": str((int(NOON) + 7) * 10**9)}, 7.0),
        ({"retry-after": str(int(NOON) - 7)}, 0.0),
        ({"retry-after": str(int(NOON) + 86_400)}, 3_600.0),
        ({"retry-after-ms": str((int(NOON) + 7) * 1000)}, 7.0),
        ({"retry-after": "2026-11-22T12:00:30Z"}, 30.0),
        ({"retry-after": "2026-11-22T13:00:30.5+01:00"}, 30.5),
        ({"retry-after": "2026-11-22 12:00:30"}, 30.0),
        ({"retry-after": "7s"}, 7.0),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "500ms"}, 0.5),
        ({"retry-after": "2 minutes"}, 120.0),
        ({"retry-after": "in 7 seconds"}, 7.0),
        ({"retry-after": "PT30S"}, 30.0),
        ({"retry-after": "1h"}, 3_600.0),
        ({"retry-after": "00:01:30"}, 90.0),
        ({"retry-after": '"7"'}, 7.0),
        ({"retry-after": "7, 7"}, 7.0),
        ({"retry-after": "7 apples"}, None),
        ({"retry-after": "never"}, None),
        ({"retry-after-ms": "6521"}, 6.521),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after-ms": "-1"}, 0.0),
        ({"retry-after-ms": "nan"}, None),
    ],
)
def test_wait_is_understood(headers: dict[str, str], wait_s: float | None) -> None:
    assert wait_s == read_retry_after(headers, NOON)


def test_refusal_carries_the_wait() -> None:
    assert refusal(503, b"", {"retry-after": "12"}).retry_after_s == 12.0


@given(st.floats(-1e6, 1e6), st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_moment_is_waited_for_in_any_unit(delay_s: float, unit: int) -> None:
    wait_s = read_retry_after({"retry-after": str(round((NOON + delay_s) * unit))}, NOON)

    assert wait_s == pytest.approx(min(max(delay_s, 0.0), 3_600.0), abs=1.0)


dates = st.from_regex(
    r"(Sun, )?[0-9]{1,3} (Nov|Feb|Foo) [0-9]{1,9} [0-9]{1,3}:[0-9]{1,3}(:[0-9]{1,3})? (GMT|[+-][0-9]{1,6})?"
)


@given(st.text() | dates, st.sampled_from(["retry-after", "retry-after-ms"]))
def test_any_wait_is_bounded(value: str, name: str) -> None:
    wait_s = read_retry_after({name: value}, NOON)

    assert wait_s is None or 0 <= wait_s <= 3_600


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "errors",
                    "message",
                    "detail",
                    "title",
                    "code",
                    "metadata",
                    "raw",
                    "loc",
                    "msg",
                    "Message",
                    "data",
                    "body",
                ]
            ),
            values,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from([400, 413, 422, 429, 500]))
def test_any_json_is_a_refusal(body: Any, status: int) -> None:
    refused = refusal(status, json.dumps(body).encode())

    assert refused.said.startswith(f"HTTP {status}")
    assert len(refused.said) <= 500


WORDS = st.text(st.characters(categories=["L"]), min_size=3, max_size=30).map(lambda text: f"w {text} w")
# How envelopes wrap a message; any of them may be in another.
ENVELOPES = [
    lambda said: {"error": said},
    lambda said: {"error": {"message": said, "code": 1}},
    lambda said: [{"error": said}],
    lambda said: {"message": said},
    lambda said: {"detail": said, "status": 400},
    lambda said: {"Message": said},
    lambda said: {"errors": [{"message": said}]},
    lambda said: {"error": "Bad Request", "message": said, "statusCode": 400},
    lambda said: {"response": {"body": {"error_message": said}}},
    lambda said: {"error": {"message": json.dumps({"detail": said})}},
    lambda said: {"error": {"message": "Provider returned error", "metadata": {"raw": said}}},
]


@given(WORDS, st.lists(st.sampled_from(ENVELOPES), max_size=3))
def test_reason_is_told_whatever_the_envelope(said: str, envelopes: list[Any]) -> None:
    body: Any = said
    for wrap in envelopes:
        body = wrap(body)

    assert said in refusal(500, json.dumps(body).encode()).said


@pytest.mark.parametrize(
    "body",
    [
        b"<h1>" + b" " * 60_000,
        b"<title " * 9_000,
        b"data:" + b" \t" * 400_000 + b"x",
        b"data:\n" * 100_000,
        b"{'message': '" + b"\\" * 4_000,
        json.dumps({"message": "model " + "x " * 30_000}).encode(),
        json.dumps({"message": "' 'a" * 30_000}).encode(),
        json.dumps({"message": "no " * 30_000 + "key"}).encode(),
    ],
)
def test_hostile_body_costs_its_size(body: bytes) -> None:
    # One that cost the square of its size would take minutes.
    assert refusal(400, body).said.startswith("HTTP 400")


def test_nested_without_end_costs_its_size() -> None:
    body = b'{"error":' * 900 + b"1" + b"}" * 900

    assert "HTTP 500" == refusal(500, body).said


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-amzn-errortype": "ThrottlingException"}, "HTTP 400: ThrottlingException"),
        ({"grpc-message": "no such model"}, "HTTP 400: no such model"),
        ({}, "HTTP 400"),
    ],
)
def test_words_of_a_header(headers: dict[str, str], said: str) -> None:
    assert said == refusal(400, b"", headers).said


# ── what a 400 concerns ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "concern"),
    [
        # Google, as OpenAI's endpoint and its own show it
        (
            {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"},
            "key",
        ),
        ({"code": 400, "message": "x", "details": [{"@type": "…ErrorInfo", "reason": "API_KEY_INVALID"}]}, "key"),
        ({"message": "API key expired. Please renew the API key."}, "key"),
        ({"message": "User location is not supported for the API use."}, "key"),
        (
            {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."},
            "context",
        ),
        # OpenAI, Azure
        ({"message": "Incorrect API key provided: sk-…", "code": "invalid_api_key"}, "key"),
        ({"message": "You exceeded your current quota", "type": "insufficient_quota"}, "credit"),
        ({"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"}, "credit"),
        ({"message": "The model `gpt-9` does not exist or you do not have access to it."}, "model"),
        ({"message": "x", "code": "context_length_exceeded"}, "context"),
        (
            {"message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."},
            "context",
        ),
        ({"code": "DeploymentNotFound", "message": "x"}, "model"),
        (
            {"code": "OperationNotSupported", "message": "The chatCompletion operation does not work with the model"},
            "model",
        ),
        # Anthropic
        (
            {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API."},
            "credit",
        ),
        ({"type": "invalid_request_error", "message": "You have reached your specified API usage limits."}, "credit"),
        ({"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"}, "context"),
        ({"type": "authentication_error", "message": "invalid x-api-key"}, "key"),
        # Groq, Mistral, Cohere, xAI, DeepSeek, Alibaba
        ({"message": "The model `m` has been decommissioned", "code": "model_decommissioned"}, "model"),
        ({"message": "The model `mixtral-8x7b` has been decommissioned and is no longer supported."}, "model"),
        ({"message": "Request too large for model `x` on tokens per minute (TPM): Limit 6000"}, "context"),
        ({"message": "Invalid model: mistral-gone", "type": "invalid_model", "code": "1500"}, "model"),
        ({"message": "Prompt contains 65673 tokens, too large for model with 32768 maximum context length"}, "context"),
        ({"message": "too many tokens: size limit exceeded by 11326 tokens"}, "context"),
        (
            {"message": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."},
            "context",
        ),
        ({"message": "Insufficient Balance"}, "credit"),
        (
            {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."},
            "credit",
        ),
        ({"message": "Range of input length should be [1, 30720]"}, "context"),
        # vLLM, llama.cpp, LiteLLM, Ollama, OpenRouter, Bedrock, TGI
        ({"message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096."}, "context"),
        ({"message": "request (6062 tokens) exceeds the available context size (4096 tokens)"}, "context"),
        ({"type": "exceed_context_size_error", "message": "x"}, "context"),
        (
            {"message": "{'error': '/chat/completions: Invalid model name passed in model=nosuch.'}", "type": "None"},
            "model",
        ),
        (
            {"message": "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", "type": "budget_exceeded"},
            "credit",
        ),
        ({"message": 'model "llama9" not found, try pulling it first'}, "model"),
        ({"message": "foo/bar is not a valid model ID", "code": 400}, "model"),
        ({"message": "This request requires more credits, or fewer max_tokens."}, "credit"),
        ({"message": "The provided model identifier is invalid."}, "model"),
        ({"__type": "com.amazon.coral.service#UnrecognizedClientException", "message": "x"}, "key"),
        ({"message": "The security token included in the request is invalid."}, "key"),
        ({"message": "`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000"}, "context"),
        ({"message": "Input is too long for requested model."}, "context"),
        # the request's own
        (
            {"message": "Invalid type for 'messages[0].content': expected a string", "type": "invalid_request_error"},
            None,
        ),
        ({"message": "Unsupported parameter: 'max_tokens' is not supported with this model.", "code": "x"}, None),
        ({"message": "'temperature' does not support 0.2 with this model."}, None),
        ({"message": "m does not support tools"}, None),
        ({"message": "Invalid schema for function 'look_up'"}, None),
        ({"message": "messages must not be empty", "type": "invalid_request_error", "param": "model"}, None),
        ({"message": 'Unknown field "api key not valid" in request'}, None),
        ({"message": "role 'credit balance is too low' is not one of user, assistant"}, None),
        ({"message": "Invalid JSON"}, None),
        ({}, None),
    ],
)
def test_what_a_400_concerns(error: dict[str, Any], concern: str | None) -> None:
    for body in ({"error": error}, error, [{"error": error}]):
        refused = refusal(400, json.dumps(body).encode())

        assert (concern, concern is not None) == (refused.concerns, refused.fails_over)


@pytest.mark.parametrize("status", [413, 422])
def test_context_of_other_statuses(status: int) -> None:
    assert "context" == refusal(status, b'{"error":{"code":"tokens_limit_reached"}}').concerns


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_other_statuses_speak_for_themselves(status: int) -> None:
    assert refusal(status, b'{"error":{"code":"insufficient_quota"}}').concerns is None


def test_request_that_is_repeated_concerns_nobody() -> None:
    body = {
        "detail": [{"type": "missing", "loc": ["body"], "msg": "Field required", "input": {"code": "invalid_api_key"}}]
    }

    assert refusal(422, json.dumps(body).encode()).concerns is None


# ── a provider's own rate limits ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"x-ratelimit-limit-requests": "60"}, None),
        ({"x-ratelimit-reset-requests": "soon"}, None),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-reset": "30"}, 30),
        ({"ratelimit-reset": "30", "ratelimit-remaining": "0"}, 30),
        # What is spent counts, and the last of it.
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "8.64s",
                "x-ratelimit-remaining-tokens": "120",
                "x-ratelimit-reset-tokens": "200ms",
            },
            8.64,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "7s",
            },
            7,
        ),
        # Nothing is spent: the request is too large for what is left.
        (
            {
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "9s",
                "x-ratelimit-remaining-tokens": "120",
                "x-ratelimit-reset-tokens": "7s",
            },
            7,
        ),
        # Noon is where the clock stands.
        (
            {
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-22T12:00:40Z",
                "anthropic-ratelimit-requests-remaining": "48",
                "anthropic-ratelimit-requests-reset": "2026-11-22T12:00:01Z",
            },
            40,
        ),
        ({"x-ratelimit-reset-requests": "23h59m"}, RETRY_AFTER_LIMIT_S),
        ({"anthropic-ratelimit-tokens-reset": "2001-01-01T00:00:00Z"}, 0),
    ],
)
def test_pause_of_a_provider_s_own_limits(headers: dict[str, str], wait_s: float | None) -> None:
    found = read_limit_reset(headers, NOON)

    assert found == (None if wait_s is None else pytest.approx(min(max(wait_s, 0), RETRY_AFTER_LIMIT_S)))


@pytest.mark.parametrize(("status", "more", "wait_s"), [(429, {}, 9), (429, {"retry-after": "2"}, 2), (503, {}, None)])
def test_own_limits_count_for_a_429_without_retry_after(
    status: int, more: dict[str, str], wait_s: float | None
) -> None:
    headers = {"x-ratelimit-reset-requests": "9s", **more}

    assert wait_s == read_refusal(status, headers, b"", CANDIDATE, now_s=NOON).retry_after_s
