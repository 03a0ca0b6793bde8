"""What is reported: both tables, the bars we set ourselves, and everything without which they cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from scripts.bench.benches.peers.catalogue import PEERS, TITLES
from scripts.bench.benches.peers.visits import AMONG, FLOOD_STREAMS, PACED, Plan
from scripts.bench.harness.streams import STALL_MS
from scripts.bench.harness.tables import Found, Report, Table, combine, tabulate
from scripts.bench.harness.wrk import CONNECTIONS

US = "lane"
BASELINE = "direct"
# These are faster than the load side, which shares one core with the upstream.
LIMITED_BY_LOAD = ("direct", "nginx")
# A process that has its core to itself shows 95 % and more.
UNDISTURBED_SHARE = 0.85
# A stream's token must cost at most a 25,000th of a core, among others and alone.
TOKENS_BAR = 25_000
FIRST_TOKEN_BAR_MS = 1.0
# Ours must do so many times another's work.
WORK_BARS = ((US, "portkey", 8.0), (US, "litellm", 60.0), (US, "floor", 0.35), ("hypercorn", "portkey", 1.0))
# Figures that are shown less the direct upstream's.
ADDED = ("single_p50_ms", "single_p99_ms", "lone_p50_ms", "lone_p99_ms", "among_p50_ms", "among_p99_ms")
STREAM_COLUMNS = {
    "": "",
    f"tokens/s ({FLOOD_STREAMS} streams)": "{per_s:,.0f}",
    "a read": "{a_read:.1f}",
    "CPU µs/token": "{cpu_us:,.1f}",
    "alone": "{alone_cpu_us:,.1f}",
    "ours ÷ it, tokens/s / CPU alone": "{per_s_over:.2f} / {alone_cpu_us_ratio:.2f}",
    "% of core": "{core_share:.0%}",
    "first token added ms, 1 stream, p50 / p99": "{added_lone_p50_ms:.2f} / {added_lone_p99_ms:.2f}",
    f"{AMONG.streams} streams": "{added_among_p50_ms:.2f} / {added_among_p99_ms:.2f}",
    "steady streams": "{steady_sum:.0f} of {streams_sum:.0f}",
    "lag ms, p50 / p99": "{lag_p50_ms:.2f} / {lag_p99_ms:.2f}",
    "longest gap ms": "{gap_ms_max:,.0f}",
}


@frozen(slots=True)
class Bar:
    """What a run has to show, and what it showed."""

    wanted: str
    shown: str
    is_met: bool

    def __str__(self) -> str:
        return f"Bar: {self.wanted}: {self.shown} – {'met' if self.is_met else 'NOT met'}"


@frozen(slots=True)
class Findings:
    """One comparison: figures by peer and round, for requests and streams, and why peers are missing from them."""

    plan: Plan
    machine: Mapping[str, str]
    requests: Found = field(factory=dict)
    streams: Found = field(factory=dict)
    left_out: dict[str, str] = field(factory=dict)
    no_streams: dict[str, str] = field(factory=dict)
    said: Sequence[str] = ()

    @property
    def measured(self) -> set[str]:
        return {*self.requests, *self.streams}


def make_report(found: Findings) -> Report:
    """Both tables, then what holds for both."""
    tables = [make_table(found)] if found.requests else []
    if found.streams or found.no_streams:
        tables.append(make_stream_table(found))
    rounds = f"Rounds: {found.plan.rounds} (streams: {found.plan.stream_rounds}), interleaved; medians."
    facts = "Machine: " + ", ".join(f"{name} {value}" for name, value in found.machine.items())
    if tables:
        last = tables.pop()
        notes = (*last.notes, "", rounds, facts, "", "Switched on:", *_tell_switched_on(found))
        tables.append(Table(last.head, last.rows, notes=notes))
    raw = {"figures": found, "switched_on": {peer.name: peer.switched_on for peer in PEERS}}
    return Report(tables, raw, [] if found.measured - {BASELINE} else ["no peer could be measured"])


def add_differences(found: Found) -> Found:
    """With `added_NAME` for each of ADDED: less the direct upstream's of the same round, where there is one."""
    direct = {one["round"]: one for one in found.get(BASELINE, ())}

    def extend(one: Mapping[str, float]) -> dict[str, float]:
        base = direct.get(one["round"], {})
        return {**one, **{f"added_{name}": one[name] - base[name] for name in ADDED if name in one and name in base}}

    return {name: [extend(one) if name != BASELINE else one for one in rounds] for name, rounds in found.items()}


