"""How long and how hard: the two plans, and the load that is the same for everybody."""

from __future__ import annotations

from attrs import frozen

from scripts.bench._streams.client import Load

MODEL = "gpt-4o-mini"
SYSTEM_PROMPT = "You are a support agent. Answer in two sentences, and say so when you do not know."
# About 400 characters, a short support question: nothing in it that a guardrail masks or blocks.
QUESTION = (
    "Our team moved to the new billing plan last week and since then the monthly overview shows two entries for the "
    "same workspace, one with the old name and one with the new one. The totals look right, but the export counts "
    "both of them, so the sum in our own report is twice as high as it should be. Which of the two entries is the one "
    "to keep, and how do we make the export leave the other one out from now on?"
)


_WARM = Load(streams=16, tokens=100, pace_us=0)
_LONE = Load(streams=1, tokens=4, pace_us=0)
# So slow that everybody keeps up: LiteLLM can begin some sixty a second and relay a thousand tokens.
_AMONG = Load(streams=32, tokens=8, pace_us=150_000)
_PACED = Load(streams=64, tokens=64, pace_us=20_000)


@frozen(slots=True)
class StreamPlan:
    """What every peer streams in each of the first `rounds`, one load after the other.

    flood: so many streams of numbered tokens as fast as they are taken, as many tokens as last about `flood_s`.
    lone:  one connection, one stream after the other: the first token's delay, when nothing else is under way.
    among: that of streams that begin while so many are under way.
    paced: all begin together, a token every 20 ms each, as from a model: none of them may stand still.
    """

    rounds: int
    flood_s: float
    lone_s: float
    among_s: float
    warm: Load = _WARM
    flood_streams: int = 32
    lone: Load = _LONE
    among: Load = _AMONG
    paced: Load = _PACED


@frozen(slots=True)
class Plan:
    """What every peer goes through in each round. wrk takes whole seconds only."""

    rounds: int
    warm_s: int
    throughput_s: int
    single_s: int
    paced_s: float
    # Requests a second: the first is one that every peer can keep up with, LiteLLM included.
    rates: tuple[int, ...]
    streams: StreamPlan
    connections: int = 32


FULL = Plan(
    rounds=3,
    warm_s=2,
    throughput_s=6,
    single_s=4,
    paced_s=5.0,
    rates=(40, 250, 1000),
    streams=StreamPlan(3, 4.0, 4.0, 4.0),
)
# Seven peers, two rounds, about six seconds each, plus their starts: under two minutes. Streams: one round, one minute.
QUICK = Plan(
    rounds=2, warm_s=1, throughput_s=2, single_s=1, paced_s=0.6, rates=(40, 500), streams=StreamPlan(1, 1.0, 0.5, 0.8)
)
