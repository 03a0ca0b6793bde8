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
class Row:
    """One peer over all rounds. Latencies in milliseconds as (p50, p99); `us_over_it` is our throughput over its."""

    name: str
    per_s: float
    us_over_it: float | None
    paced_ms: tuple[tuple[float, float] | None, ...]
    added_ms: tuple[float, float] | None
    cpu_us: float
    idle_mb: float
    load_mb: float
    errors: int


def summarise(visits: Sequence[Visit]) -> list[Row]:
    """A row for every peer that was measured, in the order of the first round."""
    names = list(dict.fromkeys(visit.peer for visit in visits))
    ours = [visit.throughput.per_s for visit in visits if visit.peer == US]
    ours_per_s = median(ours) if ours else None
    return [_summarise_peer(name, visits, ours_per_s) for name in names]


def _summarise_peer(name: str, visits: Sequence[Visit], ours_per_s: float | None) -> Row:
    own = [visit for visit in visits if visit.peer == name]

    def middle(read: Callable[[Visit], float]) -> float:
        return median(map(read, own))

    per_s = middle(lambda visit: visit.throughput.per_s)
    return Row(
        name=name,
        per_s=per_s,
        us_over_it=ours_per_s / per_s if ours_per_s else None,
        paced_ms=tuple(_summarise_rate(results) for results in zip(*(visit.paced for visit in own), strict=True)),
        added_ms=_summarise_added(own, visits),
        cpu_us=middle(lambda visit: visit.cpu_us),
        idle_mb=middle(lambda visit: visit.idle_bytes) / _MB,
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


def judge(rows: Sequence[Row]) -> list[Bar]:
    """The bars whose rows were measured."""
    by_name = {row.name: row for row in rows}
    bars = [
        _judge_ratio(by_name, US, "portkey", 8.0),
        _judge_ratio(by_name, US, "litellm", 60.0),
        _judge_ratio(by_name, US, "floor", 0.35),
        _judge_ratio(by_name, "hypercorn", "portkey", 1.0),
    ]
    ours = by_name.get(US)
    if ours and ours.added_ms:
        p50_ms, p99_ms = ours.added_ms
        bars.append(Bar("lane adds under 0.5 ms (p50)", f"{p50_ms:.2f} ms", p50_ms < 0.5))
        bars.append(Bar("lane adds under 3 ms (p99)", f"{p99_ms:.2f} ms", p99_ms < 3.0))
    if ours:
        bars.append(Bar("lane under 70 MB idle", f"{ours.idle_mb:.0f} MB", ours.idle_mb < 70.0))
    return [bar for bar in bars if bar]


def _judge_ratio(rows: dict[str, Row], name: str, other: str, least: float) -> Bar | None:
    if name not in rows or other not in rows:
        return None
    ratio = rows[name].per_s / rows[other].per_s
    return Bar(f"{name} at least {least:g} × {other}", f"{ratio:.2f} ×", ratio >= least)
