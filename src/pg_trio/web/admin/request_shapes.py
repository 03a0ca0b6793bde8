"""Rows of the log as the admin API shows them. Fields are listed, so that a new field of a row is not shown by mistake.

Rules:
1. Stages follow one another. Their durations are known and the time of the request's end, so they are placed backwards
   from it; what is left before the first is the wait for admission.
2. An attempt's `outcome` is one word, `reason` says why in a few words. What the provider said is in the row's `error`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from pg_trio.domain.guardrails import describe_verdicts
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.domain.project import Project, Token
from pg_trio.domain.request_filter import Texts

NANO = 1e9


class Names(Protocol):
    """What a row names by an id."""

    @property
    def projects(self) -> Mapping[UUID, Project]: ...

    @property
    def tokens(self) -> Mapping[int, Token]: ...


def describe_request(row: LogRow, names: Names) -> dict[str, Any]:
    """A row of the list."""
    project = names.projects.get(row.project_uuid) if row.project_uuid else None
    token = names.tokens.get(row.token_id) if row.token_id is not None else None
    shown: dict[str, Any] = {
        "request_id": str(row.request_id),
        "at": row.at,
        "project": row.project_uuid and str(row.project_uuid),
        "project_slug": project and project.slug,
        "endpoint": row.endpoint_slug,
        "surface": row.surface,
        "token": token and token.name,
        "token_id": row.token_id,
        "subject": row.subject,
        "provider": row.provider,
        "model": row.model,
        "status": row.status,
        "outcome": outcome_of_row(row),
        "error": row.error,
        "error_code": row.error_code,
        "latency_ms": row.latency_ms,
        "first_token_ms": row.first_token_ms,
        "usage": describe_usage(row),
        "cost_usd": None if row.cost_nano_usd is None else row.cost_nano_usd / NANO,
        "attempts_count": sum(attempt.is_try for attempt in row.attempts),
        "hedge_won": row.hedge_won,
    }
    if row.node is not None:
        shown["node"] = row.node
    return shown


def describe_whole_request(row: LogRow, names: Names) -> dict[str, Any]:
    """One request, with its stages, its attempts and its bodies."""
    return {
        **describe_request(row, names),
        "client_token": row.client_token,
        "client_request_id": row.client_request_id,
        "client_address": row.client_address,
        "price": row.price,
        "deadline_ms": row.deadline_ms,
        "guardrails": describe_verdicts(row.guardrails),
        "stages": place_stages(row),
        "attempts": [describe_attempt(attempt) for attempt in row.attempts],
        "request_body": None if row.request_body is None else json.loads(row.request_body),
        "response_body": None if row.response_body is None else json.loads(row.response_body),
    }


# The fields of an answer's usage.
USAGE_FIELDS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


def describe_usage(row: LogRow) -> dict[str, int] | None:
    """The tokens of an answer; None without one."""
    if row.prompt_tokens is None or row.completion_tokens is None:
        return None
    return {
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "total_tokens": row.prompt_tokens + row.completion_tokens,
        "cached_tokens": row.cached_tokens,
        "cache_write_tokens": row.cache_write_tokens,
        "reasoning_tokens": row.reasoning_tokens,
    }


def place_stages(row: LogRow) -> list[dict[str, Any]]:
    """The stages on the request's time axis (rule 1)."""
    durations: dict[str, float] = json.loads(row.stages)
    start_ms = max(0.0, row.latency_ms - sum(durations.values()))
    placed = []
    for name, duration_ms in durations.items():
        end_ms = start_ms + duration_ms
        placed.append({"name": name, "start_ms": round(start_ms, 3), "end_ms": round(end_ms, 3)})
        start_ms = end_ms
    return placed


def describe_attempt(attempt: AttemptRow) -> dict[str, Any]:
    """One attempt on the request's time axis (rule 2)."""
    outcome = attempt.outcome
    if attempt.kind == "won":
        reason = None
    elif attempt.kind == "lost":
        reason = "another won"
    else:
        reason = attempt.why or outcome.partition(": ")[2] or outcome
    return {
        "provider": attempt.provider,
        "model": attempt.model,
        "credential": attempt.credential,
        "outcome": attempt.kind,
        "reason": reason,
        "is_hedge": attempt.is_hedge,
        "start_ms": attempt.started_ms,
        "end_ms": attempt.ended_ms,
        "first_token_ms": attempt.first_token_ms,
    }


def outcome_of_row(row: LogRow) -> str:
    """The class of a request's end; of rows that older releases wrote, only whether it failed."""
    return row.outcome or ("ok" if row.error_code is None else "error")


def texts_of_row(row: LogRow, names: Names) -> Texts:
    """The texts that the words of a filter are compared with."""
    token = names.tokens.get(row.token_id) if row.token_id is not None else None
    token_texts: tuple[str | None, ...] = () if token is None else token_texts_of(token)
    bare = (row.endpoint_slug, row.provider, row.model, row.error, row.error_code, *token_texts[:1])
    return {
        "status": (row.outcome,),
        "provider": (row.provider,),
        "model": (row.model,),
        "endpoint": (row.endpoint_slug,),
        "error": (row.error, row.error_code),
        "token": token_texts,
        "subject": (row.subject,),
        "bare": bare,
        "id": (row.request_id.hex,),
    }


def token_texts_of(token: Token) -> tuple[str, str, str]:
    """The texts of a token that a filter finds it by; a bare word only by the first, its name."""
    return token.name, token.prefix, str(token.id)
