"""The `response` object of the Responses API: of whole answers, and of the first and last events of streams.

Rules:
1. Every field that OpenAI's types demand is there, also if it is null.
2. The fields of the request are echoed as the client sent them, with OpenAI's defaults for the rest. `temperature` and
   `top_p` are null where the client sends none, because the provider's own default holds.
3. `truncation` is `disabled` and `service_tier` null, whatever was asked for, because these say what was done.
4. The items of a failed or incomplete response that are not whole have the status `incomplete`.

Source: OpenAI's openapi.yaml, Response and ResponseUsage, and the types of openai-python 3.57, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pg_trio.domain.chat import FinishReason, Json, JsonObject, Usage
from pg_trio.domain.value import value
from pg_trio.errors import CallerError, GatewayError, RateLimited

ResponseStatus: TypeAlias = Literal["in_progress", "completed", "incomplete", "failed"]
Item: TypeAlias = dict[str, object]

_STATUSES: dict[FinishReason, ResponseStatus] = {
    "length": "incomplete",
    "content_filter": "incomplete",
    "error": "failed",
}
_INCOMPLETE_REASONS: dict[FinishReason, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
_TOOL_FIELDS = ("name", "description", "parameters", "strict")


@value(slots=True)
class ResponseHead:
    """What stays the same in all objects of one response. `created_s` is Unix seconds, `body` the request's."""

    id: str
    created_s: int
    model: str
    body: JsonObject


@value(slots=True)
class ResponseEnd:
    """How a response ended. `ended_s` is Unix seconds; None unless it is complete. `usage` is None if it failed."""

    status: ResponseStatus
    incomplete_reason: str | None = None
    error: GatewayError | None = None
    usage: Usage | None = None
    ended_s: int | None = None


IN_PROGRESS = ResponseEnd("in_progress")


def end_of(finish_reason: FinishReason, usage: Usage, ended_s: int) -> ResponseEnd:
    """The end of an answer that came whole."""
    status = status_of(finish_reason)
    return ResponseEnd(
        status,
        incomplete_reason=_INCOMPLETE_REASONS.get(finish_reason),
        usage=usage,
        ended_s=ended_s if status == "completed" else None,
    )


def status_of(finish_reason: FinishReason) -> ResponseStatus:
    """The status of a response that ended for this reason."""
    return _STATUSES.get(finish_reason, "completed")


def response_object(head: ResponseHead, output: Sequence[Item], end: ResponseEnd) -> dict[str, object]:
    """The object."""
    reason = end.incomplete_reason
    return {
        "id": head.id,
        "object": "response",
        "created_at": head.created_s,
        "status": end.status,
        "background": False,
        "completed_at": end.ended_s,
        "error": _error_object(end.error) if end.status == "failed" else None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "model": head.model,
        "output": output,
        **_echo(head.body),
        "service_tier": None,
        "truncation": "disabled",
        "usage": None if end.usage is None else _usage_object(end.usage),
    }


def _echo(body: JsonObject) -> dict[str, object]:
    """The request's own fields."""
    given = {field: _given(body, field, otherwise) for field, otherwise in _ECHOED.items()}
    reasoning, text = _given(body, "reasoning", {}), _given(body, "text", {})
    verbosity = text.get("verbosity")
    return {
        **given,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "text": {
            "format": _echo_format(text.get("format") or {"type": "text"}),
            **({} if verbosity is None else {"verbosity": verbosity}),
        },
        "tools": [
            {"type": "function"} | {field: tool.get(field) for field in _TOOL_FIELDS}
            for tool in _given(body, "tools", [])
        ],
    }


# The echoed fields, with what is echoed where the client sends none.
_ECHOED: dict[str, object] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": None,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": None,
    "user": None,
}


def _given(body: JsonObject, field: str, otherwise: Json) -> Json:
    given = body.get(field)
    return otherwise if given is None else given


def _echo_format(given: JsonObject) -> dict[str, object]:
    known = ("type", "name", "description", "schema", "strict")
    return {field: given[field] for field in known if given.get(field) is not None}


def _usage_object(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _error_object(error: GatewayError | None) -> dict[str, object]:
    """The error of a failed response. OpenAI's types know these codes only."""
    if error is None:
        return {"code": "server_error", "message": "The provider ended its answer with an error."}
    code = "invalid_prompt" if isinstance(error, CallerError) else "server_error"
    return {"code": "rate_limit_exceeded" if isinstance(error, RateLimited) else code, "message": error.text}
