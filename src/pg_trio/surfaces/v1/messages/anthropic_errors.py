"""Failures in Anthropic's shape: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

The table is docs/surfaces.md, "Errors of Messages". A status of 400 and more that it does not name is
`invalid_request_error`, one of 500 and more `api_error`.

Source: Anthropic, "Errors", and the SDKs' retries (anthropic-sdk-python, src/anthropic/_base_client.py), read 2026-11.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import orjson

from pg_trio.domain.limits import LimitState
from pg_trio.errors import GatewayError, Overloaded
from pg_trio.surfaces.http_answer import HttpAnswer, Tries, make_failure
from pg_trio.surfaces.v1.messages.message_answer import id_field
from pg_trio.surfaces.v1.model_limits import render_anthropic_limits
from pg_trio.surfaces.v1.openai_errors import retry_fields

# Anthropic's own status for "overloaded", and the type that goes with it.
OVERLOADED_STATUS = 529
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED_STATUS: "overloaded_error",
}


def anthropic_status(error: GatewayError) -> int:
    """The status that the error has here: 529 where the gateway sheds load."""
    return OVERLOADED_STATUS if isinstance(error, Overloaded) else error.status


def anthropic_error(error: GatewayError, request_id: UUID) -> dict[str, object]:
    """The error's object in Anthropic's shape."""
    status = anthropic_status(error)
    kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.text}, "request_id": str(request_id)}


def render_anthropic_error(
    error: GatewayError, request_id: UUID, limits: Sequence[LimitState] = (), tries: Tries | None = None
) -> HttpAnswer:
    """The answer of a failure, in Anthropic's shape."""
    made = make_failure(error, request_id, limits, tries, orjson.dumps(anthropic_error(error, request_id)))
    fields = made.fields + id_field(request_id) + retry_fields(error) + render_anthropic_limits(limits, time.time())
    return HttpAnswer(anthropic_status(error), fields, made.body)
