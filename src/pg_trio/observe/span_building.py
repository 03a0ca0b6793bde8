"""A request's spans, as plain values, from what the exporting process is told of it.

Rules:
1. One SERVER span a request. Below it, if a candidate was considered, one INTERNAL span for the logical operation with
   all its calls, and below that one CLIENT span a call. Names and attributes are those of the GenAI conventions
   (gen-ai-spans.md, 2026-11) and of HTTP's; ours begin with `pg_trio.`.
2. A candidate that was not called has no span: it is an event of the INTERNAL span.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.secret import mask_client_text
from pg_trio.domain.trace_context import OPERATION_SPAN, SERVER_SPAN, RequestTrace, TraceContext
from pg_trio.observe.operation import operation_of, provider_name, route_of
from pg_trio.observe.trace_facts import ASKED, CONTENT, Servers, TraceFacts

Span: TypeAlias = dict[str, Any]
Attributes: TypeAlias = dict[str, Any]


def find_trace(facts: TraceFacts) -> RequestTrace:
    """The trace of a request, with the ids that its calls were told."""
    parent = None if facts.traceparent is None else TraceContext.read(facts.traceparent)
    return RequestTrace(UUID(facts.request_id), 0.0, parent)


def build_spans(facts: TraceFacts, servers: Servers) -> list[Span]:
    """The request's spans, the SERVER span first."""
    rows, began_ns, trace = facts.attempts, int(facts.at * 1e9), find_trace(facts)
    spans = [_build_server(facts, trace)]
    if rows:
        spans.append(_build_operation(facts, trace, rows))
    spans += [_build_call(facts, trace, row, servers) for row in rows if row.is_try]
    for span in spans:
        for name in ("start", "end"):
            span[name] = began_ns + int(span[name] * 1e6)
        span["events"] = [(name, began_ns + int(at_ms * 1e6), more) for name, at_ms, more in span["events"]]
    return spans


def _build_server(facts: TraceFacts, trace: RequestTrace) -> Span:
    route = route_of(facts.surface)
    path = route.replace("{project}", mask_client_text(facts.project)).replace("{endpoint}", _name(facts))
    attributes: Attributes = {
        "http.request.method": "POST",
        "http.route": route,
        "url.path": path,
        "url.scheme": "http",
        "http.response.status_code": facts.status,
        "pg_trio.request_id": facts.request_id,
        "pg_trio.outcome": facts.kind,
        "pg_trio.surface": facts.surface,
    }
    if facts.project_slug is not None:
        attributes["pg_trio.project"] = facts.project_slug
    if facts.endpoint is not None:
        attributes["pg_trio.endpoint"] = facts.endpoint
    if facts.client_address is not None:
        attributes["client.address"] = facts.client_address
    if facts.code is not None:
        # A client's own mistake is no error of the server's (HTTP conventions).
        attributes["error.type" if facts.status >= 500 else "pg_trio.error"] = facts.code
    parent = None if trace.parent is None else trace.parent.parent_id
    span = _span(f"POST {route}", "SERVER", trace.span_id(SERVER_SPAN), parent, attributes)
    span["end"] = facts.latency_ms
    span["error"] = facts.text if facts.status >= 500 else None
    return span


def _build_operation(facts: TraceFacts, trace: RequestTrace, rows: Sequence[AttemptRow]) -> Span:
    operation, slug = operation_of(facts.surface), _name(facts)
    attributes: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider_name(rows[-1].provider if facts.provider is None else facts.provider),
        "gen_ai.request.model": slug,
        "pg_trio.attempts": len([row for row in rows if row.is_try]),
        **_describe_result(facts),
        **_name_given(ASKED, facts.asked),
        **_name_given(CONTENT, facts.content),
    }
    if facts.cost_nano_usd is not None:
        attributes["pg_trio.cost_usd"] = facts.cost_nano_usd / 1e9
    if facts.code is not None:
        attributes["error.type"] = facts.code
    span = _span(
        f"{operation} {slug}", "INTERNAL", trace.span_id(OPERATION_SPAN), trace.span_id(SERVER_SPAN), attributes
    )
    span["start"], span["end"] = min(row.started_ms for row in rows), max(row.ended_ms for row in rows)
    span["error"] = facts.text if facts.code is not None and facts.status >= 499 else None
    span["events"] = [
        ("pg_trio.candidate.skipped", row.started_ms, {**_name_candidate(row), "pg_trio.attempt.reason": row.why})
        for row in rows
        if not row.is_try
    ]
    if facts.first_token_ms is not None:
        span["events"].append(("gen_ai.first_token", facts.first_token_ms, {}))
    return span


def _build_call(facts: TraceFacts, trace: RequestTrace, row: AttemptRow, servers: Servers) -> Span:
    kind, operation = row.kind, operation_of(facts.surface)
    address, port = servers.get(row.credential, ("", 0))
    attributes: Attributes = {
        "gen_ai.operation.name": operation,
        **_name_candidate(row),
        "server.address": address,
        "server.port": port,
        "pg_trio.attempt.outcome": kind,
        "pg_trio.attempt.hedge": row.is_hedge,
        "pg_trio.credential": row.credential,
    }
    if row.why:
        attributes["pg_trio.attempt.reason"] = row.why
    if kind in ("lost", "cancelled"):
        attributes["error.type"] = "cancelled"
    elif kind == "failed":
        attributes["error.type"] = row.why or "failed"
    if kind == "won":
        attributes |= _describe_result(facts)
        if facts.reply_id:
            attributes["gen_ai.response.id"] = facts.reply_id
    span_id = trace.call_id(row.credential, row.model, round(row.started_ms * 1000))
    span = _span(f"{operation} {row.model}", "CLIENT", span_id, trace.span_id(OPERATION_SPAN), attributes)
    span["start"], span["end"] = row.started_ms, row.ended_ms
    span["error"] = row.outcome if kind == "failed" else None
    if row.first_token_ms is not None:
        span["events"] = [("gen_ai.first_token", row.first_token_ms, {})]
    return span


def _span(name: str, kind: str, span_id: str, parent: str | None, attributes: Attributes) -> Span:
    """A span whose times are milliseconds since the request's head until it is finished."""
    return {
        "name": name,
        "kind": kind,
        "id": span_id,
        "parent": parent,
        "start": 0.0,
        "end": 0.0,
        "attributes": attributes,
        "events": [],
        "error": None,
    }


def _name(facts: TraceFacts) -> str:
    return mask_client_text(facts.slug) if facts.endpoint is None else facts.endpoint


def _name_candidate(row: AttemptRow) -> Attributes:
    return {"gen_ai.provider.name": provider_name(row.provider), "gen_ai.request.model": row.model}


def _name_given(names: Sequence[str], values: Sequence[Any] | None) -> Attributes:
    """The values that there are, by their names."""
    return {name: value for name, value in zip(names, values or (), strict=False) if value is not None}


def _describe_result(facts: TraceFacts) -> Attributes:
    """What the operation and the call that won have in common: the answer's model, tokens and end."""
    found: Attributes = {}
    if facts.model is not None:
        found["gen_ai.response.model"] = facts.model
    if facts.usage is not None:
        asked, answered, *parts = facts.usage
        found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"] = asked, answered
        found |= {name: count for name, count in zip(_PARTS, parts, strict=True) if count}
    if facts.finish_reason is not None:
        found["gen_ai.response.finish_reasons"] = [facts.finish_reason]
    return found


# The tokens that are parts of others: cached, written to the cache, of reasoning.
_PARTS = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
)
