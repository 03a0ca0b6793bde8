"""How fast a stop takes effect: from the client's stop to the end of the provider's connection, as the provider saw it.

The gateway (`pg-trio serve`, two workers) is on the first core; the provider and the client are on the second. One
answer after the other is stopped after its third token:

  disconnect  the client of a plain stream closes its connection
  delete      DELETE on a resumable stream's address, over another connection, so often to the other worker

A WebSocket's `cancel` is in `scripts/bench/websockets`. Exit status 1 if a p99 is over 50 ms.
"""

from __future__ import annotations

import re
import socket
import time

from attrs import evolve

from scripts.bench.harness.cli import Options, Parser, Reports, positive, say
from scripts.bench.harness.gateway import Endpoint, set_up
from scripts.bench.harness.processes import HOST, BenchError
from scripts.bench.harness.site import Provider, RunningGateway, open_site
from scripts.bench.harness.tables import Found, Report, quantile, tabulate
from scripts.bench.harness.target import Target

COLUMNS = {
    "stopped by": "",
    "answers": "{answers:,.0f}",
    "p50 ms": "{p50_ms:.2f}",
    "p99 ms": "{p99_ms:.2f}",
    "most ms": "{most_ms:.2f}",
}
# It never ends by itself.
STUCK = "sim?tokens=50&fault=stall:3"
MOST_P99_MS = 50.0
LIMIT_S = 20.0
WORKERS = 2


def add_options(parser: Parser) -> None:
    parser.add_argument("--answers", type=positive, help="of each kind (1,000, quick 100)")


def run(options: Options) -> Reports:
    answers = options.answers or (100 if options.quick else 1000)
    endpoints = [
        Endpoint("plain", {"sim": STUCK}),
        Endpoint("kept", {"sim": STUCK}, {"resumable_streams": True}),
        Endpoint("ready", {"sim": "sim"}),
    ]
    found: Found = {}
    with open_site() as site, site.run_provider("sim") as provider:
        files = set_up(site.make_folder("gateway"), {"sim": provider.base_url}, endpoints)
        with site.run_gateway(evolve(files, ready="ready"), workers=WORKERS) as gateway:
            for name, slug in (("disconnect", "plain"), ("delete", "kept")):
                found[name] = [measure_stops(gateway, provider, slug, answers)]
                say("{}: p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms".format(name, **found[name][0]))
    slow = [name for name, (figures,) in found.items() if figures["p99_ms"] > MOST_P99_MS]
    wrong = [f"{name}: p99 is over {MOST_P99_MS:.0f} ms" for name in slow]
    yield Report([tabulate(found, COLUMNS)], {"stops": found}, wrong)


def measure_stops(gateway: RunningGateway, provider: Provider, slug: str, answers: int) -> dict[str, float]:
    """Milliseconds from the stop to the end of the provider's connection."""
    target = gateway.target(slug, {"message": "Hello there", "stream": True})
    before = len(closings(provider))
    stopped_at = [stop_one(target, deletes=slug == "kept") for _ in range(answers)]
    # The provider notes the end of a connection when it reads from it.
    time.sleep(0.5)
    closed_at = closings(provider)[before:]
    if len(closed_at) != answers:
        raise BenchError(f"the provider saw {len(closed_at)} calls of {answers} end")
    taken_ms = [(closed - stopped) * 1000 for stopped, closed in zip(stopped_at, closed_at, strict=True)]
    return {
        "answers": answers,
        "p50_ms": quantile(taken_ms, 0.50),
        "p99_ms": quantile(taken_ms, 0.99),
        "most_ms": max(taken_ms),
    }


def closings(provider: Provider) -> list[float]:
    """When the provider's connections of stopped answers ended, in the order of their requests."""
    calls = [request for request in provider.view()["requests"] if "stall" in str(request["model"])]
    return [call["closed_at"] for call in calls if call["closed_at"] is not None]


def stop_one(target: Target, *, deletes: bool) -> float:
    """Ask for a stream, and stop it after its third token. When it was stopped, by the monotonic clock."""
    with socket.create_connection((HOST, target.port), timeout=LIMIT_S) as client:
        client.sendall(target.as_bytes())
        read = b""
        while read.count(b"\n\n") < 3:
            data = client.recv(65_536)
            if not data:
                raise BenchError(f"the stream ended: {read[:300]!r}")
            read += data
        if not deletes:
            return time.monotonic()
        found = re.search(rb"(?i)x-request-id: (\S+)", read)
        if found is None:
            raise BenchError(f"an answer without an id: {read[:300]!r}")
        return delete_stream(target, found[1].decode())


def delete_stream(target: Target, request_id: str) -> float:
    """Stop that stream by its address. When that was asked for, by the monotonic clock."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in target.headers.items())
    asked = f"DELETE {target.path}/streams/{request_id} HTTP/1.1\r\nHost: {HOST}\r\n{fields}Connection: close\r\n\r\n"
    with socket.create_connection((HOST, target.port), timeout=LIMIT_S) as other:
        stopped_at = time.monotonic()
        other.sendall(asked.encode("ascii"))
        said = b""
        while data := other.recv(4096):
            said += data
    if b'"stopped":true' not in said:
        raise BenchError(f"the stream was not stopped: {said[-200:]!r}")
    return stopped_at
