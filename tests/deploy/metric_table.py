"""The metrics that the gateway promises, with their labels. Rules and panels may use no others."""

from __future__ import annotations

from collections.abc import Mapping

_ENDPOINT = frozenset({"project", "endpoint"})
_MODEL = frozenset({"provider", "model"})
_WORKER = frozenset({"worker"})
_NONE: frozenset[str] = frozenset()


def _histogram(name: str, labels: frozenset[str]) -> dict[str, frozenset[str]]:
    return {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}


METRICS: Mapping[str, frozenset[str]] = {
    "pg_trio_requests_total": _ENDPOINT | {"surface", "status", "outcome"},
    **_histogram("pg_trio_request_duration_seconds", _ENDPOINT),
    **_histogram("pg_trio_time_to_first_token_seconds", _ENDPOINT),
    **_histogram("pg_trio_time_per_output_token_seconds", _ENDPOINT),
    **_histogram("pg_trio_overhead_seconds", _ENDPOINT),
    **_histogram("pg_trio_stage_duration_seconds", frozenset({"stage"})),
    **_histogram("pg_trio_deadline_overrun_seconds", frozenset({"endpoint"})),
    "pg_trio_attempts_total": _MODEL | {"outcome", "reason"},
    **_histogram("pg_trio_attempt_duration_seconds", _MODEL),
    "pg_trio_hedges_total": frozenset({"endpoint", "outcome"}),
    "pg_trio_breaker_state": _MODEL,
    "pg_trio_candidate_slots_used": _MODEL,
    "pg_trio_tokens_total": _ENDPOINT | _MODEL | {"kind"},
    "pg_trio_cost_usd_total": _ENDPOINT | _MODEL | {"kind"},
    "pg_trio_budget_spent_usd": _ENDPOINT,
    "pg_trio_budget_reserved_usd": _ENDPOINT,
    "pg_trio_budget_limit_usd": _ENDPOINT,
    "pg_trio_rate_limit_rejections_total": frozenset({"endpoint", "scope"}),
    "pg_trio_guardrail_hits_total": frozenset({"endpoint", "guardrail", "action"}),
    "pg_trio_streams_active": _WORKER,
    "pg_trio_requests_active": _WORKER,
    "pg_trio_connections_open": _WORKER,
    "pg_trio_websockets_open": _WORKER,
    **_histogram("pg_trio_event_loop_lag_seconds", _WORKER),
    "pg_trio_log_queue_rows": _NONE,
    "pg_trio_log_dropped_total": _NONE,
    "pg_trio_shared_memory_slots_used": _NONE,
    "pg_trio_storage_up": _NONE,
    "pg_trio_redis_up": _WORKER,
    "pg_trio_postgres_up": _WORKER,
    "pg_trio_cluster_nodes": _WORKER,
    "pg_trio_log_unsent_rows": _NONE,
    "pg_trio_build_info": frozenset({"version"}),
    "process_cpu_seconds_total": _WORKER,
    "process_resident_memory_bytes": _WORKER,
    "process_open_fds": _WORKER,
    "process_max_fds": _WORKER,
}
_REFUSALS = {f"refused_{by}" for by in ("auth", "rate", "budget", "guardrail", "schema", "request")}
OUTCOMES = {
    "pg_trio_requests_total": {"ok", "deadline", "all_failed", "client_left", "shed", "error"} | _REFUSALS,
    "pg_trio_attempts_total": {"won", "lost", "failed", "cancelled", "skipped"},
    "pg_trio_hedges_total": {"won", "lost", "denied"},
}
# Labels that Prometheus itself adds.
ADDED = frozenset({"job", "instance"})
