"""From visits to rows: medians over the rounds, ratios to our lane, and the bars we set ourselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from attrs import frozen

from scripts.bench._peers.measure import Visit
from scripts.bench._peers.paced import PacedResult

US = "lane"
BASELINE = "direct"
_MB = 1e6


@frozen(slots=True)
class Ratio:
    """How many times another's work one does: by throughput, and by CPU time a request.

    On a quiet machine the two agree where the core is the limit. Where others used the core, throughput lies.
    """

    per_s: float
    cpu: float

    @property
    def cautious(self) -> float:
        """The one that flatters less."""
        return min(self.per_s, self.cpu)


@frozen(slots=True)
class Row:
    """One peer over all rounds. Latencies in milliseconds as (p50, p99)."""

    name: str
    per_s: float
    us_over_it: Ratio | None
    paced_ms: tuple[tuple[float, float] | None, ...]
    added_ms: tuple[float, float] | None
    cpu_us: float
    core_share: float
    idle_mb: float
    idle_largest_mb: float
    load_mb: float
    errors: int


def summarise(visits: Sequence[Visit]) -> list[Row]:
    """A row for every peer that was measured, in the order of the first round."""
    return [_summarise_peer(name, visits) for name in dict.fromkeys(visit.peer for visit in visits)]


def compare(visits: Sequence[Visit], name: str, other: str) -> Ratio | None:
    """One over the other: in each round, for a slow minute hits both; then the median. None without a common round."""
    by_round = {visit.round: visit for visit in visits if visit.peer == name}
    pairs = [(by_round[visit.round], visit) for visit in visits if visit.peer == other and visit.round in by_round]
    if not pairs:
        return None
    return Ratio(
        per_s=median(one.throughput.per_s / two.throughput.per_s for one, two in pairs),
        cpu=median(two.cpu_us / one.cpu_us for one, two in pairs),
    )


def _summarise_peer(name: str, visits: Sequence[Visit]) -> Row:
    own = [visit for visit in visits if visit.peer == name]

    def middle(read: Callable[[Visit], float]) -> float:
        return median(map(read, own))

    return Row(
        name=name,
        per_s=middle(lambda visit: visit.throughput.per_s),
        us_over_it=compare(visits, US, name),
        paced_ms=tuple(_summarise_rate(results) for results in zip(*(visit.paced for visit in own), strict=True)),
        added_ms=_summarise_added(own, visits),
        cpu_us=middle(lambda visit: visit.cpu_us),
        core_share=middle(lambda visit: visit.core_share),
        idle_mb=middle(lambda visit: visit.idle_bytes) / _MB,
        idle_largest_mb=middle(lambda visit: visit.idle_largest_bytes) / _MB,
        load_mb=middle(lambda visit: visit.load_bytes) / _MB,
        errors=sum(visit.errors for visit in own),
    )


def _summarise_rate(results: Iterable[PacedResult | None]) -> tuple[float, float] | None:
    """Medians over the rounds; None where any round could not keep up, for the others were close to it."""
    kept: list[PacedResult] = []
    for result in results:
        if result is None:
            return None
        kept.append(result)
    return median(result.p50_us for result in kept) / 1000, median(result.p99_us for result in kept) / 1000


def _summarise_added(own: Sequence[Visit], visits: Sequence[Visit]) -> tuple[float, float] | None:
    """One connection: percentiles less the direct upstream's of the same round, so that a slow minute cancels out."""
    direct = {visit.round: visit.single for visit in visits if visit.peer == BASELINE}
    pairs = [(visit.single, direct[visit.round]) for visit in own if visit.round in direct]
    if not pairs or own[0].peer == BASELINE:
        return None
    return (
        median(single.p50_us - base.p50_us for single, base in pairs) / 1000,
        median(single.p99_us - base.p99_us for single, base in pairs) / 1000,
    )


@frozen(slots=True)
class Bar:
    """What one run has to show, and what it showed."""

    wanted: str
    shown: str
    is_met: bool


def judge(visits: Sequence[Visit]) -> list[Bar]:
    """The bars whose rows were measured."""
    ratios = (
        _judge_ratio(visits, US, "portkey", 8.0),
        _judge_ratio(visits, US, "litellm", 60.0),
        _judge_ratio(visits, US, "floor", 0.35),
        _judge_ratio(visits, "hypercorn", "portkey", 1.0),
    )
    bars = [bar for bar in ratios if bar]
    for row in summarise(visits):
        if row.name == US:
            bars += _judge_ours(row)
    return bars


def _judge_ratio(visits: Sequence[Visit], name: str, other: str, least: float) -> Bar | None:
    ratio = compare(visits, name, other)
    if ratio is None:
        return None
    shown = f"{ratio.per_s:.2f} × by throughput, {ratio.cpu:.2f} × by CPU time"
    return Bar(f"{name} at least {least:g} × {other}", shown, ratio.cautious >= least)


def _judge_ours(row: Row) -> list[Bar]:
    bars = [Bar("lane's idle worker under 70 MB", f"{row.idle_largest_mb:.0f} MB", row.idle_largest_mb < 70.0)]
    if row.added_ms:
        p50_ms, p99_ms = row.added_ms
        bars.append(_judge_added("p50", p50_ms, 0.5))
        bars.append(_judge_added("p99", p99_ms, 3.0))
    return bars


def _judge_added(name: str, added_ms: float, limit_ms: float) -> Bar:
    # Nothing can take time away: below zero, the direct upstream was disturbed, and nothing is shown.
    shown = f"{added_ms:.2f} ms" if added_ms >= 0 else "the direct upstream was slower, so it was disturbed"
    return Bar(f"lane adds under {limit_ms:g} ms ({name})", shown, 0 <= added_ms < limit_ms)
