"""Streams under way together: what each token waits for, whether any stream stalls, and whether a large body disturbs
them. Each token carries its stream, its number and the time at which it left the source; the client judges afterwards
that all came, in order, and none of another stream. Memory a stream: `scripts/bench/relay`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

from attrs import evolve, field, frozen

from scripts.bench.benches.growth import make_text
from scripts.bench.harness.cli import say
from scripts.bench.harness.gateway import READY, Endpoint, Place
from scripts.bench.harness.processes import HOST
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.stream_load import STALL_MS
from scripts.bench.harness.stream_reads import Read, read_streams
from scripts.bench.harness.tables import Report, Table, spread
from scripts.bench.harness.target import QUESTION, StreamOrder

# 100,000 tokens of four characters.
_BODY_CHARS = 400_000
_BODY_EVERY_S = 0.5
_BODY_SETTINGS = {
    "monthly_budget_usd": 1_000_000,
    "estimated_cost_per_1k_tokens_usd": 0.0001,
    "input_schema": '{"type": "object", "required": ["message"], "properties": {"message": {"minLength": 1}}}',
    "guardrails": {"pii_filter": {}, "prompt_injection": {}, "keyword_blocklist": {"words": ["project nightfall"]}},
}


@frozen(slots=True)
class Sample:
    """One load: how late tokens were, the longest time between two pieces of a stream, bodies answered beside them."""

    name: str
    order: StreamOrder
    seconds: float
    lags_us: Sequence[float]
    gap_ms: float
    bodies: int = 0
    wrong: Sequence[str] = field(factory=tuple)

    @property
    def stall_ms(self) -> float:
        """The longest gap beyond the pace."""
        return self.gap_ms - self.order.pace_us / 1e3


def run(site: Site, *, quick: bool) -> Report:
    """Each load after the other."""
    factor = 1 if quick else 4
    paced = StreamOrder(streams=64, tokens=100 * factor, pace_us=20_000)
    with _open(site) as gateway:
        read_streams(gateway.target("relay", {"message": QUESTION}), StreamOrder(streams=4, tokens=50, pace_us=0))
        samples = [
            _measure("256 streams, a token every 20 ms", gateway, StreamOrder(256, 64, 20_000)),
            _measure("2,000 streams, a token a second", gateway, StreamOrder(2_000, 4 + 2 * factor, 1_000_000)),
            _measure("64 streams, a token every 20 ms", gateway, paced),
            _measure_beside_bodies("the same beside bodies of 100,000 tokens", gateway, paced),
        ]
    return Report([make_table(samples)], {"samples": samples}, judge(samples))


@contextlib.contextmanager
def _open(site: Site) -> Iterator[RunningGateway]:
    with site.run_source() as (_, port), site.run_provider("other") as other:
        addresses = {"source": f"http://{HOST}:{port}/v1", "other": other.base_url, READY: other.base_url}
        endpoints = [Endpoint("relay", [Place("source")]), Endpoint("body", [Place("other", "sim")], _BODY_SETTINGS)]
        with site.open_gateway(addresses, endpoints, gateway={"max_concurrent_requests": 10_000}) as gateway:
            yield gateway


def _measure(name: str, gateway: RunningGateway, order: StreamOrder) -> Sample:
    say(f"{name} …")
    started_at = time.monotonic()
    wrong: list[str] = []
    lags_us: list[float] = []
    reads = read_streams(gateway.target("relay", {"message": QUESTION}), order)
    seconds = time.monotonic() - started_at
    for read in reads:
        try:
            lags_us += read.lags_us()
        except ValueError as exc:
            wrong.append(str(exc))
    if len(lags_us) != order.all_tokens:
        wrong.append(f"{len(lags_us)} tokens of {order.all_tokens} came")
    return Sample(name, order, seconds, lags_us, max(_longest_gap_ms(read) for read in reads), wrong=wrong)


def _longest_gap_ms(read: Read) -> float:
    return max((after - before) / 1e6 for before, after in pairwise(read.times))


def _measure_beside_bodies(name: str, gateway: RunningGateway, order: StreamOrder) -> Sample:
    statuses: list[int] = []
    over = threading.Event()
    sender = threading.Thread(target=_send_bodies, args=(gateway, statuses, over))
    sender.start()
    try:
        sample = _measure(name, gateway, order)
    finally:
        over.set()
        sender.join()
    wrong = [*sample.wrong, *(f"a large body was answered with {status}" for status in statuses if status != 200)]
    if not statuses:
        wrong.append("no large body was answered meanwhile")
    return evolve(sample, bodies=len(statuses), wrong=wrong)


def _send_bodies(gateway: RunningGateway, statuses: list[int], over: threading.Event) -> None:
    """One large body after the other, with a pause between them, until it is over."""
    target = gateway.target("body", {"message": make_text(_BODY_CHARS)})
    while not over.wait(_BODY_EVERY_S):
        statuses.append(target.call()[0])


def make_table(samples: Sequence[Sample]) -> Table:
    """A row for each load."""
    rows = [
        (
            sample.name,
            f"{sample.order.all_tokens:,}",
            f"{sample.order.all_tokens / sample.seconds:,.0f}",
            *spread(sample.lags_us, scale=1e-3),
            f"{sample.gap_ms:.1f}",
            f"{sample.stall_ms:.1f}",
            str(sample.bodies) if sample.bodies else "–",
        )
        for sample in samples
    ]
    head = ("", "tokens", "tokens/s", "lag ms, p50", "p99", "most", "longest gap ms", "beyond the pace", "bodies")
    return Table(head, rows)


def judge(samples: Sequence[Sample]) -> list[str]:
    """Bytes that are not as they were sent, and streams that stalled."""
    wrong = [f"{sample.name}: {text}" for sample in samples for text in sample.wrong]
    stalled = [sample for sample in samples if sample.stall_ms > STALL_MS]
    return wrong + [f"{one.name}: a stream stood still for {one.stall_ms:.0f} ms beyond its pace" for one in stalled]
