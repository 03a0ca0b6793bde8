"""From visits for streams to rows: medians over the rounds, ratios to our lane, and the bars we set ourselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from attrs import frozen

from scripts.bench._peers.streams import Streamed, StreamVisit
from scripts.bench._peers.summary import BASELINE, US, Bar, Ratio

# Asked twice: tokens as they come, many in one read, and each alone.
TOKENS_BAR = 25_000
FIRST_TOKEN_BAR_MS = 1.0


@frozen(slots=True)
class StreamRow:
    """One peer over all rounds. Milliseconds as (p50, p99); `lag_ms` and `steady` are of the paced load.

    `alone_cpu_us`: a token's CPU time in the paced load, where every token comes alone.
    """

    name: str
    per_s: float
    us_over_it: Ratio | None
    tokens_a_read: float
    cpu_us: float
    core_share: float
    alone_cpu_us: float
    lone_added_ms: tuple[float, float] | None
    among_added_ms: tuple[float, float] | None
    steady: int
    paced: int
    lag_ms: tuple[float, float]
    longest_gap_ms: float


def summarise_streams(visits: Sequence[StreamVisit]) -> list[StreamRow]:
    """A row for every peer whose streams were measured, in the order of the first round."""
    return [_summarise_peer(name, visits) for name in dict.fromkeys(visit.peer for visit in visits)]


def _summarise_peer(name: str, visits: Sequence[StreamVisit]) -> StreamRow:
    own = [visit for visit in visits if visit.peer == name]

    def middle(read: Callable[[StreamVisit], float]) -> float:
        return median(map(read, own))

    return StreamRow(
        name=name,
        per_s=middle(lambda visit: visit.flood.result.per_s),
        us_over_it=_compare(visits, name),
        tokens_a_read=middle(lambda visit: visit.flood.result.tokens_a_read),
        cpu_us=middle(lambda visit: visit.flood.cpu_us),
        core_share=middle(lambda visit: visit.flood.core_share),
        alone_cpu_us=middle(lambda visit: visit.paced.cpu_us),
        lone_added_ms=_summarise_added(visits, name, lambda visit: _first_us(visit.lone)),
        among_added_ms=_summarise_added(visits, name, lambda visit: _first_us(visit.among)),
        steady=sum(visit.paced.result.steady for visit in own),
        paced=sum(visit.paced.result.streams for visit in own),
        lag_ms=(
            middle(lambda visit: visit.paced.result.lag_p50_us) / 1000,
            middle(lambda visit: visit.paced.result.lag_p99_us) / 1000,
        ),
        longest_gap_ms=max(visit.paced.result.longest_gap_ms for visit in own),
    )


def _first_us(streamed: Streamed) -> tuple[float, float]:
    return streamed.result.first_p50_us, streamed.result.first_p99_us


def _pair(visits: Sequence[StreamVisit], name: str, other: str) -> list[tuple[StreamVisit, StreamVisit]]:
    """Both of every round that has both: a slow minute hits both."""
    by_round = {visit.round: visit for visit in visits if visit.peer == name}
    return [(by_round[visit.round], visit) for visit in visits if visit.peer == other and visit.round in by_round]


def _compare(visits: Sequence[StreamVisit], other: str) -> Ratio | None:
    pairs = _pair(visits, US, other)
    if not pairs:
        return None
    return Ratio(
        per_s=median(one.flood.result.per_s / two.flood.result.per_s for one, two in pairs),
        cpu=median(two.paced.cpu_us / one.paced.cpu_us for one, two in pairs),
    )


def _summarise_added(
    visits: Sequence[StreamVisit], name: str, read_us: Callable[[StreamVisit], tuple[float, float]]
) -> tuple[float, float] | None:
    """Percentiles less the direct upstream's of the same round."""
    pairs = [(read_us(one), read_us(two)) for one, two in _pair(visits, name, BASELINE)]
    if not pairs or name == BASELINE:
        return None
    p50_ms, p99_ms = (median(one[which] - two[which] for one, two in pairs) / 1000 for which in (0, 1))
    return p50_ms, p99_ms


def judge_streams(visits: Sequence[StreamVisit]) -> list[Bar]:
    """The bars, where our lane was measured."""
    return [bar for row in summarise_streams(visits) if row.name == US for bar in _judge_ours(row)]


def _judge_ours(row: StreamRow) -> list[Bar]:
    flood, alone = min(row.per_s, 1e6 / row.cpu_us), 1e6 / row.alone_cpu_us
    bars = [
        _judge_tokens("as fast as they are taken", flood, f"{row.tokens_a_read:.0f} came together"),
        _judge_tokens("each alone", alone, "by CPU time, opening the streams included"),
    ]
    for name, added_ms in (("1 stream", row.lone_added_ms), ("32 streams", row.among_added_ms)):
        if added_ms:
            shown = f"{added_ms[0]:.2f} ms" if added_ms[0] >= 0 else "the upstream was slower, so it was disturbed"
            wanted = f"lane delays the first token under {FIRST_TOKEN_BAR_MS:g} ms ({name}, p50)"
            bars.append(Bar(wanted, shown, 0 <= added_ms[0] < FIRST_TOKEN_BAR_MS))
    return bars


def _judge_tokens(how: str, per_s: float, note: str) -> Bar:
    wanted = f"lane relays at least {TOKENS_BAR:,} tokens/s a core, {how}"
    return Bar(wanted, f"{per_s:,.0f} ({note})", per_s >= TOKENS_BAR)
