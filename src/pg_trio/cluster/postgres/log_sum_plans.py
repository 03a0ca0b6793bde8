"""Sums of the rows of all nodes in PostgreSQL, as plans (log_plans.py).

Rules:
1. At most ROWS_LOOKED_AT rows are summed, the newest of the range, as in a single machine's log (store/log_query.py).
2. Latencies are summed by classes: see domain.request_sums.
"""

from __future__ import annotations

from pg_trio.cluster.postgres import log_plans
from pg_trio.cluster.postgres.log_choices import Conditions, split_choice
from pg_trio.cluster.postgres.log_plans import Plan, Rows
from pg_trio.domain.request_filter import RowChoice
from pg_trio.domain.request_sums import LatencyClass, Overview, SumKey, SummedRows, TimeRange

# Classes of latencies, as in store/log_query.py.
CLASSES_PER_DOUBLING = 32
# In the order of SummedRows.
_SUMS = """count(*), count(error_code), count(*) FILTER (WHERE outcome = 'deadline'),
    coalesce(sum(prompt_tokens), 0)::bigint, coalesce(sum(completion_tokens), 0)::bigint,
    coalesce(sum(cost_nano_usd), 0)::bigint, count(hedge_won), coalesce(sum(hedge_won), 0), sum(latency_ms)"""


def read_overview(choice: RowChoice, within: TimeRange) -> Plan[Overview]:
    """Sum the rows of a range."""
    chosen = Conditions(["at >= %s", "at < %s"], [within.since, within.until])
    if choice.since is not None:
        chosen.add("at >= %s", choice.since)
    if choice.until is not None:
        chosen.add("at < %s", choice.until)
    last = yield (
        "SELECT at FROM pgtrio.gateway_logs WHERE at >= %s AND at < %s ORDER BY at DESC LIMIT 1 OFFSET %s",
        (within.since, within.until, log_plans.ROWS_LOOKED_AT),
    )
    if last:
        chosen.add("at >= %s", last[0][0])
    chosen = chosen.plus(split_choice(choice).all)
    return Overview(
        since=last[0][0] if last else within.since,
        is_partial=bool(last),
        sums=(yield from _sum_by_place(chosen, within)),
        latencies=(yield from _count_classes(chosen, within, "latency_ms")),
        first_tokens=(yield from _count_classes(chosen, within, "first_token_ms")),
        saved_ms=_estimate_saved((yield from _read_hedges(chosen))),
    )


def _step(within: TimeRange) -> str:
    # Numbers of ours, not a client's text.
    return f"trunc((at - {within.since!r}::float8) / {within.step_s!r}::float8)::integer"


def _sum_by_place(chosen: Conditions, within: TimeRange) -> Plan[dict[SumKey, SummedRows]]:
    query = f"""SELECT {_step(within)}, endpoint_uuid, provider, {_SUMS} FROM pgtrio.gateway_logs
        WHERE {chosen} GROUP BY 1, 2, 3"""  # noqa: S608
    rows = yield query, chosen.values
    return {(step, endpoint, provider): SummedRows(*sums) for step, endpoint, provider, *sums in rows}


def _count_classes(chosen: Conditions, within: TimeRange, column: str) -> Plan[dict[int, list[LatencyClass]]]:
    number = f"trunc(ln(greatest({column}, 0.001::float8)) / ln(2::float8) * {CLASSES_PER_DOUBLING})"
    query = f"""SELECT {_step(within)}, count(*), min({column}), max({column}) FROM pgtrio.gateway_logs
        WHERE {chosen} AND {column} IS NOT NULL GROUP BY 1, {number}"""  # noqa: S608
    found: dict[int, list[LatencyClass]] = {}
    for step, *values in (yield query, chosen.values):
        found.setdefault(step, []).append(LatencyClass(*values))
    return found


def _read_hedges(chosen: Conditions) -> Plan[Rows]:
    query = f"""SELECT hedge_won, count(*), avg(latency_ms) FROM pgtrio.gateway_logs
        WHERE {chosen} AND hedge_won IS NOT NULL AND error_code IS NULL GROUP BY 1"""  # noqa: S608
    return (yield query, chosen.values)


def _estimate_saved(rows: Rows) -> float | None:
    """See store/log_query.py: the milliseconds that won hedges saved."""
    means = {won: (count, mean) for won, count, mean in rows}
    if 0 not in means or 1 not in means:
        return None
    count, mean = means[1]
    return float(max(0.0, count * (means[0][1] - mean)))
