"""What a scrape of /metrics costs: its time with many samples, and the latency of requests meanwhile.

The gateway (`pg-trio serve`, one worker) is on the first core, the provider and the client are on the second. Many
endpoints have each answered a request, so that all their series exist. One connection then asks as fast as it is
answered, in turns without and with a scrape every --every seconds. Exit status 1 if the median scrape of 20,000 samples
takes over 500 ms. Needs nginx and wrk.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from scripts.bench.harness.cli import Options, Parser, Reports, positive, say
from scripts.bench.harness.gateway import Endpoint, GatewayFiles, set_up
from scripts.bench.harness.processes import HOST, BenchError, find_free_port, run_pinned, wait_said
from scripts.bench.harness.site import Site, open_site
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.wrk import Load, run_load

ROUNDS = (3, 1)
# Some 130 samples each.
ENDPOINTS = 160
LEAST_SAMPLES, MOST_MS = 20_000, 500.0
LIMIT_S = 30.0
_DURATION_S = {False: 30, True: 6}


def add_options(parser: Parser) -> None:
    parser.add_argument("--every", type=positive, default=5, help="seconds between scrapes (default 5; Prometheus: 15)")


def run(options: Options) -> Reports:
    with open_site("nginx", "wrk") as site, site.run_upstream() as upstream:
        made = [Endpoint(f"e{number}", {"upstream": f"model-{number}"}) for number in range(ENDPOINTS)]
        files = set_up(site.make_folder("gateway"), {"upstream": upstream.base_url}, made)
        port, admin = find_free_port(), find_free_port()
        command = [*files.make_lane_command(port)[:-1], f"{HOST}:{admin}"]
        with run_pinned("gateway", command, core=site.cores.gateway, log=site.folder / "log") as gateway:
            wait_said(gateway, "serves on")
            _fill_series(files, port)
            scrapes = [_scrape(admin) for _ in range(10)]
            rounds = [_measure_round(site, files, port, (admin, options)) for _ in range(options.rounds)]
    samples, took_ms = scrapes[-1][0], [each for _, each in scrapes]
    say(f"{samples:,} samples")
    plain, beside = (sorted(p99 for p99, _ in rounds), sorted(p99 for _, p99 in rounds))
    head = ("samples", "scrape ms, median", "most", "p99 ms without", f"with one every {options.every} s")
    row = (
        f"{samples:,}",
        f"{median(took_ms):.0f}",
        f"{max(took_ms):.0f}",
        f"{median(plain):.2f}",
        f"{median(beside):.2f}",
    )
    wrong = [] if samples >= LEAST_SAMPLES else [f"only {samples:,} samples"]
    wrong += [f"a scrape takes {median(took_ms):.0f} ms"] if median(took_ms) > MOST_MS else []
    yield Report([Table(head, [row])], {"samples": samples, "took_ms": took_ms, "p99_ms": rounds}, wrong)


def _fill_series(files: GatewayFiles, port: int) -> None:
    """Each endpoint has answered a request."""
    for number in range(ENDPOINTS):
        status, said = files.target(port, f"e{number}", {"message": "Hello"}).call()
        if status != 200:
            raise BenchError(f"the gateway answered {status}: {said[:300]}")


def _scrape(admin: int) -> tuple[int, float]:
    """The number of samples, and the milliseconds that they took."""
    connection = http.client.HTTPConnection(HOST, admin, timeout=LIMIT_S)
    started_at = time.perf_counter()
    connection.request("GET", "/metrics")
    text = connection.getresponse().read()
    took_ms = (time.perf_counter() - started_at) * 1e3
    connection.close()
    return sum(1 for line in text.split(b"\n") if line and not line.startswith(b"#")), took_ms


def _measure_round(site: Site, files: GatewayFiles, port: int, scraped: tuple[int, Options]) -> tuple[float, float]:
    """The p99 of requests over one connection, without and with scrapes, in milliseconds."""
    admin, options = scraped
    load = Load(files.target(port, "e0", {"message": "Hello"}), 1, _DURATION_S[options.quick])
    plain = run_load(load, site.folder / "plain", site.cores.load).p99_us / 1e3
    with _scraping(admin, options.every):
        beside = run_load(load, site.folder / "beside", site.cores.load).p99_us / 1e3
    say(f"p99 {plain:.2f} ms without scrapes, {beside:.2f} ms with them")
    return plain, beside


@contextmanager
def _scraping(admin: int, every_s: int) -> Iterator[None]:
    """A scrape every so many seconds while the block lasts."""
    stopped = threading.Event()

    def scrape_on() -> None:
        while not stopped.wait(every_s):
            _scrape(admin)

    thread = threading.Thread(target=scrape_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(LIMIT_S)
