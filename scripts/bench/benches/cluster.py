"""What `[cluster]` costs a request: the same gateway alone, and with Redis and PostgreSQL on the loopback.

One worker on its own core, nginx as the provider, the engines on the load's core. `added` is the median's difference at
one connection; `share` is the cluster's part of the requests a second at 32. Exit status 1 where more than 0.4 ms is
added, or less than 60 % is left. Needs redis-server, postgresql and nginx (scripts/system-packages).

The second table is what a request sends to the engines, without what a node sends that serves none. The third one is of
outages: an engine is killed, stopped (SIGSTOP) or emptied under load for a minute (5 s with --quick), and comes back.
Exit status 1 also where a request fails, or where the 99th percentile is more than 5 ms above the one before, after the
first second. `--outages` measures these alone: `scripts/bench/cluster --outages --away-s 60`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from statistics import median, quantiles
from time import perf_counter, sleep

import psycopg
import trio
from attrs import frozen

from pg_trio.store.token_file import PREFIX_CHARS, hash_token
from scripts.bench.harness.cli import Options, Parser, Reports, positive, say
from scripts.bench.harness.client import Caller, run_crowd
from scripts.bench.harness.gateway import ALL_STAGES, PG_TRIO, PROJECT, Endpoint, GatewayFiles, set_up
from scripts.bench.harness.process_stats import measure_cpu_s
from scripts.bench.harness.processes import BenchError
from scripts.bench.harness.site import RunningGateway, Site, open_site
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import QUESTION
from tests.support.engines import PostgresServer, RedisServer, postgres_program, running_postgres, running_redis

MOST_ADDED_MS, LEAST_SHARE = 0.4, 0.6
AT_ONCE = 32
BUDGET = {"monthly_budget_usd": 1_000_000, "estimated_cost_per_1k_tokens_usd": 0.0001, "max_output_tokens": 256}
ENDPOINTS: Mapping[str, Mapping[str, object]] = {
    "no limit": {},
    # An hour's limit of 100,000 is 28 a second: exact, so each request asks Redis.
    "exact limit": {"rate_limit_per_hour": 100_000},
    "leased limit": {"rate_limit_per_minute": 10_000_000},
    "slots": {},
    "budget": BUDGET,
    "all stages": ALL_STAGES,
}
# The credential of an endpoint, if it is not the one without a limit.
CREDENTIALS: Mapping[str, str] = {"slots": "limited"}
# Twice as many as there are clients: all of them are served.
SLOTS = {"max_concurrent": 2 * AT_ONCE}


@frozen(slots=True)
class Outage:
    """How an engine (its place in `Engines`) goes and comes back, and the endpoint that needs it."""

    engine: str
    begin: str
    end: str
    endpoint: str
    loses_data: bool = False


# A PostgreSQL that comes back without its data has lost the tokens, so there is nothing to measure.
OUTAGES: Mapping[str, Outage] = {
    "Redis killed": Outage("redis", "kill", "start", "exact limit"),
    "Redis stopped": Outage("redis", "freeze", "thaw", "exact limit"),
    "Redis emptied": Outage("redis", "kill", "start", "exact limit", loses_data=True),
    "PostgreSQL killed": Outage("postgres", "kill", "start", "budget"),
    "PostgreSQL stopped": Outage("postgres", "freeze", "thaw", "budget"),
}
# Some 300 calls a second: two outages of a minute stay within the exact limit of an hour.
OUTAGE_CALLERS, CALL_PAUSE_S, BEFORE_S, BACK_S = 4, 0.01, 3.0, 6.0
# Calls of the first second may meet their limit (`redis_timeout_ms`).
FIRST_S = 1.0
MOST_LATER_MS = 5.0
_OUTAGE_HEAD = (
    "outage",
    "calls",
    "failed",
    "before p99 ms",
    "first second, most ms",
    "later p99 ms",
    "added",
    "back p99 ms",
)
# For the statistics of PostgreSQL: a connection reports at most once a second.
SETTLE_S = 2.0
STANDING_S = 5.0
_TRAFFIC_HEAD = (
    "endpoint",
    "calls of Redis a request",
    "bytes to Redis",
    "bytes from Redis",
    "commits of PostgreSQL a request",
)
_HEAD = (
    "endpoint",
    "alone p50 ms",
    "cluster p50 ms",
    "added",
    "alone req/s",
    "cluster req/s",
    "share",
    "alone CPU µs",
    "cluster CPU µs",
)


def add_options(parser: Parser) -> None:
    parser.add_argument("--only", nargs="+", choices=tuple(ENDPOINTS), help="some endpoints")
    outages = "outages alone, all or some"
    parser.add_argument("--outages", nargs="*", choices=tuple(OUTAGES), metavar="OUTAGE", help=outages)
    parser.add_argument("--away-s", type=positive, help="how long an outage lasts, in seconds")


def run(options: Options) -> Reports:
    if shutil.which("redis-server") is None or postgres_program("initdb") is None:
        raise BenchError("redis-server and postgresql are needed (scripts/system-packages)")
    calls, rounds = (1_500, 2) if options.quick else (10_000, 4)
    names = options.only or list(ENDPOINTS)
    with open_site("nginx") as site, running_postgres() as postgres:
        if options.outages is None:
            with running_redis() as redis:
                engines = Engines(redis, postgres)
                yield from compare(site, engines, names, calls, rounds)
                yield measure_traffic(site, engines, names, calls)
        # It keeps its data when it is killed.
        with running_redis("--appendonly", "yes") as redis:
            away_s = options.away_s or (5.0 if options.quick else 60.0)
            yield measure_outages(site, Engines(redis, postgres), options.outages or list(OUTAGES), away_s)


@frozen(slots=True)
class Engines:
    """The servers of a bench."""

    redis: RedisServer
    postgres: PostgresServer


def compare(site: Site, engines: Engines, names: list[str], calls: int, rounds: int) -> Reports:
    """A gateway alone and one with `[cluster]`."""
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with open_gateways(site, engines, names) as gateways:
        for number in range(rounds):
            for name in names:
                for kind, running in gateways.items():
                    figures = measure(running, name, calls)
                    found.setdefault((name, kind), []).append(figures)
                    say(f"round {number + 1}, {name}, {kind}: p50 {figures[0]:.3f} ms, {figures[1]:,.0f} requests/s")
    rows, wrong = [], []
    for name in names:
        alone, cluster = (
            tuple(median(each) for each in zip(*found[name, kind], strict=True)) for kind in ("alone", "cluster")
        )
        added, share = cluster[0] - alone[0], cluster[1] / alone[1]
        cells = [f"{alone[0]:.3f}", f"{cluster[0]:.3f}", f"{added:+.3f}", f"{alone[1]:,.0f}", f"{cluster[1]:,.0f}"]
        rows.append((name, *cells, f"{share:.0%}", f"{alone[2]:.0f}", f"{cluster[2]:.0f}"))
        wrong += [f"{name}: {added:.3f} ms added"] if added > MOST_ADDED_MS else []
        wrong += [f"{name}: {share:.0%} of the requests a second"] if share < LEAST_SHARE else []
    yield Report([Table(_HEAD, rows)], {}, wrong)


@contextmanager
def open_gateways(
    site: Site, engines: Engines, names: list[str], kinds: Sequence[str] = ("alone", "cluster")
) -> Iterator[dict[str, RunningGateway]]:
    """Both gateways, which are called by turns, on one core."""
    with ExitStack() as stack:
        upstream = stack.enter_context(site.run_upstream())
        endpoints = [
            Endpoint(slug_of(name), {CREDENTIALS.get(name, "up"): "gpt-4o-mini"}, ENDPOINTS[name]) for name in names
        ]
        addresses = {"up": upstream.base_url, "limited": upstream.base_url}
        gateways = {}
        for kind in kinds:
            files = set_up(site.make_folder(kind), addresses, endpoints, limits={"limited": SLOTS})
            if kind == "cluster":
                join_cluster(files, engines)
            gateways[kind] = stack.enter_context(site.run_gateway(files))
        yield gateways


def join_cluster(files: GatewayFiles, engines: Engines) -> None:
    """Let a gateway be a node of a new cluster, which knows its token."""
    url = engines.postgres.create_database()
    section = f'[cluster]\nredis_url = "{engines.redis.url}"\npostgres_url = "{url}"\nnode = "bench"\n'
    files.configuration.write_text(section + files.configuration.read_text())
    subprocess.run([PG_TRIO, "migrate", "--config", str(files.configuration)], check=True, timeout=60)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO pgtrio.tokens (project_uuid, name, prefix, digest, env, scopes, created_at)"
            " VALUES (%s, 'bench', %s, %s, 'live', 'chat models', 0)",
            (PROJECT, files.token[:PREFIX_CHARS], hash_token(files.token)),
        )


def measure(gateway: RunningGateway, name: str, calls: int) -> tuple[float, ...]:
    """The median of a lone client in milliseconds; of many requests a second, and CPU µs of each."""
    target = gateway.files.target(gateway.port, slug_of(name), {"message": QUESTION})
    request, times = target.as_bytes(), []

    async def ask(left: Iterator[int], total: int) -> None:
        async with await Caller.connect(gateway.port) as caller:
            while next(left) < total:
                started = perf_counter()
                answer = await caller.call(request)
                times.append(perf_counter() - started)
                if answer.status != 200:
                    raise BenchError(f"{name}: an answer of {answer.status} {answer.failure}")

    trio.run(ask, count(), calls // 4)
    p50_ms = median(times) * 1000
    numbers, started, cpu_s = count(), perf_counter(), measure_cpu_s(*gateway.workers)
    trio.run(run_crowd, AT_ONCE, lambda _: ask(numbers, calls))
    per_s = calls / (perf_counter() - started)
    return p50_ms, per_s, (measure_cpu_s(*gateway.workers) - cpu_s) / calls * 1e6


@frozen(slots=True)
class Call:
    """When a call began (seconds of one clock), how long it took, and its status."""

    at: float
    took_ms: float
    status: int


@frozen(slots=True)
class Traffic:
    """What went to the engines so far, and when that was read."""

    at: float
    calls: float
    bytes_in: float
    bytes_out: float
    commits: float
    reply_bytes: int

    @classmethod
    def read(cls, engines: Engines, url: str) -> Traffic:
        """As the engines say. Scripts count once, whatever they do inside."""
        sleep(SETTLE_S)
        stats = engines.redis.command("INFO", "stats") + "\n" + engines.redis.command("INFO", "commandstats")
        said = dict(line.strip().partition(":")[::2] for line in stats.splitlines() if ":" in line)
        scripts = re.search(r"calls=(\d+)", said.get("cmdstat_evalsha", "calls=0"))
        commits = engines.postgres.query(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()", url
        )
        bytes_in, bytes_out = (float(said[f"total_net_{way}_bytes"]) for way in ("input", "output"))
        # The reply that was just read is not counted in it yet, but will be.
        return cls(
            perf_counter(), float(scripts[1]) if scripts else 0.0, bytes_in, bytes_out, float(commits), len(stats)
        )

    def since(self, before: Traffic) -> tuple[float, list[float]]:
        """The seconds, and the growth of calls, of bytes to and from Redis, and of commits."""
        bytes_out = self.bytes_out - before.bytes_out - before.reply_bytes
        bytes_in = self.bytes_in - before.bytes_in
        return self.at - before.at, [self.calls - before.calls, bytes_in, bytes_out, self.commits - before.commits]


def measure_traffic(site: Site, engines: Engines, names: list[str], calls: int) -> Report:
    """What a request sends to the engines, without what a node sends that serves none."""
    rows: list[tuple[str, ...]] = []
    with open_gateways(site, engines, names, ["cluster"]) as gateways:
        gateway = gateways["cluster"]
        url = engines.postgres.url_of(f"test_{engines.postgres.databases}")
        idle = Traffic.read(engines, url)
        sleep(STANDING_S)
        seconds, grown = Traffic.read(engines, url).since(idle)
        standing = [each / seconds for each in grown]
        for name in names:
            before = Traffic.read(engines, url)
            measure(gateway, name, calls)
            seconds, grown = Traffic.read(engines, url).since(before)
            asked = calls + calls // 4
            each = [(one - still * seconds) / asked for one, still in zip(grown, standing, strict=True)]
            rows.append((name, f"{each[0]:.3f}", f"{each[1]:,.0f}", f"{each[2]:,.0f}", f"{each[3]:.3f}"))
            say(f"{name}: {rows[-1]}")
    rows.append(("standing, a second", *[f"{one:,.1f}" for one in standing]))
    return Report([Table(_TRAFFIC_HEAD, rows)], {})


def measure_outages(site: Site, engines: Engines, outages: Sequence[str], away_s: float) -> Report:
    """What calls take while an engine is away, and when it is back."""
    rows, wrong = [], []
    with open_gateways(site, engines, ["exact limit", "budget"], ["cluster"]) as gateways:
        for outage in outages:
            calls, began_at, ended_at = trio.run(call_through, gateways["cluster"], engines, OUTAGES[outage], away_s)
            failed = sum(call.status != 200 for call in calls)
            before = p99_of(calls, 0.0, began_at)
            first = max(call.took_ms for call in calls if began_at - FIRST_S <= call.at < began_at + FIRST_S)
            later = p99_of(calls, began_at + FIRST_S, ended_at)
            back = p99_of(calls, ended_at, float("inf"))
            figures = [f"{figure:.2f}" for figure in (before, first, later)]
            rows.append((outage, f"{len(calls):,}", str(failed), *figures, f"{later - before:+.2f}", f"{back:.2f}"))
            say(f"{outage}: {rows[-1]}")
            wrong += [f"{outage}: {failed} failed requests"] if failed else []
            wrong += [f"{outage}: p99 {later - before:.1f} ms more"] if later - before > MOST_LATER_MS else []
    return Report([Table(_OUTAGE_HEAD, rows)], {}, wrong)


async def call_through(
    gateway: RunningGateway, engines: Engines, outage: Outage, away_s: float
) -> tuple[list[Call], float, float]:
    """All calls; when the engine went, and when it came back."""
    engine = getattr(engines, outage.engine)
    request = gateway.files.target(gateway.port, slug_of(outage.endpoint), {"message": QUESTION}).as_bytes()
    calls: list[Call] = []

    async def ask() -> None:
        async with await Caller.connect(gateway.port) as caller:
            while True:
                at = perf_counter()
                answer = await caller.call(request)
                calls.append(Call(at, (perf_counter() - at) * 1000, answer.status))
                await trio.sleep(CALL_PAUSE_S)

    async with trio.open_nursery() as nursery:
        for _ in range(OUTAGE_CALLERS):
            nursery.start_soon(ask)
        await trio.sleep(BEFORE_S)
        began_at = perf_counter()
        await trio.to_thread.run_sync(getattr(engine, outage.begin))
        await trio.sleep(away_s)
        ended_at = perf_counter()
        if outage.loses_data:
            shutil.rmtree(engine.folder / "appendonlydir")
        await trio.to_thread.run_sync(getattr(engine, outage.end))
        await trio.sleep(BACK_S)
        nursery.cancel_scope.cancel()
    return calls, began_at, ended_at


def p99_of(calls: Sequence[Call], since: float, until: float) -> float:
    """The 99th percentile of calls that began in this time, in milliseconds."""
    return quantiles([call.took_ms for call in calls if since <= call.at < until], n=100)[98]


def slug_of(name: str) -> str:
    return name.replace(" ", "-")
