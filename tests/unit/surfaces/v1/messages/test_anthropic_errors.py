"""Failures in Anthropic's shape: every error of the gateway's has one of Anthropic's types."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import orjson
import pytest

from pg_trio import errors
from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.errors import GatewayError
from pg_trio.surfaces.v1.messages import MESSAGES
from tests.support.anthropic_types import check_failure

INVALID = "invalid_request_error"
ROWS: list[tuple[GatewayError, int, str]] = [
    (errors.MissingToken(), 401, "authentication_error"),
    (errors.MalformedToken(), 401, "authentication_error"),
    (errors.UnknownToken(), 401, "authentication_error"),
    (errors.ForeignToken(), 403, "permission_error"),
    (errors.MissingScope("chat", ["models"]), 403, "permission_error"),
    (errors.ProjectInactive(), 403, "permission_error"),
    (errors.ModelsNotServed(), 400, INVALID),
    (errors.ModelNotFound("m", ["n"]), 404, "not_found_error"),
    (errors.RouteNotFound(), 404, "not_found_error"),
    (errors.MethodNotAllowed(["POST"]), 405, INVALID),
    (errors.BadRequest("messages: is required."), 400, INVALID),
    (errors.BodyTooLarge(7), 413, INVALID),
    (errors.BodyTooSlow(7), 408, INVALID),
    (errors.ContentCodingUnsupported("gzip"), 415, INVALID),
    (errors.RateLimited("minute", 7), 429, "rate_limit_error"),
    (errors.TokenCapExceeded(9, 8), 422, INVALID),
    (errors.BudgetExhausted(Decimal(1), Decimal(1)), 422, INVALID),
    (errors.KeywordBlocked("foo"), 422, INVALID),
    (errors.NoFitCandidate([("audio", "openai/m")]), 422, INVALID),
    (errors.ParameterUnsupported([("tools", "openai/m")]), 400, INVALID),
    (errors.SessionExpired(), 410, INVALID),
    (errors.ProviderCallFailed("no"), 502, "api_error"),
    (errors.OutputInvalid("$", "no"), 502, "api_error"),
    (errors.DeadlineExceeded(7), 504, "timeout_error"),
    (errors.ProviderDisabled("openai"), 503, "api_error"),
    (errors.TokensUnavailable(), 503, "api_error"),
    (errors.Overloaded(7), 529, "overloaded_error"),
    (errors.OutOfResources(), 529, "overloaded_error"),
    (errors.InternalError(), 500, "api_error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), ROWS, ids=[type(error).__name__ for error, _, _ in ROWS])
def test_error_has_anthropics_type(error: GatewayError, status: int, kind: str) -> None:
    answer = MESSAGES.render_error(error, UUID(int=7))

    shape = orjson.loads(answer.body)
    assert (status, kind, error.text) == (answer.status, shape["error"]["type"], shape["error"]["message"])
    assert str(UUID(int=7)) == check_failure(shape).request_id == dict(answer.headers())[b"request-id"].decode()


@pytest.mark.parametrize(
    ("error", "retries", "after"),
    [
        (errors.BudgetExhausted(Decimal(1), Decimal(1)), b"false", None),
        (errors.BadRequest("x"), b"false", None),
        (errors.DeadlineExceeded(7), b"false", None),
        (errors.RateLimited("minute", 7), None, b"7"),
        (errors.Overloaded(7), None, b"7"),
        (errors.ProviderCallFailed("no"), None, None),
        (errors.BodyTooSlow(7), None, None),
    ],
    ids=lambda given: type(given).__name__,
)
def test_sdks_are_told_whether_a_retry_helps(error: GatewayError, retries: bytes | None, after: bytes | None) -> None:
    headers = MESSAGES.render_error(error, UUID(int=7)).headers()

    fields = dict(headers)
    assert (retries, after) == (fields.get(b"x-should-retry"), fields.get(b"retry-after"))
    assert len(fields) == len(headers)


def test_limits_are_in_anthropics_fields() -> None:
    states = [LimitState(LimitPolicy("minute", 60, 60), 0, 1)]

    fields = dict(MESSAGES.render_error(errors.RateLimited("minute", 1), UUID(int=7), states).headers())

    assert (b"60", b"0") == (
        fields[b"anthropic-ratelimit-requests-limit"],
        fields[b"anthropic-ratelimit-requests-remaining"],
    )
