"""Streams under way together: what each token waits for, whether any stream stalls, and whether a large body disturbs
them. Each token carries its stream, its number and the time at which it left the source; the client judges afterwards
that all came, in order, and none of another stream. Memory a stream: `scripts/bench/relay`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from scripts.bench.harness.cli import say
from scripts.bench.harness.gateway import READY, Endpoint
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.streams import STALL_MS, StreamLoad, measure_streams
from scripts.bench.harness.tables import Found, Report, tabulate
from scripts.bench.harness.target import MODEL, QUESTION, StreamOrder, make_text

# 100,000 tokens of four characters.
_BODY_CHARS, _BODY_EVERY_S = 400_000, 0.5
_BODY_SETTINGS = {
    "monthly_budget_usd": 1_000_000,
    "estimated_cost_per_1k_tokens_usd": 0.0001,
    "input_schema": '{"type": "object", "required": ["message"], "properties": {"message": {"minLength": 1}}}',
    "guardrails": {"pii_filter": {}, "prompt_injection": {}, "keyword_blocklist": {"words": ["project nightfall"]}},
}
BESIDE = "the same beside bodies of 100,000 tokens"
COLUMNS = {
    "": "",
    "tokens": "{tokens:,.0f}",
    "tokens/s": "{per_s:,.0f}",
    "lag ms, p50": "{lag_p50_ms:.1f}",
    "p99": "{lag_p99_ms:.1f}",
    "most": "{lag_ms_max:.1f}",
    "longest gap ms": "{gap_ms_max:.1f}",
    "beyond the pace": "{stall_ms_max:.1f}",
    "bodies": "{bodies:.0f}",
}


def run(site: Site, *, quick: bool) -> Report:
    """Each load after the other. A token that is lost, doubled or of another stream ends the run with an error."""
    factor = 1 if quick else 4
    paced = StreamOrder(streams=64, tokens=100 * factor, pace_us=20_000)
    orders = {
        "256 streams, a token every 20 ms": StreamOrder(256, 64, 20_000),
        "2,000 streams, a token a second": StreamOrder(2_000, 4 + 2 * factor, 1_000_000),
        "64 streams, a token every 20 ms": paced,
        BESIDE: paced,
    }
    endpoints = [Endpoint("relay", {"source": MODEL}), Endpoint("body", {READY: "sim"}, _BODY_SETTINGS)]
    found: Found = {}
    statuses: list[int] = []
    with site.run_source() as source, site.run_providers("other") as (_, addresses):
        addresses["source"] = source.base_url
        with site.open_gateway(addresses, endpoints, gateway={"max_concurrent_requests": 10_000}) as gateway:
            target = gateway.target("relay", {"message": QUESTION})
            for name, order in orders.items():
                say(f"{name} …")
                with _sending_bodies(gateway, statuses) if name == BESIDE else contextlib.nullcontext():
                    figures = measure_streams(gateway.process, StreamLoad(target, order), site.folder, site.cores.load)
                found[name] = [{**figures, "stall_ms_max": figures["gap_ms_max"] - order.pace_us / 1e3}]
    found[BESIDE][0]["bodies"] = len(statuses)
    return Report([tabulate(found, COLUMNS)], {"loads": found}, judge(found, statuses))


@contextlib.contextmanager
def _sending_bodies(gateway: RunningGateway, statuses: list[int]) -> Iterator[None]:
    """One large body after the other, with a pause between them, for the length of the block."""
    target, over = gateway.target("body", {"message": make_text(_BODY_CHARS)}), threading.Event()

    def send() -> None:
        while not over.wait(_BODY_EVERY_S):
            statuses.append(target.call()[0])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


def judge(found: Found, statuses: Sequence[int]) -> list[str]:
    stalls = {name: rounds[0]["stall_ms_max"] for name, rounds in found.items()}
    still = {name: ms for name, ms in stalls.items() if ms > STALL_MS}
    wrong = [f"{name}: a stream stood still for {ms:.0f} ms beyond its pace" for name, ms in still.items()]
    wrong += [f"a large body was answered with {status}" for status in statuses if status != 200]
    return wrong if statuses else [*wrong, "no large body was answered meanwhile"]
