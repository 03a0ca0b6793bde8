"""WebSockets of one worker: memory of an idle socket, many that stream at once, and how fast a `cancel` takes effect.

The gateway (`pg-trio serve`, one worker) is on the first core; the provider and the client are on the second.

  idle     --sockets (2,000) that are open and quiet: what the worker has grown by, a socket
  streams  256 sockets, 64 tokens every 20 ms each: every byte is checked; `gap` is the longest time between two tokens
  cancel   one answer after the other is cancelled after its third token: from the `cancel` frame's sending to the end
           of the provider's connection, as the provider saw it
"""

from __future__ import annotations

import contextlib
import socket
import time

from attrs import evolve

from scripts.bench.harness.cli import Options, Parser, Reports, positive, say
from scripts.bench.harness.gateway import Endpoint, set_up
from scripts.bench.harness.process_stats import measure_memory_bytes
from scripts.bench.harness.processes import HOST, BenchError
from scripts.bench.harness.site import Provider, RunningGateway, Site, open_site
from scripts.bench.harness.streams import StreamLoad, measure_streams
from scripts.bench.harness.tables import Found, Report, quantile, tabulate
from scripts.bench.harness.target import MODEL, QUESTION, StreamOrder, Target
from scripts.bench.harness.websocket_client import LIMIT_S, frame_text, open_socket, read_until

IDLE = {"idle": "", "sockets": "{sockets:,.0f}", "KB/socket": "{socket_kb:.1f}", "opened/s": "{per_s:,.0f}"}
STREAMS = {
    "streams": "",
    "sockets": "{streams_sum:,.0f}",
    "tokens": "{tokens:,.0f}",
    "CPU µs/token": "{cpu_us:.1f}",
    "lag p50 ms": "{lag_p50_ms:.2f}",
    "lag p99 ms": "{lag_p99_ms:.2f}",
    "worst gap ms": "{gap_ms_max:.1f}",
    "without a stall": "{steady_sum:,.0f}",
}
CANCELS = {"cancel": "", "answers": "{cancels:,.0f}", "p50 ms": "{p50_ms:.2f}", "p99 ms": "{p99_ms:.2f}"}
# It never ends by itself.
STUCK = "sim?tokens=50&fault=stall:3"
# What the worker needs to come to rest: garbage is collected when it does.
REST_S = 1.5


def add_options(parser: Parser) -> None:
    parser.add_argument("--sockets", type=positive, help="idle sockets (2000, quick 300)")


def run(options: Options) -> Reports:
    sockets, cancels = options.sockets or (300 if options.quick else 2000), 100 if options.quick else 1000
    order = StreamOrder(256, 64, 20_000)
    endpoints = [Endpoint("relay", {"source": MODEL}), Endpoint("stuck", {"sim": STUCK})]
    with open_site() as site, site.run_source() as source, site.run_provider("sim") as provider:
        addresses = {"source": source.base_url, "sim": provider.base_url}
        files = set_up(site.make_folder("gateway"), addresses, endpoints)
        files = evolve(files, ready_body={"message": StreamOrder(1, 2, 0).text(0), "stream": True})
        with site.run_gateway(files) as gateway:
            idle: Found = {"": [measure_idle(gateway, sockets)]}
            say("idle: {socket_kb:.1f} KB a socket".format(**idle[""][0]))
            streams = measure_both(site, gateway, order)
            cancelled: Found = {"": [measure_cancels(gateway, provider, cancels)]}
    tables = [tabulate(idle, IDLE), tabulate(streams, STREAMS), tabulate(cancelled, CANCELS)]
    yield Report(tables, {"idle": idle, "streams": streams, "cancel": cancelled})


def connect(target: Target, stack: contextlib.ExitStack) -> socket.socket:
    """A socket that is ready."""
    sock = stack.enter_context(socket.create_connection((HOST, target.port), timeout=LIMIT_S))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    open_socket(sock, f"{target.path}/ws", target.headers)
    return sock


def measure_idle(gateway: RunningGateway, sockets: int) -> dict[str, float]:
    """What the worker grows by while so many sockets are open."""
    target = gateway.target("relay", {"message": QUESTION})
    with contextlib.ExitStack() as warm:
        # The first sockets load modules and fill caches.
        for _ in range(20):
            connect(target, warm)
    time.sleep(REST_S)
    before = measure_memory_bytes(gateway.worker)
    with contextlib.ExitStack() as stack:
        started_at = time.monotonic()
        for _ in range(sockets):
            connect(target, stack)
        seconds = time.monotonic() - started_at
        time.sleep(REST_S)
        grown = measure_memory_bytes(gateway.worker) - before
    return {"sockets": sockets, "socket_kb": grown / sockets / 1024, "per_s": sockets / seconds}


def measure_both(site: Site, gateway: RunningGateway, order: StreamOrder) -> Found:
    """The same streams over WebSockets and over SSE."""
    plain = gateway.target("relay", {"message": QUESTION})
    found: Found = {}
    for name, target in (("WebSocket", evolve(plain, over_websocket=True)), ("SSE", plain)):
        for each in (StreamOrder(8, 50, 0), order):
            figures = measure_streams(gateway.process, StreamLoad(target, each), site.folder, site.cores.load)
        found[name] = [figures]
        say("{}: worst gap {gap_ms_max:.1f} ms".format(name, **figures))
    return found


def measure_cancels(gateway: RunningGateway, provider: Provider, cancels: int) -> dict[str, float]:
    """Milliseconds from sending `cancel` to the end of the provider's connection."""
    target = gateway.target("stuck", {"message": QUESTION})
    sent_at = []
    with contextlib.ExitStack() as stack:
        sock = connect(target, stack)
        for number in range(cancels):
            sock.sendall(frame_text({"type": "message", "id": str(number), "message": "Hello"}))
            read_until(sock, b'"seq":3')
            sent_at.append(time.monotonic())
            sock.sendall(frame_text({"type": "cancel", "id": str(number)}))
            read_until(sock, b'"type":"cancelled"')
    time.sleep(0.5)
    closed_at = [request["closed_at"] for request in provider.view()["requests"] if "stall" in str(request["model"])]
    if len(closed_at) != cancels or None in closed_at:
        raise BenchError(f"the provider saw {len(closed_at)} calls of {cancels}, or one that is open")
    taken_ms = [(closed - sent) * 1000 for sent, closed in zip(sent_at, closed_at, strict=True)]
    return {"cancels": cancels, "p50_ms": quantile(taken_ms, 0.50), "p99_ms": quantile(taken_ms, 0.99)}