def _name_rows(table: Table, found: Found) -> list[Sequence[str]]:
    marks = {name: " (!)" if sum(one.get("errors_sum", 0) for one in rounds) else "" for name, rounds in found.items()}
    return [(TITLES[row[0]] + marks[row[0]], *row[1:]) for row in table.rows]


def make_table(findings: Findings) -> Table:
    found = add_differences(findings.requests)
    columns = {"": "", f"req/s ({CONNECTIONS} conn.)": "{per_s:,.0f}"}
    columns["ours ÷ it, req/s / CPU"] = "{per_s_over:.2f} / {cpu_us_ratio:.2f}"
    for rate in findings.plan.rates:
        columns[f"ms at {rate}/s, p50 / p99"] = f"{{at_{rate}_p50_ms:.2f}} / {{at_{rate}_p99_ms:.2f}}"
    columns["added ms (1 conn.), p50 / p99"] = "{added_single_p50_ms:.2f} / {added_single_p99_ms:.2f}"
    columns |= {"CPU µs/req": "{cpu_us:,.0f}", "% of core": "{core_share:.0%}"}
    columns |= {"MB idle / load": "{idle_mb:,.0f} / {load_mb:,.0f}", "errors": "{errors_sum:,.0f}"}
    rounds = [one for rounds in found.values() for one in rounds]
    costs_us = [one[name] for one in rounds for name in one if name.endswith("_generator_us")]
    cost = f" ({min(costs_us):.0f}–{max(costs_us):.0f} µs of its core's time a request)" if costs_us else ""
    legend = (
        "– means past what it can answer. At a fixed rate, latencies count from when a request was due; what our "
        f"generator adds itself is in the first row too{cost}. The first row is the load side's own limit."
    )
    table = tabulate(found, columns, base=US)
    notes = (legend, "", *_tell_warnings(found, "calls"), *findings.said, "", *map(str, judge(found)))
    return Table(table.head, _name_rows(table, found), notes=notes)


def make_stream_table(findings: Findings) -> Table:
    found = add_differences(findings.streams)
    legend = (
        "Streams: every token is an event in a send of its own, and is checked. tokens/s, a read, CPU: "
        f"{FLOOD_STREAMS} streams as fast as they are taken. Alone, steady and lag: {PACED.streams} streams "
        f"of {PACED.tokens} tokens, one every {PACED.pace_us / 1000:g} ms, all begun at once; steady: no "
        f"{STALL_MS:g} ms between two tokens. First token: less the upstream's own{_tell_direct(found)}; "
        f"{AMONG.streams} streams: begun while so many others of {AMONG.tokens} tokens, "
        f"{AMONG.pace_us / 1000:g} ms apart, are under way."
    )
    # The whole reason, with what the peer printed, was told when it failed, and is in the file of figures.
    reasons = {name: why.splitlines()[0] for name, why in findings.no_streams.items()}
    missing = [_tell_left_out(name, why, {*found}) for name, why in reasons.items()]
    changed = [f"- {peer.title}: CHANGED: {peer.changed}" for peer in PEERS if peer.changed and peer.name in found]
    table = tabulate(found, STREAM_COLUMNS, base=US)
    warnings = _tell_warnings(found, "streams")
    notes = (legend, "", *warnings, *missing, *changed, "", *map(str, judge_streams(found)))
    return Table(table.head, _name_rows(table, found), notes=notes)


def _tell_direct(found: Found) -> str:
    if BASELINE not in found:
        return ""
    return " {lone_p50_ms:.2f} and {among_p50_ms:.2f} ms (p50)".format(**combine(found[BASELINE]))


