"""What relaying a stream costs over real sockets: CPU a token, lag, memory a stream; every byte is checked.

Three processes: the gateway (`pg-trio serve`, one worker, tokens checked, everything logged) on the first core; on the
second the source (a provider that sends each token as an event of its own in a send of its own) and the client. Each
row is a load:

  lone    64 streams, a token every 20 ms each: every token comes alone, as from a model
  steady  256 streams, a token every 14 ms each: 18,300 tokens a second
  busy    512 streams, a token every 20 ms each: 25,600 tokens a second
  flood   32 streams as fast as they go: what came together is relayed together
  many    --streams at once (2,000), a token every second each: memory a stream

`tokens/s/core` is tokens a second of the gateway's CPU time, which stays comparable on a busy machine. `tokens/read`
is how many came to the client together. `lag` is from the source's send to the client's read, both on the same core,
at p50 and p99. It is given a second time for the tokens that left once all streams had begun: all streams of a row
begin together, and the first ones flow while the gateway begins the others. Order, loss and streams mixed up are
checked in every byte. With `--root DIR` the gateway comes from another checkout, to compare two versions in alternating
runs.
"""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from scripts.bench.harness.cli import Options, Parser, Reports, positive, say
from scripts.bench.harness.gateway import KEEPS_ALL, RESUMABLE, Endpoint, set_up
from scripts.bench.harness.processes import ROOT, BenchError
from scripts.bench.harness.site import open_site
from scripts.bench.harness.streams import StreamLoad, measure_streams
from scripts.bench.harness.tables import Found, Report, tabulate
from scripts.bench.harness.target import MODEL, QUESTION, StreamOrder

LOADS = ("lone", "steady", "busy", "flood", "many")
COLUMNS = {
    "load": "",
    "streams": "{streams_sum:,.0f}",
    "tokens": "{tokens:,.0f}",
    "tokens/s": "{per_s:,.0f}",
    "CPU µs/token": "{cpu_us:.1f}",
    "tokens/s/core": "{per_core:,.0f}",
    "tokens/read": "{a_read:.1f}",
    "lag p50 ms": "{lag_p50_ms:.2f}",
    "lag p99 ms": "{lag_p99_ms:.2f}",
    "p50 / p99 once all have begun": "{flowing_lag_p50_ms:.2f} / {flowing_lag_p99_ms:.2f}",
    "KB/stream": "{stream_kb:.1f}",
}


def add_options(parser: Parser) -> None:
    parser.add_argument("--streams", type=positive, help="how many at once in `many` (2000, quick 200)")
    parser.add_argument("--only", nargs="+", choices=LOADS, default=LOADS, help="these loads alone")
    parser.add_argument("--resumable", action="store_true", help="of an endpoint whose streams can be resumed")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout whose gateway is measured (this one)")


def tokens_per_core(cpu_us: float) -> float:
    """Tokens in a second of CPU time. Raises: BenchError where the kernel's clock, which counts 10 ms, saw none."""
    if cpu_us <= 0:
        raise BenchError("too few tokens to measure the CPU time of one; more --streams help")
    return 1e6 / cpu_us


def run(options: Options) -> Reports:
    # Python would pass over a folder that is not there, and this checkout's gateway would be measured.
    if not (options.root / "src/pg_trio/__init__.py").is_file():
        raise BenchError(f"{options.root}: no src/pg_trio in it")
    factor, many = (1, options.streams or 200) if options.quick else (4, options.streams or 2000)
    shapes = (
        (64, 100 * factor, 20_000),
        (256, 100 * factor, 14_000),
        (512, 100 * factor, 20_000),
        (32, 1000 * factor, 0),
    )
    orders = [StreamOrder(*shape) for shape in (*shapes, (many, 4 + 2 * factor, 1_000_000))]
    found: Found = {}
    with open_site() as site, site.run_source() as source:
        addresses = {"source": source.base_url}
        endpoint = Endpoint("relay", {"source": MODEL}, RESUMABLE if options.resumable else {})
        settings = {"max_concurrent_requests": 10_000, **(KEEPS_ALL if options.resumable else {})}
        files = set_up(site.make_folder("gateway"), addresses, [endpoint], gateway=settings)
        # The source answers only requests for streams.
        files = evolve(files, ready_body={"message": StreamOrder(1, 2, 0).text(0), "stream": True})
        checkout = {"PYTHONPATH": str(options.root.resolve() / "src")}
        with site.run_gateway(files, environment=checkout) as gateway:
            target = gateway.target("relay", {"message": QUESTION})
            for name, order in (("warm-up", StreamOrder(4, 200, 0)), *zip(LOADS, orders, strict=True)):
                if name in (*options.only, "warm-up"):
                    load = StreamLoad(target, order)
                    figures = measure_streams(gateway.process, load, site.folder, site.cores.load)
                    say("{}: {per_s:,.0f} tokens/s, {cpu_us:.1f} µs of CPU a token".format(name, **figures))
                    if name != "warm-up":
                        found[name] = [{**figures, "per_core": tokens_per_core(figures["cpu_us"])}]
    yield Report([tabulate(found, COLUMNS)], {"loads": found})
