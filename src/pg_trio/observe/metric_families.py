"""The exported metrics: from which kind each comes, and which of its labels it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from attrs import field, frozen

from pg_trio.observe.metric_kinds import (
    ATTEMPT,
    COST,
    FIRST_TOKEN,
    FIRST_TOKEN_S,
    GUARDRAIL,
    HEDGE,
    LAG,
    LAG_S,
    OPERATION_S,
    OUTPUT_TOKEN,
    OUTPUT_TOKEN_S,
    OVERHEAD,
    OVERHEAD_S,
    OVERRUN,
    OVERRUN_S,
    RATE_LIMIT,
    REQUEST,
    REQUEST_S,
    STAGE,
    STAGE_S,
    TOKEN,
    TOKENS,
    Kind,
)
from pg_trio.observe.operation import provider_name

Labels: TypeAlias = tuple[str, ...]
Values: TypeAlias = list[float]
# A series' labels as a metric has them; None if the series has no part in it.
Pick: TypeAlias = Callable[[Labels], Labels | None]


@frozen(slots=True)
class HistogramFamily:
    """An exported histogram. `bounds` are some of its kind's, divided by `unit`."""

    name: str
    text: str
    kind: Kind
    labels: Labels
    pick: Pick
    bounds: Sequence[float]
    unit: float = 1000.0
    # How many of the kind's buckets each exported bound has below it.
    places: tuple[int, ...] = field(init=False)

    @places.default
    def _find_places(self) -> tuple[int, ...]:
        return tuple([self.kind.bounds.index(bound * self.unit) + 1 for bound in self.bounds])


@frozen(slots=True)
class CounterFamily:
    """An exported counter. `amount` reads it from a series' values."""

    name: str
    text: str
    kind: Kind
    labels: Labels
    pick: Pick
    amount: Callable[[Values], float]


@frozen(slots=True)
class GaugeFamily:
    """An exported gauge, with its values by labels."""

    name: str
    text: str
    labels: Labels
    values: Mapping[Labels, float]


def _all(labels: Labels) -> Labels:
    return labels


def _endpoint(labels: Labels) -> Labels:
    return labels[:2]


def _server_call(labels: Labels) -> Labels | None:
    """Of a request that a provider answered."""
    outcome, operation, provider, model = labels[4:]
    return (operation, provider_name(provider), model, "" if outcome == "ok" else outcome) if provider else None


def _stream_call(labels: Labels) -> Labels | None:
    operation, provider, model = labels[2:]
    return (operation, provider_name(provider), model) if provider else None


def _client_call(labels: Labels) -> Labels | None:
    operation, provider, model, outcome, reason = labels
    error = "" if outcome == "won" else "cancelled" if outcome in ("lost", "cancelled") else reason or outcome
    return None if outcome == "skipped" else (operation, provider_name(provider), model, error)


def _token_usage(labels: Labels) -> Labels | None:
    operation, provider, model, kind = labels[2:]
    return (operation, provider_name(provider), model, kind) if kind in ("input", "output") else None


def _asked(labels: Labels) -> Labels | None:
    return None if labels[3] == "skipped" else labels[1:3]


def _count_all(values: Values) -> float:
    return sum(values[:-1])


def _last(values: Values) -> float:
    """A counter's only value, or a histogram's sum."""
    return values[-1]


def _to_usd(values: Values) -> float:
    return values[0] / 1e9


_ENDPOINT = ("project", "endpoint")
_MODEL = ("provider", "model")
_CALL = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_TO_FIRST_TOKEN = "From a streamed request's head to its first token."  # noqa: S105 # no secret
_PACE = "The mean time of an output token of each stream, from its first token on."

