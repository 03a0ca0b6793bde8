"""The log's subscriber writes one row for each request, whether it succeeded or failed."""

from __future__ import annotations

import json
from time import time
from typing import ClassVar, Protocol
from uuid import uuid4

import orjson
from attrs import evolve

from pg_trio.domain.chat import JsonObject
from pg_trio.domain.log_body import BodyBudget
from pg_trio.domain.log_row import LogRow, UnwrittenRow
from pg_trio.domain.secret import mask_client_text
from pg_trio.domain.value import value
from pg_trio.recorder import RequestOutcome, RequestRecord
from pg_trio.recorder.facts import Settled
from pg_trio.recorder.outcome import SHED

# Of a request that no candidate answered and nothing was charged for.
_NOTHING = Settled(None, None, None, None)


class _NoUsage:
    """The token counts of a request without an answer."""

    prompt_tokens = None
    completion_tokens = None
    cached_tokens = 0
    cache_write_tokens = 0
    reasoning_tokens = 0


_NO_USAGE = _NoUsage()


class LogSink(Protocol):
    """Takes rows. `record` never waits. False means that the row was dropped and counted."""

    def record(self, row: UnwrittenRow) -> bool: ...


class RequestLog:
    """Makes rows. `body_chars` limits each logged body, for endpoints that log bodies."""

    def __init__(self, sink: LogSink, body_chars: int) -> None:
        self._sink = sink
        self._body_chars = body_chars

    def ended(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        """One row for the request."""
        endpoint = record.endpoint
        row: UnwrittenRow = LoggedRequest(record, outcome)
        if endpoint is not None and endpoint.log_bodies != "none":
            row = self._with_bodies(row.to_row(), record, shows_texts=endpoint.log_bodies == "full")
        self._sink.record(row)

    def shed(self, count: int) -> None:
        """One row for `count` requests that were refused unread. Their tokens and endpoints are not known."""
        row = LogRow(
            request_id=uuid4(),
            at=time(),
            status=SHED.status,
            latency_ms=0.0,
            error_code=SHED.code,
            error=f"{SHED.text} Requests turned away: {count}.",
            outcome=SHED.kind,
        )
        self._sink.record(row)

    def _with_bodies(self, row: LogRow, record: RequestRecord, *, shows_texts: bool) -> LogRow:
        if record.request is not None:
            # Texts that no guardrail has checked yet, or that one refused, are never logged.
            budget = BodyBudget(self._body_chars, shows_texts and record.is_guarded)
            row = evolve(row, request_body=_to_json(budget.describe_request(record.request)))
        if record.reply is not None:
            budget = BodyBudget(self._body_chars, shows_texts)
            row = evolve(row, response_body=_to_json(budget.describe_reply(record.reply)))
        return row


@value(slots=True, repr=False)
class LoggedRequest:
    """A request that has ended and whose row is not written yet. It keeps no bodies."""

    record: RequestRecord
    outcome: RequestOutcome
    # Where bodies are logged, the row is made at once.
    has_bodies: ClassVar[bool] = False

    def __repr__(self) -> str:
        return repr(self.to_row())

    def to_row(self) -> LogRow:
        """The row, without bodies."""
        record, outcome = self.record, self.outcome
        head, caller, endpoint, settled = record.head, record.caller, record.endpoint, record.settled or _NOTHING
        origin, winner, usage = head.origin, settled.candidate, settled.usage or _NO_USAGE
        project_uuid = token_id = subject = client_token = endpoint_uuid = None
        if caller is not None:
            project_uuid, token_id, grant = caller.project.uuid, caller.token.id, caller.token.grant
            if grant is not None:
                subject, client_token = grant.subject, grant.token_id
        endpoint_slug = record.slug
        if endpoint is not None:
            endpoint_uuid, endpoint_slug = endpoint.uuid, endpoint.slug
        elif endpoint_slug:
            endpoint_slug = mask_client_text(endpoint_slug)
        # By position, because keyword arguments take three times as long. A line is a group of LogRow's fields.
        # fmt: off
        return LogRow(
            head.request_id, head.at, outcome.status, record.latency_ms,
            project_uuid, endpoint_uuid, endpoint_slug, token_id,
            None if winner is None else winner.provider, settled.model,
            outcome.code, outcome.text,
            usage.prompt_tokens, usage.completion_tokens, settled.cost_nano_usd,
            record.times.as_json(), tuple(record.attempts.rows),
            origin.client_request_id, origin.client_address,
            usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens, settled.price,
            origin.surface or None, outcome.kind, None if record.deadline is None else record.deadline.limit_ms,
            subject, client_token, record.verdicts,
        )
        # fmt: on


def _to_json(body: JsonObject) -> str:
    try:
        return orjson.dumps(body).decode()
    except orjson.JSONEncodeError:  # half a surrogate pair: `json` writes it as an escape
        return json.dumps(body)
