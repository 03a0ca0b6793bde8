"""Failures in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

The table is docs/surfaces.md, "Errors". An error that it does not name has its own status, the type
`invalid_request_error` below 500 and `api_error` from 500 on, and no code.

Source: OpenAI, API reference, "Error codes", and the SDKs' retries (openai-python, src/openai/_base_client.py), read
2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import orjson

from pg_trio.domain.limits import LimitState
from pg_trio.errors import (
    BudgetExhausted,
    BudgetWouldBeExceeded,
    CallerError,
    ContentCodingUnsupported,
    DeadlineExceeded,
    ForeignToken,
    GatewayError,
    GuardrailFailed,
    InjectionBlocked,
    InputInvalid,
    InputTooLong,
    InputTooShort,
    KeywordBlocked,
    MalformedToken,
    MissingScope,
    MissingToken,
    ModelNotFound,
    ModerationBlocked,
    OutOfResources,
    OutputInvalid,
    Overloaded,
    ParameterUnsupported,
    PiiBlocked,
    PreviousResponseNotFound,
    ProjectInactive,
    PromptLeaked,
    ProviderCallFailed,
    ProviderDisabled,
    RateLimited,
    RedactionRefused,
    SecretBlocked,
    ShuttingDown,
    TokenCapExceeded,
    UnknownToken,
    WebhookBlocked,
)
from pg_trio.surfaces.http_answer import HttpAnswer, Tries, make_failure
from pg_trio.surfaces.v1.model_limits import render_openai_limits

_Row = tuple[str, str | None]
_INVALID, _FAILED = "invalid_request_error", "api_error"
_POLICY: Final[_Row] = (_INVALID, "content_policy_violation")
_QUOTA: Final[_Row] = ("insufficient_quota", "budget_exceeded")
_KEY: Final[_Row] = (_INVALID, "invalid_api_key")
_DENIED: Final[_Row] = ("permission_error", "permission_denied")
_OVERLOADED: Final[_Row] = (_FAILED, "overloaded")

# The type and the code of each error that has its own.
ROWS: Mapping[type[GatewayError], _Row] = {
    MissingToken: _KEY,
    MalformedToken: _KEY,
    UnknownToken: _KEY,
    ForeignToken: _DENIED,
    MissingScope: _DENIED,
    ProjectInactive: _DENIED,
    ModelNotFound: (_INVALID, "model_not_found"),
    PreviousResponseNotFound: (_INVALID, "previous_response_not_found"),
    RateLimited: ("rate_limit_error", "rate_limit_exceeded"),
    TokenCapExceeded: _QUOTA,
    BudgetExhausted: _QUOTA,
    BudgetWouldBeExceeded: _QUOTA,
    PiiBlocked: _POLICY,
    RedactionRefused: _POLICY,
    PromptLeaked: _POLICY,
    GuardrailFailed: (_FAILED, "guardrail_unavailable"),
    InjectionBlocked: _POLICY,
    KeywordBlocked: _POLICY,
    SecretBlocked: _POLICY,
    InputTooLong: _POLICY,
    InputTooShort: _POLICY,
    WebhookBlocked: _POLICY,
    ModerationBlocked: _POLICY,
    InputInvalid: (_INVALID, "schema_violation"),
    OutputInvalid: (_FAILED, "schema_violation"),
    ProviderCallFailed: (_FAILED, "upstream_error"),
    DeadlineExceeded: ("timeout_error", "deadline_exceeded"),
    Overloaded: _OVERLOADED,
    OutOfResources: _OVERLOADED,
    ShuttingDown: _OVERLOADED,
    ProviderDisabled: (_FAILED, "provider_disabled"),
}

# A text that begins with a field's path: `messages[0].content: must be …`.
_FIELD = re.compile(r"([a-z_]+(?:\.[a-z_]+|\[\d+\])*): ")
# OpenAI's SDKs and the Vercel AI SDK wait so long, and prefer it to the whole seconds of `Retry-After`.
_MS = 1000
# An operator ends it, at a time that is not known. As long as the other failures of the gateway's own say.
_DISABLED_S = 1


def openai_error(error: GatewayError) -> dict[str, object]:
    """The error's object in OpenAI's shape."""
    kind, code = ROWS.get(type(error)) or (_INVALID if error.status < 500 else _FAILED, None)
    return {"error": {"message": error.text, "type": kind, "param": find_param(error), "code": code}}


def find_param(error: GatewayError) -> str | None:
    """The field of the request that the error is about; None if it is about no single field."""
    if isinstance(error, ModelNotFound):
        return "model"
    if error.status != 400 or not isinstance(error, CallerError) or isinstance(error, ContentCodingUnsupported):
        return None
    if isinstance(error, ParameterUnsupported):
        return error.reasons[0][0]
    found = _FIELD.match(error.text)
    return None if found is None else found[1]


def retry_fields(error: GatewayError) -> bytes:
    """The header lines for SDKs that repeat failed requests, and `Retry-After` where no one else adds it."""
    headers = error.headers()
    if isinstance(error, ProviderDisabled):
        # The Gateway API's contract has no field for it.
        return b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (_DISABLED_S, _DISABLED_S * _MS)
    if "Retry-After" in headers:
        return b"retry-after-ms: %d\r\n" % (int(headers["Retry-After"]) * _MS)
    if isinstance(error, ProviderCallFailed):
        return b"x-should-retry: false\r\n" if error.is_final else b""
    return b"x-should-retry: false\r\n" if isinstance(error, CallerError) and error.status != 408 else b""


def render_openai_error(
    error: GatewayError, request_id: UUID, limits: Sequence[LimitState] = (), tries: Tries | None = None
) -> HttpAnswer:
    """The answer of a failure, in OpenAI's shape."""
    answer = make_failure(error, request_id, limits, tries, orjson.dumps(openai_error(error)))
    return answer.with_fields(retry_fields(error) + render_openai_limits(limits))
