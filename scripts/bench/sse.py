"""Microseconds of CPU a streamed token costs between the provider's bytes and the client's, sockets left out.

usage: scripts/bench/sse [--quick]
One token an event, as OpenAI streams them. `events/read` is how many of them one read brings: 1 while a model writes
slower than we read, more when it does not. The best of several runs is shown: on a busy machine, read the ratios.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import orjson

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.events import ContentDelta
from pg_trio.domain.project import Candidate, Credential
from pg_trio.providers import adapter_for
from pg_trio.providers.sse import EventStreamParser
from pg_trio.surfaces.openai_chunks import ChunkWriter

CANDIDATE = Candidate(Credential("bench", "openai", "http://127.0.0.1"), "gpt-4o-mini")
CHUNK = {
    "id": "chatcmpl-A7mKGugwaczn3YyrJLlZY6CM0Wlkr",
    "object": "chat.completion.chunk",
    "created": 1763800000,
    "model": "gpt-4o-mini-2024-07-18",
    "service_tier": "default",
    "system_fingerprint": "fp_483d39d857",
    "choices": [{"index": 0, "delta": {"content": " token"}, "logprobs": None, "finish_reason": None}],
    "usage": None,
}
EVENT = b"data: " + orjson.dumps(CHUNK) + b"\n\n"


def parse(reads: list[bytes]) -> None:
    parser = EventStreamParser()
    for data in reads:
        parser.feed(data)


def parse_json(reads: list[bytes]) -> None:
    for data in reads:
        for line in data.split(b"\n\n")[:-1]:
            orjson.loads(line[6:])


def parse_and_adapt(reads: list[bytes]) -> None:
    reader = adapter_for("openai").open_stream(CANDIDATE)
    for data in reads:
        reader.feed(data)


def render(reads: list[bytes]) -> None:
    renderer = open_renderer()
    event = ContentDelta(" token")
    for data in reads:
        for _ in range(len(data) // len(EVENT)):
            renderer.render(event)


def assemble(reads: list[bytes]) -> None:
    assembler = Assembler()
    event = ContentDelta(" token")
    for data in reads:
        for _ in range(len(data) // len(EVENT)):
            assembler.add(event)


def relay(reads: list[bytes]) -> None:
    """The whole way, as a stage goes it."""
    reader = adapter_for("openai").open_stream(CANDIDATE)
    renderer, assembler = ChunkWriter(1763800000), Assembler()
    for data in reads:
        events = reader.feed(data)
        for event in events:
            assembler.add(event)
        renderer.render_all(events)


STEPS: dict[str, Callable[[list[bytes]], None]] = {
    "parse": parse,
    "(its JSON alone)": parse_json,
    "parse, adapt": parse_and_adapt,
    "render": render,
    "assemble": assemble,
    "relay: all of it": relay,
}


def open_renderer() -> ChunkWriter:
    renderer = ChunkWriter(1763800000)
    for event in adapter_for("openai").open_stream(CANDIDATE).feed(EVENT):
        renderer.render(event)
    return renderer


def split(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def best_us(step: Callable[[list[bytes]], None], reads: list[bytes], tokens: int, runs: int) -> float:
    """Microseconds of this process's CPU time a token."""
    best = float("inf")
    for _ in range(runs):
        started = time.process_time()
        step(reads)
        best = min(best, time.process_time() - started)
    return best / tokens * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer tokens and runs: some five seconds")
    quick = parser.parse_args().quick
    tokens, runs = (10_000, 5) if quick else (50_000, 15)
    stream = EVENT * tokens
    ways = {"1": split(stream, len(EVENT)), "8": split(stream, len(EVENT) * 8), "1/3": split(stream, len(EVENT) // 3)}
    print(f"{'step':18} {'events/read':>11} {'µs/token':>9} {'tokens/s':>10}")
    for name, step in STEPS.items():
        # A read that is less than an event tells only of those who read bytes.
        for events_per_read, reads in ways.items():
            if events_per_read == "1" or step in (parse, parse_and_adapt, relay):
                token_us = best_us(step, reads, tokens, runs)
                print(f"{name:18} {events_per_read:>11} {token_us:>9.2f} {1e6 / token_us:>10,.0f}")


if __name__ == "__main__":
    main()
