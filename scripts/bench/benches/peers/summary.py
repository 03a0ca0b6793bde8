"""From visits to rows: medians over the rounds, ratios to our lane, and the bars we set ourselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

from attrs import frozen

from scripts.bench.benches.peers.request_visit import Visit
from scripts.bench.benches.peers.stream_visit import StreamVisit
from scripts.bench.harness.tables import Bar

US = "lane"
BASELINE = "direct"
# A stream's token must cost at most a 25,000th of a core, among others and alone.
TOKENS_BAR = 25_000
FIRST_TOKEN_BAR_MS = 1.0
_MB = 1e6
V = TypeVar("V", Visit, StreamVisit)
Pair = tuple[float, float]


@frozen(slots=True)
class Ratio:
    """How many times another's work one does: by throughput, and by CPU time.

    On a quiet machine the two agree where the core is the limit. Where others used the core, throughput misleads.
    """

    per_s: float
    cpu: float

    @property
    def cautious(self) -> float:
        """The one that flatters less."""
        return min(self.per_s, self.cpu)


@frozen(slots=True)
class Row:
    """One peer's requests over all rounds. Latencies in milliseconds as (p50, p99)."""

    name: str
    per_s: float
    us_over_it: Ratio | None
    paced_ms: tuple[Pair | None, ...]
    added_ms: Pair | None
    cpu_us: float
    core_share: float
    idle_mb: float
    idle_largest_mb: float
    load_mb: float
    errors: int


@frozen(slots=True)
class StreamRow:
    """One peer's streams over all rounds. Milliseconds as (p50, p99); `lag_ms` and `steady` are of the paced load.

    `alone_cpu_us`: a token's CPU time in the paced load, where every token comes alone.
    """

    name: str
    per_s: float
    us_over_it: Ratio | None
    tokens_a_read: float
    cpu_us: float
    core_share: float
    alone_cpu_us: float
    lone_added_ms: Pair | None
    among_added_ms: Pair | None
    steady: int
    paced: int
    lag_ms: Pair
    longest_gap_ms: float


def pair_rounds(visits: Sequence[V], name: str, other: str) -> list[tuple[V, V]]:
    """Both of every round that has both: what slows a round down slows both."""
    by_round = {visit.round: visit for visit in visits if visit.peer == name}
    return [(by_round[visit.round], visit) for visit in visits if visit.peer == other and visit.round in by_round]


def compare(visits: Sequence[V], name: str, other: str) -> Ratio | None:
    """One over the other in each round, then the median. None without a common round."""
    pairs = pair_rounds(visits, name, other)
    if not pairs:
        return None
    return Ratio(
        per_s=median(one.per_s / two.per_s for one, two in pairs),
        cpu=median(two.judged_cpu_us / one.judged_cpu_us for one, two in pairs),
    )


def find_added_ms(visits: Sequence[V], name: str, read_us: Callable[[V], Pair]) -> Pair | None:
    """Percentiles less the direct upstream's of the same round, in milliseconds."""
    pairs = [(read_us(one), read_us(two)) for one, two in pair_rounds(visits, name, BASELINE)]
    if not pairs or name == BASELINE:
        return None
    p50_ms, p99_ms = (median(one[which] - two[which] for one, two in pairs) / 1000 for which in (0, 1))
    return p50_ms, p99_ms


def by_peer(visits: Sequence[V]) -> dict[str, list[V]]:
    """The visits of every peer that was measured, in the order of the first round."""
    names = dict.fromkeys(visit.peer for visit in visits)
    return {name: [visit for visit in visits if visit.peer == name] for name in names}


def summarise(visits: Sequence[Visit]) -> list[Row]:
    """A row for every peer."""
    return [
        Row(
            name=name,
            per_s=median(visit.per_s for visit in own),
            us_over_it=compare(visits, US, name),
            paced_ms=tuple(_find_paced_ms(own, which) for which in range(len(own[0].paced))),
            added_ms=find_added_ms(visits, name, lambda visit: (visit.single.p50_us, visit.single.p99_us)),
            cpu_us=median(visit.cpu_us for visit in own),
            core_share=median(visit.core_share for visit in own),
            idle_mb=median(visit.idle_bytes for visit in own) / _MB,
            idle_largest_mb=median(visit.idle_largest_bytes for visit in own) / _MB,
            load_mb=median(visit.load_bytes for visit in own) / _MB,
            errors=sum(visit.errors for visit in own),
        )
        for name, own in by_peer(visits).items()
    ]


