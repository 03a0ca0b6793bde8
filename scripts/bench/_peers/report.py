"""What is printed: the table, and beneath it everything without which it cannot be read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from scripts.bench._peers.catalogue import PEERS
from scripts.bench._peers.measure import Visit
from scripts.bench._peers.plan import Plan
from scripts.bench._peers.summary import Row, judge, summarise

# These are faster than the load side, which shares one core with the upstream.
LIMITED_BY_LOAD = ("direct", "nginx")
# A process that has its core to itself shows 95 % and more.
UNDISTURBED_SHARE = 0.85
_TITLES = {peer.name: peer.title for peer in PEERS}


@frozen(slots=True)
class Findings:
    """One comparison: all visits, why the peers that are missing from them are, and what it was made with."""

    visits: tuple[Visit, ...]
    left_out: Mapping[str, str]
    plan: Plan
    machine: Mapping[str, str]


def format_report(findings: Findings) -> str:
    """The whole report, as Markdown that a terminal shows well."""
    rows = summarise(findings.visits)
    facts = ", ".join(f"{name} {value}" for name, value in findings.machine.items())
    sections = [
        [format_table(rows, findings.plan)],
        [
            f"Rounds: {findings.plan.rounds}, interleaved; medians. – means past what it can answer. At a fixed rate, "
            "latencies count from when a request was due; what our generator adds itself is in the first row too"
            f"{_tell_generator_cost(findings.visits)}. The first row is the load side's own limit.",
            f"Machine: {facts}",
        ],
        ["Switched on:", *_tell_switched_on(rows, findings.left_out)],
        list(_tell_warnings(rows, findings.visits)),
        [f"Bar: {bar.wanted}: {bar.shown} – {'met' if bar.is_met else 'NOT met'}" for bar in judge(findings.visits)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _tell_generator_cost(visits: Sequence[Visit]) -> str:
    costs_us = [result.generator_cpu_us for visit in visits for result in visit.paced if result]
    return f" ({min(costs_us):.0f}–{max(costs_us):.0f} µs of its core's time a request)" if costs_us else ""


def _tell_switched_on(rows: Sequence[Row], left_out: Mapping[str, str]) -> Iterator[str]:
    measured = {row.name for row in rows}
    for peer in PEERS:
        if peer.name in measured:
            yield f"- {peer.title}: {peer.switched_on}"
    for name, reason in left_out.items():
        yield f"- {_TITLES[name]}: LEFT OUT{' AFTER A ROUND' if name in measured else ''}: {reason}"


def _tell_warnings(rows: Sequence[Row], visits: Sequence[Visit]) -> Iterator[str]:
    for row in rows:
        if row.errors:
            yield f"(!) {_TITLES[row.name]}: {row.errors:,} answers other than 200, or none. Do not trust its row."
        if row.name not in LIMITED_BY_LOAD and row.core_share < UNDISTURBED_SHARE:
            share = f"got {row.core_share:.0%} of its core under full load"
            yield f"(!) {_TITLES[row.name]}: {share}: others used it, and its throughput is too low. Read its CPU time."
    for visit in visits:
        if visit.lost_rows:
            lost = f"{visit.lost_rows:,} of {visit.calls:,} calls were not logged"
            yield f"(!) {_TITLES[visit.peer]}, round {visit.round}: {lost}. It did not do all of its work."
        if visit.said:
            yield f"    {_TITLES[visit.peer]} said, last: {visit.said}"


def format_table(rows: Sequence[Row], plan: Plan) -> str:
    """A Markdown table, padded so that a terminal shows it as well."""
    head = ["", f"req/s ({plan.connections} conn.)", "ours ÷ it, req/s / CPU"]
    head += [f"ms at {rate}/s, p50 / p99" for rate in plan.rates]
    head += ["added ms (1 conn.), p50 / p99", "CPU µs/req", "% of core", "MB idle / load", "errors"]
    cells = [head, *(_format_row(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width if number == 0 else "-" * (width - 1) + ":" for number, width in enumerate(widths)]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join("| " + " | ".join(_pad(line, widths)) + " |" for line in lines)


def _format_row(row: Row) -> list[str]:
    return [
        _TITLES[row.name] + (" (!)" if row.errors else ""),
        f"{row.per_s:,.0f}",
        "–" if row.us_over_it is None else f"{row.us_over_it.per_s:.2f} / {row.us_over_it.cpu:.2f}",
        *(_format_pair(pair) for pair in row.paced_ms),
        _format_pair(row.added_ms),
        f"{row.cpu_us:,.0f}",
        f"{row.core_share:.0%}",
        f"{row.idle_mb:,.0f} / {row.load_mb:,.0f}",
        f"{row.errors:,}",
    ]


def _format_pair(pair: tuple[float, float] | None) -> str:
    if pair is None or math.isinf(pair[0]):
        return "–"
    return f"{pair[0]:.2f} / {pair[1]:.2f}"


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
