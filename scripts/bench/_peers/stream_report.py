"""The second table: streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from scripts.bench._peers.catalogue import PEERS
from scripts.bench._peers.plan import StreamPlan
from scripts.bench._peers.stream_load import STALL_MS
from scripts.bench._peers.stream_summary import StreamRow, judge_streams, summarise_streams
from scripts.bench._peers.streams import StreamVisit
from scripts.bench._peers.summary import BASELINE
from scripts.bench._peers.tables import LIMITED_BY_LOAD, TITLES, UNDISTURBED_SHARE, format_pair, format_table, tell_bars


def format_streams(visits: Sequence[StreamVisit], left_out: Mapping[str, str], plan: StreamPlan) -> list[list[str]]:
    """The table of the streams and what is needed to read it, in paragraphs."""
    rows = summarise_streams(visits)
    paced, among = plan.paced, plan.among
    return [
        [_format_table(rows, plan)],
        [
            "Streams: every token is an event in a send of its own, and is checked. tokens/s, a read, CPU: "
            f"{plan.flood_streams} streams as fast as they are taken. Alone, steady and lag: {paced.streams} streams "
            f"of {paced.tokens} tokens, one every {paced.pace_us / 1000:g} ms, all begun at once; steady: no "
            f"{STALL_MS:g} ms between two tokens. First token: less the upstream's own{_tell_direct(visits)}; "
            f"{among.streams} streams: begun while so many others of {among.tokens} tokens, "
            f"{among.pace_us / 1000:g} ms apart, are under way.",
        ],
        [*_tell_warnings(rows, visits), *_tell_left_out(rows, left_out), *_tell_changed(rows)],
        tell_bars(judge_streams(visits)),
    ]


def _tell_left_out(rows: Sequence[StreamRow], left_out: Mapping[str, str]) -> Iterator[str]:
    measured = {row.name for row in rows}
    for name, reason in left_out.items():
        # The whole reason, with what the peer printed, was told when it failed, and is in the raw figures.
        yield f"- {TITLES[name]}: LEFT OUT{' AFTER A ROUND' if name in measured else ''}: {reason.splitlines()[0]}"


def _tell_direct(visits: Sequence[StreamVisit]) -> str:
    own = [visit for visit in visits if visit.peer == BASELINE]
    if not own:
        return ""
    lone, among = (
        median(one.result.first_p50_us for one in loads) / 1000
        for loads in zip(*((visit.lone, visit.among) for visit in own), strict=True)
    )
    return f" {lone:.2f} and {among:.2f} ms (p50)"


def _tell_changed(rows: Sequence[StreamRow]) -> Iterator[str]:
    measured = {row.name for row in rows}
    for peer in PEERS:
        if peer.changed and peer.name in measured:
            yield f"- {peer.title}: CHANGED: {peer.changed}"


def _tell_warnings(rows: Sequence[StreamRow], visits: Sequence[StreamVisit]) -> Iterator[str]:
    for row in rows:
        if row.name not in LIMITED_BY_LOAD and row.core_share < UNDISTURBED_SHARE:
            share = f"got {row.core_share:.0%} of its core"
            yield f"(!) {TITLES[row.name]}: {share}: the load was its limit, or others used it. Read its CPU time."
    for visit in visits:
        if visit.lost_rows:
            lost = f"{visit.lost_rows:,} of {visit.calls:,} streams were not logged"
            yield f"(!) {TITLES[visit.peer]}, round {visit.round}: {lost}. It did not do all of its work."


def _format_table(rows: Sequence[StreamRow], plan: StreamPlan) -> str:
    head = [
        "",
        f"tokens/s ({plan.flood_streams} streams)",
        "a read",
        "CPU µs/token",
        "alone",
        "ours ÷ it, tokens/s / CPU alone",
    ]
    head += ["% of core", "first token added ms, 1 stream, p50 / p99", f"{plan.among.streams} streams"]
    head += ["steady streams", "lag ms, p50 / p99", "longest gap ms"]
    return format_table(head, [_format_row(row) for row in rows])


def _format_row(row: StreamRow) -> list[str]:
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
