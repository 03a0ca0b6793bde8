"""A request's spans, as plain values, from its record: made at the request's end.

Rules:
1. One SERVER span a request. Below it, if a candidate was considered, one INTERNAL span for the logical operation with
   all its calls, and below that one CLIENT span a call. Names and attributes are those of the GenAI conventions
   (gen-ai-spans.md, 2026-11) and of HTTP's; ours begin with `pg_trio.`.
2. A candidate that was not called has no span: it is an event of the INTERNAL span.
3. Texts of prompts and answers are attributes only where `capture_content` says so. A prompt that no guardrail has
   passed is never one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from attrs import frozen

from pg_trio.domain.chat import ChatRequest, Reply, Usage
from pg_trio.domain.log_body import BodyBudget
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.project import Credential
from pg_trio.domain.secret import mask_client_text
from pg_trio.domain.trace_context import OPERATION_SPAN, SERVER_SPAN, RequestTrace
from pg_trio.observe.operation import operation_of, provider_name, route_of
from pg_trio.recorder import RequestOutcome, RequestRecord

Span: TypeAlias = dict[str, Any]
Attributes: TypeAlias = dict[str, Any]

# 16,384 characters of texts for each attribute, as the log keeps of a body by default.
CONTENT_CHARS = 16_384


@frozen(eq=False)
class SpanBuilder:
    """Builds spans. `servers` are the addresses and ports of credentials, by their names."""

    servers: Mapping[str, tuple[str, int]]
    captures_content: bool = False

    @classmethod
    def of(cls, credentials: Iterable[Credential], *, captures_content: bool) -> SpanBuilder:
        """For the calls with these credentials."""
        return cls({one.name: find_server(one.base_url) for one in credentials}, captures_content)

    def build(self, record: RequestRecord, outcome: RequestOutcome, trace: RequestTrace) -> list[Span]:
        """The request's spans, the SERVER span first."""
        rows = record.attempts.rows
        began_ns = int(record.head.at * 1e9)
        spans = [self._build_server(record, outcome, trace)]
        if rows:
            spans.append(self._build_operation(record, outcome, trace, rows))
        spans += [self._build_call(record, trace, row) for row in rows if row.is_try]
        for span in spans:
            for name in ("start", "end"):
                span[name] = began_ns + int(span[name] * 1e6)
            span["events"] = [(name, began_ns + int(at_ms * 1e6), more) for name, at_ms, more in span["events"]]
        return spans

    def _build_server(self, record: RequestRecord, outcome: RequestOutcome, trace: RequestTrace) -> Span:
        head = record.head
        route = route_of(head.origin.surface)
        attributes: Attributes = {
            "http.request.method": "POST",
            "http.route": route,
            "url.path": route.replace("{project}", mask_client_text(head.project)).replace("{endpoint}", _slug(record)),
            "url.scheme": "http",
            "http.response.status_code": outcome.status,
            "pg_trio.request_id": str(head.request_id),
            "pg_trio.outcome": outcome.kind,
            "pg_trio.surface": head.origin.surface,
        }
        if record.caller is not None:
            attributes["pg_trio.project"] = record.caller.project.slug
        if record.endpoint is not None:
            attributes["pg_trio.endpoint"] = record.endpoint.slug
        if head.origin.client_address is not None:
            attributes["client.address"] = head.origin.client_address
        if outcome.code is not None:
            # A client's own mistake is no error of the server's (HTTP conventions).
            attributes["error.type" if outcome.status >= 500 else "pg_trio.error"] = outcome.code
        parent = None if trace.parent is None else trace.parent.parent_id
        span = _span(f"POST {route}", "SERVER", trace.span_id(SERVER_SPAN), parent, attributes)
        span["end"] = record.latency_ms
        span["error"] = outcome.text if outcome.status >= 500 else None
        return span

    def _build_operation(
        self, record: RequestRecord, outcome: RequestOutcome, trace: RequestTrace, rows: Sequence[AttemptRow]
    ) -> Span:
        operation, slug = operation_of(record.head.origin.surface), _slug(record)
        settled = record.settled
        winner = None if settled is None else settled.candidate
        provider = rows[-1].provider if winner is None else winner.provider
        attributes: Attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider_name(provider),
            "gen_ai.request.model": slug,
            "pg_trio.attempts": len([row for row in rows if row.is_try]),
        }
        if settled is not None and settled.model is not None:
            attributes["gen_ai.response.model"] = settled.model
        if settled is not None and settled.usage is not None:
            attributes |= _describe_usage(settled.usage)
        if settled is not None and settled.cost_nano_usd is not None:
            attributes["pg_trio.cost_usd"] = settled.cost_nano_usd / 1e9
        if isinstance(record.request, ChatRequest):
            attributes |= _describe_request(record.request)
        if isinstance(record.reply, Reply):
            attributes["gen_ai.response.finish_reasons"] = [record.reply.finish_reason]
        if self.captures_content:
            attributes |= self._describe_content(record)
        if outcome.code is not None:
            attributes["error.type"] = outcome.code
        span = _span(f"{operation} {slug}", "INTERNAL", trace.span_id(OPERATION_SPAN), trace.span_id(0), attributes)
        span["start"], span["end"] = min(row.started_ms for row in rows), max(row.ended_ms for row in rows)
        span["error"] = outcome.text if outcome.code is not None and outcome.status >= 499 else None
        span["events"] = [
            ("pg_trio.candidate.skipped", row.started_ms, {**_name_candidate(row), "pg_trio.attempt.reason": row.why})
            for row in rows
            if not row.is_try
        ]
        first_token_ms = record.attempts.first_token_ms if "stream" in record.times.stages else None
        if first_token_ms is not None:
            span["events"].append(("gen_ai.first_token", first_token_ms, {}))
        return span

    def _build_call(self, record: RequestRecord, trace: RequestTrace, row: AttemptRow) -> Span:
        kind, operation = row.kind, operation_of(record.head.origin.surface)
        address, port = self.servers.get(row.credential, ("", 0))
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
            attributes |= _describe_answer(record)
        # An attempt that ended before its call was sent was told to no provider: its id is made here.
        trace.begin_attempt((row.credential, row.model), row.started_ms)
        span_id = trace.attempts[(row.credential, row.model), row.started_ms]
        span = _span(f"{operation} {row.model}", "CLIENT", span_id, trace.span_id(OPERATION_SPAN), attributes)
        span["start"], span["end"] = row.started_ms, row.ended_ms
        span["error"] = row.outcome if kind == "failed" else None
        if row.first_token_ms is not None:
            span["events"] = [("gen_ai.first_token", row.first_token_ms, {})]
        return span

    def _describe_content(self, record: RequestRecord) -> Attributes:
        found: Attributes = {}
        if record.request is not None and record.is_guarded:
            body = BodyBudget(CONTENT_CHARS, shows_texts=True).describe_request(record.request)
            found["gen_ai.input.messages"] = json.dumps(body.get("messages", body))
        if isinstance(record.reply, Reply):
            answer = BodyBudget(CONTENT_CHARS, shows_texts=True).describe_reply(record.reply)
            found["gen_ai.output.messages"] = json.dumps([{"role": "assistant", **answer}])
        return found


