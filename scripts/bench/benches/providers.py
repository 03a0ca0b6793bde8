"""Microseconds of CPU that the adapters of each wire cost: requests written, answers read, sockets left out.

`request` is a conversation of six messages with three tools. `answer` is a whole one of 1,000 tokens. A stream has
1,000 events of one token; `by one` is with each event in a read of its own, `by 16` with sixteen in one. The bar is
15 µs an event. The best of several runs is shown: on a busy machine, read the ratios.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.events import Finished
from pg_trio.domain.options import Options as Sampling
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.domain.tools import Tool, ToolCall
from pg_trio.providers import adapter_for
from pg_trio.simulator.behaviour import parse_behaviour
from pg_trio.simulator.chat_call import ChatCall
from pg_trio.simulator.chat_completion import Occasion, complete
from pg_trio.simulator.wires import WIRES
from scripts.bench.harness.cli import Options, Reports
from scripts.bench.harness.tables import Found, Report, tabulate
from scripts.bench.harness.timing import time_rounds

EVENTS, BAR_US = 1_000, 15.0
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
    Sampling(temperature=0.2, max_output_tokens=500),
    tuple([Tool(f"get_{thing}", f"Get the {thing} of a city", SCHEMA) for thing in ("weather", "time", "news")]),
)
COLUMNS = {
    "wire, µs": "",
    "request": "{request_us:.1f}",
    "answer": "{answer_us:.1f}",
    "event by one": "{by_one_us:.2f}",
    "by 16": "{by_16_us:.2f}",
}


def run(options: Options) -> Reports:
    found: Found = {wire: [measure(wire, 5 if options.quick else 40)] for wire in MODELS}
    over = [f"{wire}: over {BAR_US:g} µs an event" for wire, (costs,) in found.items() if costs["by_one_us"] > BAR_US]
    yield Report([tabulate(found, COLUMNS)], {"wires": found}, over)


def measure(wire: str, rounds: int) -> dict[str, float]:
    """Microseconds of a request, a whole answer, and a streamed event with one and with sixteen in a read."""
    adapter, simulated = adapter_for(wire), WIRES[wire]
    credential = Credential("bench", wire, PROVIDERS[wire].base_url or "", Secret("a-key-of-a-bench"))
    candidate, call = Candidate(credential, MODELS[wire]), ChatCall(MODELS[wire], "Hello", 10)
    completion = complete(parse_behaviour(f"tokens={EVENTS}"), call, Occasion(0, wire, 1))
    whole = orjson.dumps(simulated.plain_object(completion))
    last = simulated.closing_events(completion, include_usage=True) + simulated.done
    events = [simulated.opening_event(completion), *simulated.token_events(completion), last]

    def read_stream(reads: list[bytes]) -> None:
        reader = adapter.open_stream(candidate)
        read = [event for data in reads for event in reader.feed(data)] + reader.close()
        assert isinstance(read[-1], Finished), "the stream is whole"

    def best_us(work: Callable[[], object], times: int = 1) -> float:
        return min(time_rounds(work, times=times, least=max(3, rounds)).cpu_us)

    joined = [b"".join(events[at : at + 16]) for at in range(0, len(events), 16)]
    headers = {"content-type": "application/json"}
    return {
        "request_us": best_us(lambda: adapter.build_request(PROMPT, candidate), 20),
        "answer_us": best_us(lambda: adapter.read_reply(200, headers, whole, candidate, now_s=0.0), 20),
        "by_one_us": best_us(lambda: read_stream(events)) / EVENTS,
        "by_16_us": best_us(lambda: read_stream(joined)) / EVENTS,
    }