def _find_paced_ms(own: Sequence[Visit], which: int) -> Pair | None:
    """Medians over the rounds; None where one round could not keep up, since the others were close to it."""
    kept = [result for visit in own if (result := visit.paced[which])]
    if len(kept) < len(own):
        return None
    return median(result.ok_us[0] for result in kept) / 1000, median(result.ok_us[1] for result in kept) / 1000


def summarise_streams(visits: Sequence[StreamVisit]) -> list[StreamRow]:
    """A row for every peer whose streams were measured."""
    return [
        StreamRow(
            name=name,
            per_s=median(visit.per_s for visit in own),
            us_over_it=compare(visits, US, name),
            tokens_a_read=median(visit.flood.result.tokens_a_read for visit in own),
            cpu_us=median(visit.flood.cpu_us for visit in own),
            core_share=median(visit.flood.core_share for visit in own),
            alone_cpu_us=median(visit.paced.cpu_us for visit in own),
            lone_added_ms=find_added_ms(visits, name, lambda visit: visit.lone.first_us),
            among_added_ms=find_added_ms(visits, name, lambda visit: visit.among.first_us),
            steady=sum(visit.paced.result.steady for visit in own),
            paced=sum(visit.paced.result.streams for visit in own),
            lag_ms=(
                median(visit.paced.result.lag_p50_us for visit in own) / 1000,
                median(visit.paced.result.lag_p99_us for visit in own) / 1000,
            ),
            longest_gap_ms=max(visit.paced.result.longest_gap_ms for visit in own),
        )
        for name, own in by_peer(visits).items()
    ]


def judge(visits: Sequence[Visit]) -> list[Bar]:
    """The bars for requests whose rows were measured."""
    wanted = ((US, "portkey", 8.0), (US, "litellm", 60.0), (US, "floor", 0.35), ("hypercorn", "portkey", 1.0))
    bars = []
    for name, other, least in wanted:
        if ratio := compare(visits, name, other):
            shown = f"{ratio.per_s:.2f} × by throughput, {ratio.cpu:.2f} × by CPU time"
            bars.append(Bar(f"{name} at least {least:g} × {other}", shown, ratio.cautious >= least))
    for row in summarise(visits):
        if row.name == US:
            idle_mb = row.idle_largest_mb
            bars.append(Bar("lane's idle worker under 70 MB", f"{idle_mb:.0f} MB", idle_mb < 70.0))
            for name, added_ms, limit_ms in zip(("p50", "p99"), row.added_ms or (), (0.5, 3.0), strict=False):
                bars.append(_judge_added(f"lane adds under {limit_ms:g} ms ({name})", added_ms, limit_ms))
    return bars


def judge_streams(visits: Sequence[StreamVisit]) -> list[Bar]:
    """The bars for streams, where our lane was measured."""
    bars = []
    for row in summarise_streams(visits):
        if row.name == US:
            flood, alone = min(row.per_s, 1e6 / row.cpu_us), 1e6 / row.alone_cpu_us
            together = f"{row.tokens_a_read:.0f} came together"
            bars.append(_judge_tokens("as fast as they are taken", flood, together))
            bars.append(_judge_tokens("each alone", alone, "by CPU time, opening the streams included"))
            for name, added_ms in (("1 stream", row.lone_added_ms), ("32 streams", row.among_added_ms)):
                wanted = f"lane delays the first token under {FIRST_TOKEN_BAR_MS:g} ms ({name}, p50)"
                if added_ms:
                    bars.append(_judge_added(wanted, added_ms[0], FIRST_TOKEN_BAR_MS))
    return bars


def _judge_added(wanted: str, added_ms: float, limit_ms: float) -> Bar:
    # Nothing can take time away: below zero, the direct upstream was disturbed, and nothing is shown.
    shown = f"{added_ms:.2f} ms" if added_ms >= 0 else "the direct upstream was slower, so it was disturbed"
    return Bar(wanted, shown, 0 <= added_ms < limit_ms)


def _judge_tokens(how: str, per_s: float, note: str) -> Bar:
    wanted = f"lane relays at least {TOKENS_BAR:,} tokens/s a core, {how}"
    return Bar(wanted, f"{per_s:,.0f} ({note})", per_s >= TOKENS_BAR)
