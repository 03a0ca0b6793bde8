"""Compare the lane's throughput with stock Hypercorn's: the same trivial application, the same core, wrk as the client.

The servers take turns, a round each, so that a noisy machine is noisy for all of them. Read the ratios, not the
figures; on a busy machine, that of the CPU time a request, which waits for no one.
Needs Debian's wrk and util-linux (taskset).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

BODY = b'{"ok":true,"content":"' + b"x" * 400 + b'"}'


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, wait once as any gateway does, answer 424 bytes of JSON."""
    import trio

    if scope["type"] == "lifespan":
        await serve_lifespan(receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    await trio.lowlevel.checkpoint()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def serve_lifespan(receive: Any, send: Any) -> None:
    """Have nothing to start or stop."""
    for _ in range(2):
        message = await receive()
        await send({"type": message["type"] + ".complete"})


def serve(name: str) -> None:
    """Serve until killed; prints the port first."""
    from functools import partial

    import trio
    from hypercorn.config import Config
    from hypercorn.trio import serve as serve_stock

    from pg_trio.config.settings import ServerSettings
    from pg_trio.server.serving import serve_app

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.keep_alive_max_requests = 10**9
    config.errorlog = None

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            if name == "lane":
                run = partial(serve_app, application, config, ServerSettings(), shutdown=trio.Event())
            else:
                run = partial(serve_stock, application, config)
            addresses = await nursery.start(run)
            print(addresses[0].rpartition(":")[2], flush=True)

    trio.run(main)


class Round(NamedTuple):
    """What one round showed."""

    requests_per_s: float
    cpu_us: float


class Server(NamedTuple):
    """A running server."""

    port: int
    process_id: int

    def cpu_s(self) -> float:
        """Its CPU time so far, user and system."""
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(name: str, core: int) -> Iterator[Server]:
    """A server on `core`."""
    command = ["taskset", "-c", str(core), sys.executable, __file__, "--serve", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), process.pid)
        finally:
            process.kill()


def run_wrk(server: Server, *, connections: int, seconds: int, core: int) -> Round:
    """One round; fails if any answer was not a 200."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-H", "Authorization: Bearer pg_test_0123456789", "-H", "Accept: application/json"]
    command.append(f"http://127.0.0.1:{server.port}/api/x/y")
    cpu_before_s = server.cpu_s()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu_s = server.cpu_s() - cpu_before_s
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"the server failed under load:\n{said}")
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    count = re.search(r"([0-9]+) requests in", said)
    assert rate is not None, said
    assert count is not None, said
    return Round(float(rate[1]), cpu_s / int(count[1]) * 1e6)


def main() -> None:
    """Run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each server (default: 5)")
    parser.add_argument("--seconds", type=int, default=5, help="length of a round (default: 5)")
    parser.add_argument("--connections", type=int, default=32, help="connections of wrk (default: 32)")
    parser.add_argument("--quick", action="store_true", help="two rounds of two seconds")
    parser.add_argument("--serve", choices=["lane", "hypercorn"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed")
    if arguments.quick:
        arguments.rounds, arguments.seconds = 2, 2
    measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Interleave the rounds of both servers; the last core serves, the first one loads."""
    cores = sorted(os.sched_getaffinity(0))
    rounds: dict[str, list[Round]] = {"lane": [], "hypercorn": []}
    with started("lane", cores[-1]) as lane, started("hypercorn", cores[-1]) as hypercorn:
        for _ in range(arguments.rounds):
            for name, server in (("lane", lane), ("hypercorn", hypercorn)):
                shown = run_wrk(server, connections=arguments.connections, seconds=arguments.seconds, core=cores[0])
                rounds[name].append(shown)
    print_table(rounds)
    print(f"{arguments.connections} connections, {arguments.rounds} rounds of {arguments.seconds} s each, interleaved")


def print_table(rounds: dict[str, list[Round]]) -> None:
    """Medians, extremes, and how many times the lane is better."""
    print(f"{'server':<12}{'median req/s':>14}{'lowest':>10}{'highest':>10}{'CPU µs a request':>20}")
    medians = {}
    for name, shown in rounds.items():
        rates = [one.requests_per_s for one in shown]
        medians[name] = Round(statistics.median(rates), statistics.median(one.cpu_us for one in shown))
        print(f"{name:<12}{medians[name].requests_per_s:>14,.0f}{min(rates):>10,.0f}{max(rates):>10,.0f}", end="")
        print(f"{medians[name].cpu_us:>20,.1f}")
    lane, hypercorn = medians["lane"], medians["hypercorn"]
    faster, cheaper = lane.requests_per_s / hypercorn.requests_per_s, hypercorn.cpu_us / lane.cpu_us
    print(f"the lane answers {faster:.1f} times the requests, each for 1/{cheaper:.1f} of the CPU time")


if __name__ == "__main__":
    main()
