"""How long and how hard: the two plans, and the load that is the same for everybody."""

from __future__ import annotations

from attrs import frozen

MODEL = "gpt-4o-mini"
SYSTEM_PROMPT = "You are a support agent. Answer in two sentences, and say so when you do not know."
# About 400 characters, a short support question: nothing in it that a guardrail masks or blocks.
QUESTION = (
    "Our team moved to the new billing plan last week and since then the monthly overview shows two entries for the "
    "same workspace, one with the old name and one with the new one. The totals look right, but the export counts "
    "both of them, so the sum in our own report is twice as high as it should be. Which of the two entries is the one "
    "to keep, and how do we make the export leave the other one out from now on?"
)


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
    connections: int = 32


FULL = Plan(rounds=3, warm_s=2, throughput_s=6, single_s=4, paced_s=5.0, rates=(40, 250, 1000))
# Seven peers, two rounds, about six seconds each, plus their starts: under two minutes.
QUICK = Plan(rounds=2, warm_s=1, throughput_s=2, single_s=1, paced_s=0.6, rates=(40, 500))