# fmt: off
HISTOGRAMS = (
    HistogramFamily("pg_trio_request_duration_seconds", "From the request's head to its end.",
                    REQUEST, _ENDPOINT, _endpoint, REQUEST_S),
    HistogramFamily("pg_trio_time_to_first_token_seconds", _TO_FIRST_TOKEN,
                    FIRST_TOKEN, _ENDPOINT, _endpoint, FIRST_TOKEN_S),
    HistogramFamily("pg_trio_time_per_output_token_seconds", _PACE,
                    OUTPUT_TOKEN, _ENDPOINT, _endpoint, OUTPUT_TOKEN_S),
    HistogramFamily("pg_trio_overhead_seconds", "The gateway's own stages: all but the waiting for providers.",
                    OVERHEAD, _ENDPOINT, _all, OVERHEAD_S),
    HistogramFamily("pg_trio_stage_duration_seconds", "Each stage of each request.",
                    STAGE, ("stage",), _all, STAGE_S),
    HistogramFamily("pg_trio_deadline_overrun_seconds", "How late requests ended that missed their deadline.",
                    OVERRUN, ("endpoint",), _all, OVERRUN_S),
    HistogramFamily("pg_trio_attempt_duration_seconds", "Each call of a provider, however it ended.",
                    ATTEMPT, _MODEL, _asked, REQUEST_S),
    HistogramFamily("gen_ai_client_token_usage", "Tokens of each answered request.",
                    TOKEN, (*_CALL, "gen_ai_token_type"), _token_usage, TOKENS, unit=1.0),
    HistogramFamily("gen_ai_client_operation_duration_seconds", "Each call of a provider.",
                    ATTEMPT, (*_CALL, "error_type"), _client_call, OPERATION_S),
    HistogramFamily("gen_ai_server_request_duration_seconds", "Each request that a provider answered.",
                    REQUEST, (*_CALL, "error_type"), _server_call, OPERATION_S),
    HistogramFamily("gen_ai_server_time_to_first_token_seconds", _TO_FIRST_TOKEN,
                    FIRST_TOKEN, _CALL, _stream_call, FIRST_TOKEN_S),
    HistogramFamily("gen_ai_server_time_per_output_token_seconds", _PACE,
                    OUTPUT_TOKEN, _CALL, _stream_call, OUTPUT_TOKEN_S),
)
LAG_FAMILY = HistogramFamily("pg_trio_event_loop_lag_seconds", "How late a task of the event loop is woken.",
                             LAG, ("worker",), _all, LAG_S)
COUNTERS = (
    CounterFamily("pg_trio_requests", "Requests that have ended.",
                  REQUEST, REQUEST.labels[:5], lambda labels: labels[:5], _count_all),
    CounterFamily("pg_trio_attempts", "Candidates of requests, by what became of them.",
                  ATTEMPT, (*_MODEL, "outcome", "reason"), lambda labels: labels[1:], _count_all),
    CounterFamily("pg_trio_hedges", "Calls beside a silent one. `denied`: requests whose hedge was not allowed.",
                  HEDGE, HEDGE.labels, _all, _last),
    CounterFamily("pg_trio_tokens", "Tokens. `cached` are part of `input`, `reasoning` is part of `output`.",
                  TOKEN, (*_ENDPOINT, *_MODEL, "kind"), lambda labels: (*labels[:2], *labels[3:]), _last),
    CounterFamily("pg_trio_cost_usd", "Costs, those of lost attempts included. The kinds add up to the sum.",
                  COST, COST.labels, _all, _to_usd),
    CounterFamily("pg_trio_rate_limit_rejections", "Requests over a limit.",
                  RATE_LIMIT, RATE_LIMIT.labels, _all, _last),
    CounterFamily("pg_trio_guardrail_hits", "Requests that a guardrail masked or blocked.",
                  GUARDRAIL, GUARDRAIL.labels, _all, _last),
)
# What workers sample: name, type, text. These have the label `worker`.
SAMPLED = (
    ("pg_trio_requests_active", "gauge", "Requests under way."),
    ("pg_trio_streams_active", "gauge", "Streamed answers under way."),
    ("pg_trio_connections_open", "gauge", "Connections from clients."),
    ("pg_trio_websockets_open", "gauge", "WebSockets of clients."),
    ("process_cpu_seconds", "counter", "Total user and system CPU time spent in seconds."),
    ("pg_trio_redis_up", "gauge", "1 if the worker can use Redis, else 0."),
    ("pg_trio_postgres_up", "gauge", "1 if the worker can use PostgreSQL, also to write, else 0."),
    ("pg_trio_cluster_nodes", "gauge", "Nodes that live, as the worker last heard from Redis."),
)
# Of the workers' processes.
PROCESS = (
    ("process_resident_memory_bytes", "Resident memory size in bytes."),
    ("process_virtual_memory_bytes", "Virtual memory size in bytes."),
    ("process_open_fds", "Number of open file descriptors."),
    ("process_max_fds", "Maximum number of open file descriptors."),
    ("process_start_time_seconds", "Start time of the process since unix epoch in seconds."),
)
# These are sums over all workers.
SAMPLED_SUMS = (
    ("pg_trio_log_queue_rows", "gauge", "Rows that wait for the log's writer."),
    ("pg_trio_log_unsent_rows", "gauge", "Rows of this node's log that are not known to be in PostgreSQL."),
    ("pg_trio_log_dropped", "counter", "Rows that the log could not take."),
    ("pg_trio_traces_dropped", "counter", "Traces of requests that were not exported because their queue was full or"
                                          " the collector did not take them."),
)
# The least of all workers'.
STORAGE_UP = ("pg_trio_storage_up", "1 if the files of tokens, sessions and the log can be used, else 0.")
# fmt: on
