"""The lane's throughput and CPU time against stock Hypercorn's: the same trivial application on the same core.

wrk is the client. The servers take turns, a round each, so that a noisy machine is noisy for both. Read the ratios, not
the figures; on a busy machine, read the ratio of the CPU time. Needs wrk.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as serve_stock

from pg_trio.config.settings import ServerSettings
from pg_trio.server.serving import serve_app
from scripts.bench.harness.cli import Options, Parser, Reports, positive, take_turns
from scripts.bench.harness.processes import HOST, PeerUnavailableError, Pinned, run_module, wait_said
from scripts.bench.harness.site import Site, open_site
from scripts.bench.harness.tables import Report, tabulate
from scripts.bench.harness.target import Target
from scripts.bench.harness.wrk import Load, run_load

ROUNDS = (5, 2)
COLUMNS = {
    "server": "",
    "median req/s": "{per_s:,.0f}",
    "lowest": "{per_s_min:,.0f}",
    "highest": "{per_s_max:,.0f}",
    "the lane answers": "{per_s_over:.1f} times the requests",
    "CPU µs a request": "{cpu_us:,.1f}",
    "the lane's": "1/{cpu_us_ratio:.1f}",
}
BODY = b'{"ok":true,"content":"' + b"x" * 400 + b'"}'
HEADERS = {"Authorization": "Bearer pg_test_0123456789", "Accept": "application/json"}


def add_options(parser: Parser) -> None:
    parser.add_argument("--seconds", type=positive, help="length of a round (default 5, quick 2)")
    parser.add_argument("--connections", type=positive, default=32, help="connections of wrk (default 32)")


def run(options: Options) -> Reports:
    seconds = options.seconds or (2 if options.quick else 5)
    with open_site("wrk") as site, ExitStack() as stack:
        core, logs = site.cores.gateway, {name: site.folder / f"{name}.log" for name in ("lane", "hypercorn")}
        runs = {name: run_module(name, __name__, name, core=core, log=log) for name, log in logs.items()}
        servers = {name: stack.enter_context(run) for name, run in runs.items()}
        rows = {name: partial(_measure, site, server, options.connections, seconds) for name, server in servers.items()}
        found = take_turns(options.rounds, rows, "{per_s:,.0f}/s")
    shape = f"{options.connections} connections, {options.rounds} rounds of {seconds} s, interleaved"
    yield Report([tabulate(found, COLUMNS, base="lane", notes=(shape,))], {"servers": found})


def _measure(site: Site, server: Pinned, connections: int, seconds: int) -> dict[str, float]:
    port, before_s = int(wait_said(server, r"port (\d+)\s")[1]), server.measure_cpu_s()
    load = Load(Target(port, "/api/x/y", HEADERS, body=""), connections, seconds)
    result = run_load(load, site.folder / "load", site.cores.load)
    if result.errors:
        raise PeerUnavailableError(f"{server.name} failed under load: {result}\n{server.read_log_end()}")
    cpu_us = (server.measure_cpu_s() - before_s) / result.requests * 1e6
    return {**dict.fromkeys(("per_s", "per_s_min", "per_s_max"), result.per_s), "cpu_us": cpu_us}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, wait once as a gateway does, answer 424 bytes of JSON."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": (await receive())["type"] + ".complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await trio.lowlevel.checkpoint()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def serve(name: str) -> None:
    """Serve until killed; the port is printed first."""
    config = Config()
    config.bind, config.keep_alive_max_requests, config.errorlog = [f"{HOST}:0"], 10**9, None
    lane = partial(serve_app, application, config, ServerSettings(), shutdown=trio.Event())
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(lane if name == "lane" else partial(serve_stock, application, config))
        print(f"port {addresses[0].rpartition(':')[2]}", flush=True)


if __name__ == "__main__":
    trio.run(serve, sys.argv[1])
