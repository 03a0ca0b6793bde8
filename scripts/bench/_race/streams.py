"""Streams under way together: what each token waits for, whether any stalls, and whether a large body disturbs them.

Provider and client are those of all streams here (scripts/bench/_streams): each token carries its stream, its number
and the time at which it left, and the client judges afterwards that all came, in order, and nobody else's. Memory a
stream is `scripts/bench/relay`'s.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator, Sequence

from attrs import asdict, field, frozen

from scripts.bench._limits.command import format_table, say
from scripts.bench._limits.growth import make_text
from scripts.bench._peers.ours import PROJECT
from scripts.bench._peers.ports import HOST
from scripts.bench._race.report import Table, quantile
from scripts.bench._race.site import READY, Endpoint, Gateway, Place, Site
from scripts.bench._streams.client import Load, Read, Target, read_streams
from scripts.bench._streams.running import run_source

# Five of the pace: what a reader would see as a halt.
STALL_BAR_MS = 100.0
_GATEWAY = "[gateway]\nmax_concurrent_requests = 10000\n"
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
    """One load: how late tokens were, the longest time between two of a stream, and bodies answered beside them."""

    name: str
    load: Load
    seconds: float
    lags_us: Sequence[float]
    gap_ms: float
    bodies: int = 0
    wrong: Sequence[str] = field(factory=tuple)


def run(site: Site, *, quick: bool) -> Table:
    """Each load after the other."""
    factor = 1 if quick else 4
    paced = Load(streams=64, tokens=100 * factor, pace_us=20_000)
    with _open(site) as gateway:
        read_streams(_target(gateway), Load(streams=4, tokens=50, pace_us=0))
        samples = [
            _measure("256 streams, a token every 20 ms", gateway, Load(streams=256, tokens=64, pace_us=20_000)),
            _measure("2,000 streams, a token a second", gateway, Load(2_000, 4 + 2 * factor, 1_000_000)),
            _measure("64 streams, a token every 20 ms", gateway, paced),
            _measure_beside_bodies("the same beside bodies of 100,000 tokens", gateway, paced),
        ]
    raw = {"samples": [asdict(sample) for sample in samples]}
    return Table("streams", make_table(samples), raw, judge(samples))


@contextlib.contextmanager
def _open(site: Site) -> Iterator[Gateway]:
    with contextlib.ExitStack() as stack:
        _, port = stack.enter_context(run_source(core=site.cores.load, log=site.folder / "source.log"))
        other = stack.enter_context(site.run_provider("other"))
        addresses = {"source": f"http://{HOST}:{port}/v1", "other": other.base_url, READY: other.base_url}
        endpoints = [
            Endpoint("relay", [Place("source", "gpt-4o-mini")]),
            Endpoint("body", [Place("other", "sim")], _BODY_SETTINGS),
        ]
        yield stack.enter_context(site.run_gateway(addresses, endpoints, _GATEWAY))


def _target(gateway: Gateway) -> Target:
    return Target(gateway.port, f"/api/{PROJECT}/relay", gateway.token)


def _measure(name: str, gateway: Gateway, load: Load) -> Sample:
    say(f"{name} …")
    started_at = time.monotonic()
    wrong: list[str] = []
    lags_us: list[float] = []
    reads = read_streams(_target(gateway), load)
    seconds = time.monotonic() - started_at
    for read in reads:
        try:
            lags_us += read.lags_us()
        except ValueError as exc:
            wrong.append(str(exc))
    if len(lags_us) != load.all_tokens:
        wrong.append(f"{len(lags_us)} tokens of {load.all_tokens} came")
    return Sample(name, load, seconds, lags_us, max(_longest_gap_ms(read) for read in reads), wrong=wrong)


def _longest_gap_ms(read: Read) -> float:
    # The first is the wait for the stream to begin, the answer to its request.
    return max((after - before) / 1e6 for before, after in zip(read.times, read.times[1:], strict=False))


def _measure_beside_bodies(name: str, gateway: Gateway, load: Load) -> Sample:
    statuses: list[int] = []
    over = threading.Event()
    sender = threading.Thread(target=_send_bodies, args=(gateway, statuses, over))
    sender.start()
    try:
        sample = _measure(name, gateway, load)
    finally:
        over.set()
        sender.join()
    wrong = [*sample.wrong, *(f"a large body was answered with {status}" for status in statuses if status != 200)]
    if not statuses:
        wrong.append("no large body was answered meanwhile")
    return Sample(name, load, sample.seconds, sample.lags_us, sample.gap_ms, len(statuses), wrong)


def _send_bodies(gateway: Gateway, statuses: list[int], over: threading.Event) -> None:
    """One large body after the other, with a pause between them, until it is over."""
    head, _, body = gateway.request("body", {"message": make_text(_BODY_CHARS)}).partition(b"\r\n\r\n")
    request_line, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    while not over.wait(_BODY_EVERY_S):
        with contextlib.closing(http.client.HTTPConnection(HOST, gateway.port, timeout=60)) as connection:
            connection.request("POST", request_line.split()[1], body, headers)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)


def make_table(samples: Sequence[Sample]) -> str:
    """A line for each load."""
    header = ("", "tokens", "tokens/s", "lag ms, p50", "p99", "most", "longest gap ms", "beyond the pace", "bodies")
    lines = [
        (
            sample.name,
            f"{sample.load.all_tokens:,}",
            f"{sample.load.all_tokens / sample.seconds:,.0f}",
            *(f"{quantile(sample.lags_us or [0.0], share) / 1e3:.1f}" for share in (0.5, 0.99, 1.0)),
            f"{sample.gap_ms:.1f}",
            f"{_find_stall_ms(sample):.1f}",
            str(sample.bodies) if sample.bodies else "–",
        )
        for sample in samples
    ]
    return format_table(header, lines)


def _find_stall_ms(sample: Sample) -> float:
    return sample.gap_ms - sample.load.pace_us / 1e3


def judge(samples: Sequence[Sample]) -> list[str]:
    """Bytes that are not as they were sent, and streams that stalled."""
    wrong = [f"{sample.name}: {text}" for sample in samples for text in sample.wrong]
    stalled = [(sample.name, _find_stall_ms(sample)) for sample in samples if _find_stall_ms(sample) > STALL_BAR_MS]
    return wrong + [f"{name}: a stream stood still for {ms:.0f} ms beyond its pace" for name, ms in stalled]