def find_server(base_url: str) -> tuple[str, int]:
    """`server.address` and `server.port` of a base URL."""
    url = urlsplit(base_url)
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


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


def _slug(record: RequestRecord) -> str:
    if record.endpoint is not None:
        return record.endpoint.slug
    return "" if record.slug is None else mask_client_text(record.slug)


def _name_candidate(row: AttemptRow) -> Attributes:
    return {"gen_ai.provider.name": provider_name(row.provider), "gen_ai.request.model": row.model}


def _describe_usage(usage: Usage) -> Attributes:
    found = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
    }
    if usage.cached_tokens:
        found["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    if usage.cache_write_tokens:
        found["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        found["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
    return found


def _describe_answer(record: RequestRecord) -> Attributes:
    """Of the call that won."""
    found: Attributes = {}
    if record.settled is not None and record.settled.model is not None:
        found["gen_ai.response.model"] = record.settled.model
    if record.settled is not None and record.settled.usage is not None:
        found |= _describe_usage(record.settled.usage)
    if isinstance(record.reply, Reply):
        found |= _describe_reply(record.reply)
    return found


def _describe_reply(reply: Reply) -> Attributes:
    found: Attributes = {"gen_ai.response.finish_reasons": [reply.finish_reason]}
    if reply.id:
        found["gen_ai.response.id"] = reply.id
    return found


def _describe_request(request: ChatRequest) -> Attributes:
    options = request.options
    asked: dict[str, Any] = {
        "gen_ai.request.max_tokens": options.max_output_tokens,
        "gen_ai.request.temperature": options.temperature,
        "gen_ai.request.top_p": options.top_p,
        "gen_ai.request.frequency_penalty": options.frequency_penalty,
        "gen_ai.request.presence_penalty": options.presence_penalty,
        "gen_ai.request.seed": options.seed,
        "gen_ai.conversation.id": None if request.session_id is None else str(request.session_id),
        "gen_ai.request.stream": True if request.stream else None,
    }
    return {name: value for name, value in asked.items() if value is not None}
