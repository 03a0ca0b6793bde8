"""What is reported: both tables, and beneath them everything without which they cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from attrs import asdict, field, frozen

from scripts.bench.benches.peers.catalogue import PEERS, TITLES
from scripts.bench.benches.peers.plan import Plan, StreamPlan
from scripts.bench.benches.peers.request_visit import Visit
from scripts.bench.benches.peers.stream_visit import StreamVisit
from scripts.bench.benches.peers.summary import (
    BASELINE,
    Row,
    StreamRow,
    judge,
    judge_streams,
    summarise,
    summarise_streams,
)
from scripts.bench.harness.stream_load import STALL_MS
from scripts.bench.harness.tables import Report, Table, format_pair

# These are faster than the load side, which shares one core with the upstream.
LIMITED_BY_LOAD = ("direct", "nginx")
# A process that has its core to itself shows 95 % and more.
UNDISTURBED_SHARE = 0.85


@frozen(slots=True)
class Findings:
    """One comparison: all visits, why peers are missing from them, and what it was made with.

    `streams`: the visits for the second table; `no_streams`: why peers are missing from those alone.
    """

    visits: tuple[Visit, ...]
    left_out: Mapping[str, str]
    plan: Plan
    machine: Mapping[str, str]
    streams: tuple[StreamVisit, ...] = ()
    no_streams: Mapping[str, str] = field(factory=dict)

    @property
    def measured(self) -> set[str]:
        return {visit.peer for visit in self.visits} | {visit.peer for visit in self.streams}


def make_report(found: Findings) -> Report:
    """Both tables, then what holds for both."""
    tables = [make_table(found.visits, found.plan)] if found.visits else []
    if found.streams or found.no_streams:
        tables.append(make_stream_table(found.streams, found.no_streams, found.plan.streams))
    rounds = f"Rounds: {found.plan.rounds} (streams: {found.plan.streams.rounds}), interleaved; medians."
    facts = "Machine: " + ", ".join(f"{name} {value}" for name, value in found.machine.items())
    if tables:
        last = tables.pop()
        notes = (*last.notes, "", rounds, facts, "", "Switched on:", *_tell_switched_on(found))
        tables.append(Table(last.head, last.rows, notes=notes))
    raw = {**asdict(found), "switched_on": {peer.name: peer.switched_on for peer in PEERS}}
    return Report(tables, raw, [] if found.measured - {BASELINE} else ["no peer could be measured"])


def make_table(visits: Sequence[Visit], plan: Plan) -> Table:
    """Requests."""
    rows = summarise(visits)
    costs_us = [result.generator_cpu_us for visit in visits for result in visit.paced if result]
    cost = f" ({min(costs_us):.0f}–{max(costs_us):.0f} µs of its core's time a request)" if costs_us else ""
    legend = (
        "– means past what it can answer. At a fixed rate, latencies count from when a request was due; what our "
        f"generator adds itself is in the first row too{cost}. The first row is the load side's own limit."
    )
    head = ["", f"req/s ({plan.connections} conn.)", "ours ÷ it, req/s / CPU"]
    head += [f"ms at {rate}/s, p50 / p99" for rate in plan.rates]
    head += ["added ms (1 conn.), p50 / p99", "CPU µs/req", "% of core", "MB idle / load", "errors"]
    notes = (legend, "", *_tell_warnings(rows, visits), "", *map(str, judge(visits)))
    return Table(head, [_format_row(row) for row in rows], notes=notes)


def _format_row(row: Row) -> list[str]:
    return [
        TITLES[row.name] + (" (!)" if row.errors else ""),
        f"{row.per_s:,.0f}",
        "–" if row.us_over_it is None else f"{row.us_over_it.per_s:.2f} / {row.us_over_it.cpu:.2f}",
        *map(format_pair, row.paced_ms),
        format_pair(row.added_ms),
        f"{row.cpu_us:,.0f}",
        f"{row.core_share:.0%}",
        f"{row.idle_mb:,.0f} / {row.load_mb:,.0f}",
        f"{row.errors:,}",
    ]


def make_stream_table(visits: Sequence[StreamVisit], left_out: Mapping[str, str], plan: StreamPlan) -> Table:
    """Streams."""
    rows, paced, among = summarise_streams(visits), plan.paced, plan.among
    legend = (
        "Streams: every token is an event in a send of its own, and is checked. tokens/s, a read, CPU: "
        f"{plan.flood_streams} streams as fast as they are taken. Alone, steady and lag: {paced.streams} streams "
        f"of {paced.tokens} tokens, one every {paced.pace_us / 1000:g} ms, all begun at once; steady: no "
        f"{STALL_MS:g} ms between two tokens. First token: less the upstream's own{_tell_direct(visits)}; "
        f"{among.streams} streams: begun while so many others of {among.tokens} tokens, "
        f"{among.pace_us / 1000:g} ms apart, are under way."
    )
    # The whole reason, with what the peer printed, was told when it failed, and is in the file of figures.
    missing = [_tell_left_out(name, why.splitlines()[0], {row.name for row in rows}) for name, why in left_out.items()]
    changed = [f"- {peer.title}: CHANGED: {peer.changed}" for peer in PEERS if peer.changed]
    changed = changed if any(row.name == "portkey" for row in rows) else []
    head = ["", f"tokens/s ({plan.flood_streams} streams)", "a read", "CPU µs/token", "alone"]
    head += ["ours ÷ it, tokens/s / CPU alone", "% of core", "first token added ms, 1 stream, p50 / p99"]
    head += [f"{among.streams} streams", "steady streams", "lag ms, p50 / p99", "longest gap ms"]
    notes = (legend, "", *_tell_warnings(rows, visits), *missing, *changed, "", *map(str, judge_streams(visits)))
    return Table(head, [_format_stream_row(row) for row in rows], notes=notes)


def _format_stream_row(row: StreamRow) -> list[str]:
    return [
        TITLES[row.name],
        f"{row.per_s:,.0f}",
        f"{row.tokens_a_read:.1f}",
        f"{row.cpu_us:,.1f}",
        f"{row.alone_cpu_us:,.1f}",
        "–" if row.us_over_it is None else f"{row.us_over_it.per_s:.2f} / {row.us_over_it.cpu:.2f}",
        f"{row.core_share:.0%}",
        format_pair(row.lone_added_ms),
        format_pair(row.among_added_ms),
        f"{row.steady} of {row.paced}",
        format_pair(row.lag_ms),
        f"{row.longest_gap_ms:,.0f}",
    ]


def _tell_direct(visits: Sequence[StreamVisit]) -> str:
    own = [visit for visit in visits if visit.peer == BASELINE]
    if not own:
        return ""
    lone, among = (
        median(read.first_us[0] for read in reads) for reads in zip(*((v.lone, v.among) for v in own), strict=True)
    )
    return f" {lone / 1000:.2f} and {among / 1000:.2f} ms (p50)"


def _tell_switched_on(found: Findings) -> Iterator[str]:
    yield from (f"- {peer.title}: {peer.switched_on}" for peer in PEERS if peer.name in found.measured)
    yield from (_tell_left_out(name, why, found.measured) for name, why in found.left_out.items())


def _tell_left_out(name: str, why: str, measured: set[str]) -> str:
    return f"- {TITLES[name]}: LEFT OUT{' AFTER A ROUND' if name in measured else ''}: {why}"


def _tell_warnings(
    rows: Sequence[Row] | Sequence[StreamRow], visits: Sequence[Visit] | Sequence[StreamVisit]
) -> Iterator[str]:
    for row in rows:
        if isinstance(row, Row) and row.errors:
            yield f"(!) {TITLES[row.name]}: {row.errors:,} answers other than 200, or none. Do not trust its row."
        if row.name not in LIMITED_BY_LOAD and row.core_share < UNDISTURBED_SHARE:
            share = f"got {row.core_share:.0%} of its core under full load"
            yield f"(!) {TITLES[row.name]}: {share}: the load was its limit, or others used it. Read its CPU time."
    for visit in visits:
        if visit.lost_rows:
            lost = f"{visit.lost_rows:,} of {visit.calls:,} calls were not logged"
            yield f"(!) {TITLES[visit.peer]}, round {visit.round}: {lost}. It did not do all of its work."
        if isinstance(visit, Visit) and visit.said:
            yield f"    {TITLES[visit.peer]} printed, last: {visit.said}"
