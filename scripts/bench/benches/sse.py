"""Microseconds of CPU that a streamed token costs between the provider's bytes and the client's, sockets left out.

One token an event, as OpenAI streams them. `events/read` is how many of them one read brings: 1 while a model writes
slower than we read, more when it does not. The best of several runs is shown: on a busy machine, read the ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import orjson

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.events import ContentDelta
from pg_trio.domain.project import Candidate, Credential
from pg_trio.providers import adapter_for
from pg_trio.providers.sse import EventStreamParser
from pg_trio.surfaces.openai_chunks import ChunkWriter
from scripts.bench.harness.cli import Options, Reports
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.timing import time_rounds

CANDIDATE = Candidate(Credential("bench", "openai", "http://127.0.0.1"), "gpt-4o-mini")
CREATED = 1763800000
CHUNK = {
    "id": "chatcmpl-A7mKGugwaczn3YyrJLlZY6CM0Wlkr",
    "object": "chat.completion.chunk",
    "created": CREATED,
    "model": "gpt-4o-mini-2024-07-18",
    "service_tier": "default",
    "system_fingerprint": "fp_483d39d857",
    "choices": [{"index": 0, "delta": {"content": " token"}, "logprobs": None, "finish_reason": None}],
    "usage": None,
}
EVENT = b"data: " + orjson.dumps(CHUNK) + b"\n\n"
TOKEN = ContentDelta(" token")


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
    renderer = ChunkWriter(CREATED)
    for event in adapter_for("openai").open_stream(CANDIDATE).feed(EVENT):
        renderer.render(event)
    for data in reads:
        for _ in range(len(data) // len(EVENT)):
            renderer.render(TOKEN)


def assemble(reads: list[bytes]) -> None:
    assembler = Assembler()
    for data in reads:
        for _ in range(len(data) // len(EVENT)):
            assembler.add(TOKEN)


def relay(reads: list[bytes]) -> None:
    reader = adapter_for("openai").open_stream(CANDIDATE)
    renderer, assembler = ChunkWriter(CREATED), Assembler()
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
# How many events a read brings. Only steps that read bytes differ by it.
WAYS = {"1": 1.0, "8": 8.0, "1/3": 1 / 3}
_READING = (parse, parse_and_adapt, relay)


def run(options: Options) -> Reports:
    tokens, rounds = (10_000, 5) if options.quick else (50_000, 15)
    stream, rows = EVENT * tokens, []
    for name, step in STEPS.items():
        for way, events in WAYS.items():
            if way == "1" or step in _READING:
                size = int(len(EVENT) * events)
                reads = [stream[start : start + size] for start in range(0, len(stream), size)]
                token_us = min(time_rounds(partial(step, reads), least=rounds).cpu_us) / tokens
                rows.append((name, way, f"{token_us:.2f}", f"{1e6 / token_us:,.0f}"))
    yield Report([Table(("step", "events/read", "µs/token", "tokens/s"), rows)])
