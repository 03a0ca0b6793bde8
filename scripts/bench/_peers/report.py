"""What is printed: the table, and beneath it everything without which it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from scripts.bench._peers import tables
from scripts.bench._peers.catalogue import PEERS
from scripts.bench._peers.measure import Visit
from scripts.bench._peers.plan import Plan
from scripts.bench._peers.stream_report import format_streams
from scripts.bench._peers.streams import StreamVisit
from scripts.bench._peers.summary import Row, judge, summarise
from scripts.bench._peers.tables import LIMITED_BY_LOAD, TITLES, UNDISTURBED_SHARE, format_pair, tell_bars


@frozen(slots=True)
class Findings:
    """One comparison: all visits, why the peers that are missing from them are, and what it was made with.

    `streams`: the visits for the second table; `no_streams`: why peers are missing from those alone.
    """

    visits: tuple[Visit, ...]
    left_out: Mapping[str, str]
    plan: Plan
    machine: Mapping[str, str]
    streams: tuple[StreamVisit, ...] = ()
    no_streams: Mapping[str, str] = field(factory=dict)


def format_report(findings: Findings) -> str:
    """The whole report, as Markdown that a terminal shows well: both tables, then what holds for both."""
    facts = ", ".join(f"{name} {value}" for name, value in findings.machine.items())
    sections = [
        *(_format_requests(findings) if findings.visits else ()),
        *(
            format_streams(findings.streams, findings.no_streams, findings.plan.streams)
            if findings.streams or findings.no_streams
            else ()
        ),
        [
            f"Rounds: {findings.plan.rounds} (streams: {findings.plan.streams.rounds}), interleaved; medians.",
            f"Machine: {facts}",
        ],
        ["Switched on:", *_tell_switched_on(findings)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _format_requests(findings: Findings) -> list[list[str]]:
    rows = summarise(findings.visits)
    return [
        [format_table(rows, findings.plan)],
        [
            "– means past what it can answer. At a fixed rate, latencies count from when a request was due; what our "
            f"generator adds itself is in the first row too{_tell_generator_cost(findings.visits)}. The first row is "
            "the load side's own limit.",
        ],
        list(_tell_warnings(rows, findings.visits)),
        tell_bars(judge(findings.visits)),
    ]


def _tell_generator_cost(visits: Sequence[Visit]) -> str:
    costs_us = [result.generator_cpu_us for visit in visits for result in visit.paced if result]
    return f" ({min(costs_us):.0f}–{max(costs_us):.0f} µs of its core's time a request)" if costs_us else ""


def _tell_switched_on(findings: Findings) -> Iterator[str]:
    measured = {visit.peer for visit in findings.visits} | {visit.peer for visit in findings.streams}
    for peer in PEERS:
        if peer.name in measured:
            yield f"- {peer.title}: {peer.switched_on}"
    for name, reason in findings.left_out.items():
        yield f"- {TITLES[name]}: LEFT OUT{' AFTER A ROUND' if name in measured else ''}: {reason}"


def _tell_warnings(rows: Sequence[Row], visits: Sequence[Visit]) -> Iterator[str]:
    for row in rows:
        if row.errors:
            yield f"(!) {TITLES[row.name]}: {row.errors:,} answers other than 200, or none. Do not trust its row."
        if row.name not in LIMITED_BY_LOAD and row.core_share < UNDISTURBED_SHARE:
            share = f"got {row.core_share:.0%} of its core under full load"
            yield f"(!) {TITLES[row.name]}: {share}: others used it, and its throughput is too low. Read its CPU time."
    for visit in visits:
        if visit.lost_rows:
            lost = f"{visit.lost_rows:,} of {visit.calls:,} calls were not logged"
            yield f"(!) {TITLES[visit.peer]}, round {visit.round}: {lost}. It did not do all of its work."
        if visit.said:
            yield f"    {TITLES[visit.peer]} said, last: {visit.said}"


def format_table(rows: Sequence[Row], plan: Plan) -> str:
    """A Markdown table, padded so that a terminal shows it as well."""
    head = ["", f"req/s ({plan.connections} conn.)", "ours ÷ it, req/s / CPU"]
    head += [f"ms at {rate}/s, p50 / p99" for rate in plan.rates]
    head += ["added ms (1 conn.), p50 / p99", "CPU µs/req", "% of core", "MB idle / load", "errors"]
    return tables.format_table(head, [_format_row(row) for row in rows])


def _format_row(row: Row) -> list[str]:
    return [
        TITLES[row.name] + (" (!)" if row.errors else ""),
        f"{row.per_s:,.0f}",
        "–" if row.us_over_it is None else f"{row.us_over_it.per_s:.2f} / {row.us_over_it.cpu:.2f}",
        *(format_pair(pair) for pair in row.paced_ms),
        format_pair(row.added_ms),
        f"{row.cpu_us:,.0f}",
        f"{row.core_share:.0%}",
        f"{row.idle_mb:,.0f} / {row.load_mb:,.0f}",
        f"{row.errors:,}",
    ]
