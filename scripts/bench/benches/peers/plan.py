"""How long and how hard: the two plans."""

from __future__ import annotations

from attrs import frozen

from scripts.bench.harness.target import StreamOrder
from scripts.bench.harness.wrk import CONNECTIONS

_WARM = StreamOrder(streams=16, tokens=100, pace_us=0)
_LONE = StreamOrder(streams=1, tokens=4, pace_us=0)
_AMONG = StreamOrder(streams=32, tokens=8, pace_us=150_000)
_PACED = StreamOrder(streams=64, tokens=64, pace_us=20_000)


@frozen(slots=True)
class StreamPlan:
    """What every peer streams in each of the first `rounds`, one load after the other.

    flood: so many streams of numbered tokens as fast as they are taken, as many tokens as last about `flood_s`.
    lone:  one connection, one stream after the other: the first token's delay when nothing else is under way.
    among: that of streams that begin while so many others are under way, so slow that every peer keeps up.
    paced: all begin together, a token every 20 ms each, as from a model: none of them may stand still.
    """

    rounds: int
    flood_s: float
    lone_s: float
    among_s: float
    warm: StreamOrder = _WARM
    flood_streams: int = 32
    lone: StreamOrder = _LONE
    among: StreamOrder = _AMONG
    paced: StreamOrder = _PACED


@frozen(slots=True)
class Plan:
    """What every peer goes through in each round. wrk takes whole seconds only.

    `rates`: requests a second; every peer can keep up with the first, LiteLLM included.
    """

    rounds: int
    warm_s: int
    throughput_s: int
    single_s: int
    paced_s: float
    rates: tuple[int, ...]
    streams: StreamPlan
    connections: int = CONNECTIONS


FULL = Plan(
    3, warm_s=2, throughput_s=6, single_s=4, paced_s=5.0, rates=(40, 250, 1000), streams=StreamPlan(3, 4.0, 4.0, 4.0)
)
# Seven peers, two rounds, about six seconds each, and their starts: under two minutes. Streams: one round, one minute.
QUICK = Plan(
    2, warm_s=1, throughput_s=2, single_s=1, paced_s=0.6, rates=(40, 500), streams=StreamPlan(1, 1.0, 0.5, 0.8)
)