def _tell_switched_on(found: Findings) -> Iterator[str]:
    yield from (f"- {peer.title}: {peer.switched_on}" for peer in PEERS if peer.name in found.measured)
    yield from (_tell_left_out(name, why, found.measured) for name, why in found.left_out.items())


def _tell_left_out(name: str, why: str, measured: set[str]) -> str:
    return f"- {TITLES[name]}: LEFT OUT{' AFTER A ROUND' if name in measured else ''}: {why}"


def _tell_warnings(found: Found, what: str) -> Iterator[str]:
    for name, rounds in found.items():
        row = combine(rounds)
        if errors := row.get("errors_sum"):
            yield f"(!) {TITLES[name]}: {errors:,.0f} answers other than 200, or none. Do not trust its row."
        if name not in LIMITED_BY_LOAD and row["core_share"] < UNDISTURBED_SHARE:
            share = f"got {row['core_share']:.0%} of its core under full load"
            yield f"(!) {TITLES[name]}: {share}: the load was its limit, or others used it. Read its CPU time."
        for one in rounds:
            if one["lost_sum"]:
                lost = f"{one['lost_sum']:,.0f} of {one['calls']:,.0f} {what} were not logged"
                yield f"(!) {TITLES[name]}, round {one['round']:.0f}: {lost}. It did not do all of its work."


def judge(found: Found) -> list[Bar]:
    """The bars for requests whose rows were measured. The less flattering ratio counts."""
    bars = []
    for name, other, least in WORK_BARS:
        figures = combine(found[name], found.get(other, ())) if name in found else {}
        if "per_s_ratio" in figures:
            per_s, cpu = figures["per_s_ratio"], figures["cpu_us_over"]
            shown = f"{per_s:.2f} × by throughput, {cpu:.2f} × by CPU time"
            bars.append(Bar(f"{name} at least {least:g} × {other}", shown, min(per_s, cpu) >= least))
    if US in found:
        ours = combine(found[US])
        idle_mb = ours["idle_largest_mb"]
        bars.append(Bar("lane's idle worker under 70 MB", f"{idle_mb:.0f} MB", idle_mb < 70.0))
        for name, limit_ms in (("p50", 0.5), ("p99", 3.0)):
            added_ms = ours.get(f"added_single_{name}_ms")
            bars += _judge_added(f"lane adds under {limit_ms:g} ms ({name})", added_ms, limit_ms)
    return bars


def judge_streams(found: Found) -> list[Bar]:
    """The bars for streams, where our lane was measured."""
    if US not in found:
        return []
    ours = combine(found[US])
    flood, alone = min(ours["per_s"], 1e6 / ours["cpu_us"]), 1e6 / ours["alone_cpu_us"]
    kinds = [("as fast as they are taken", flood, f"{ours['a_read']:.0f} came together")]
    kinds += [("each alone", alone, "by CPU time, opening the streams included")]
    bars = [
        Bar(
            f"lane relays at least {TOKENS_BAR:,} tokens/s a core, {how}", f"{per_s:,.0f} ({note})", per_s >= TOKENS_BAR
        )
        for how, per_s, note in kinds
    ]
    for name, figure in (("1 stream", "lone"), (f"{AMONG.streams} streams", "among")):
        wanted = f"lane delays the first token under {FIRST_TOKEN_BAR_MS:g} ms ({name}, p50)"
        bars += _judge_added(wanted, ours.get(f"added_{figure}_p50_ms"), FIRST_TOKEN_BAR_MS)
    return bars


def _judge_added(wanted: str, added_ms: float | None, limit_ms: float) -> list[Bar]:
    if added_ms is None:
        return []
    # Nothing can take time away: below zero, the direct upstream was disturbed, and nothing is shown.
    shown = f"{added_ms:.2f} ms" if added_ms >= 0 else "the direct upstream was slower, so it was disturbed"
    return [Bar(wanted, shown, 0 <= added_ms < limit_ms)]
