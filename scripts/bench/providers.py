"""Microseconds of CPU that the adapters of each wire cost: requests written, answers read, sockets left out.

usage: scripts/bench/providers [--quick]
`request` is a conversation of six messages with three tools. `answer` is a whole one of 1,000 tokens. A stream has
1,000 events of one token; `by one` is with each event in a read of its own, `by 16` with sixteen in one. The bar is
15 µs an event. The best of several runs is shown: on a busy machine, read the ratios.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import orjson
from attrs import frozen

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.events import Finished
from pg_trio.domain.options import Options
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.domain.tools import Tool, ToolCall
from pg_trio.providers import adapter_for
from pg_trio.simulator.behaviour import parse_behaviour
from pg_trio.simulator.chat_call import ChatCall
from pg_trio.simulator.completion import Occasion, complete
from pg_trio.simulator.wires import WIRES

EVENTS = 1_000
BAR_US = 15.0
MODELS = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.5-flash",
    "cohere": "command-a-03-2025",
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
PROMPT = Prompt(
    (
        Message("system", "You are a helpful assistant. Answer briefly."),
        Message("user", "What is the weather in Ulm?"),
        Message("assistant", None, tool_calls=(ToolCall("call_1", "get_weather", '{"city": "Ulm", "days": 3}'),)),
        Message("tool", '{"degrees": 7, "sky": "clear"}', tool_call_id="call_1"),
        Message("assistant", "It is 7 degrees and clear."),
        Message("user", "And tomorrow?"),
    ),
    Options(temperature=0.2, max_output_tokens=500),
    tuple([Tool(f"get_{thing}", f"Get the {thing} of a city", SCHEMA) for thing in ("weather", "time", "news")]),
)


@frozen
class Costs:
    """Microseconds: of a request, of a whole answer, and of a streamed event with one and with sixteen in a read."""

    request_us: float
    answer_us: float
    by_one_us: float
    by_16_us: float


def measure(wire: str, rounds: int) -> Costs:
    """The costs of a wire."""
    adapter = adapter_for(wire)
    credential = Credential("bench", wire, PROVIDERS[wire].base_url or "", Secret("a-key-of-a-bench"))
    candidate = Candidate(credential, MODELS[wire])
    completion = complete(
        parse_behaviour(f"tokens={EVENTS}"), ChatCall(MODELS[wire], "Hello", 10), Occasion(0, wire, 1)
    )
    whole = orjson.dumps(WIRES[wire].plain_object(completion))
    events = [
        WIRES[wire].opening_event(completion),
        *WIRES[wire].token_events(completion),
        WIRES[wire].closing_events(completion, include_usage=True) + WIRES[wire].done,
    ]

    def read_stream(reads: list[bytes]) -> None:
        reader = adapter.open_stream(candidate)
        last = [event for data in reads for event in reader.feed(data)] + reader.close()
        assert isinstance(last[-1], Finished), "the stream is whole"

    joined = [b"".join(events[at : at + 16]) for at in range(0, len(events), 16)]
    headers = {"content-type": "application/json"}
    return Costs(
        request_us=_best_us(lambda: adapter.build_request(PROMPT, candidate), rounds * 20) / 20,
        answer_us=_best_us(lambda: adapter.read_reply(200, headers, whole, candidate, now_s=0.0), rounds * 20) / 20,
        by_one_us=_best_us(lambda: read_stream(events), rounds) / EVENTS,
        by_16_us=_best_us(lambda: read_stream(joined), rounds) / EVENTS,
    )


def _best_us(work: Callable[[], object], rounds: int) -> float:
    """The best of several runs, in CPU time: of 20 calls where there are more than 20 rounds."""
    calls = 20 if rounds >= 20 * 3 else 1
    best = float("inf")
    for _ in range(max(3, rounds // calls)):
        begun = time.process_time_ns()
        for _ in range(calls):
            work()
        best = min(best, (time.process_time_ns() - begun) / 1000)
    return best


def main() -> int:
    """Print the table; 1 where an event costs more than the bar."""
    parser = argparse.ArgumentParser(prog="scripts/bench/providers", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rougher numbers")
    rounds = 5 if parser.parse_args().quick else 40
    print(f"{'wire':<10} {'request':>9} {'answer':>9} {'event by one':>13} {'by 16':>7}   µs")
    over = []
    for wire in WIRES:
        costs = measure(wire, rounds)
        stream = f"{costs.by_one_us:>13.2f} {costs.by_16_us:>7.2f}"
        print(f"{wire:<10} {costs.request_us:>9.1f} {costs.answer_us:>9.1f} {stream}")
        if costs.by_one_us > BAR_US:
            over.append(wire)
    if over:
        print(f"over {BAR_US:g} µs an event: {', '.join(over)}", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
