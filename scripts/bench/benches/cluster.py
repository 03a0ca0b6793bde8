"""What `[cluster]` costs a request: the same gateway alone, and with Redis and PostgreSQL on the loopback.

One worker on its own core, nginx as the provider, the engines on the load's core. `added` is the median's difference at
one connection; `share` is the cluster's part of the requests a second at 32. Exit status 1 where more than 0.4 ms is
added, or less than 60 % is left. Needs redis-server, postgresql and nginx (scripts/system-packages).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from statistics import median
from time import perf_counter

import psycopg
import trio

from pg_trio.store.token_file import PREFIX_CHARS, hash_token
from scripts.bench.harness.cli import Options, Parser, Reports, say
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
    "budget": BUDGET,
    "all stages": ALL_STAGES,
}
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


def run(options: Options) -> Reports:
    if shutil.which("redis-server") is None or postgres_program("initdb") is None:
        raise BenchError("redis-server and postgresql are needed (scripts/system-packages)")
    calls, rounds = (1_500, 2) if options.quick else (10_000, 4)
    names = options.only or list(ENDPOINTS)
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with open_site("nginx") as site, open_gateways(site, names) as gateways:
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
def open_gateways(site: Site, names: list[str]) -> Iterator[dict[str, RunningGateway]]:
    """Both gateways, which are called by turns, on one core."""
    with ExitStack() as stack:
        redis, postgres = stack.enter_context(running_redis()), stack.enter_context(running_postgres())
        upstream = stack.enter_context(site.run_upstream())
        endpoints = [Endpoint(slug_of(name), {"up": "gpt-4o-mini"}, ENDPOINTS[name]) for name in names]
        gateways = {}
        for kind in ("alone", "cluster"):
            files = set_up(site.make_folder(kind), {"up": upstream.base_url}, endpoints)
            if kind == "cluster":
                join_cluster(files, redis, postgres)
            gateways[kind] = stack.enter_context(site.run_gateway(files))
        yield gateways


def join_cluster(files: GatewayFiles, redis: RedisServer, postgres: PostgresServer) -> None:
    """Let a gateway be a node of a new cluster, which knows its token."""
    url = postgres.create_database()
    section = f'[cluster]\nredis_url = "{redis.url}"\npostgres_url = "{url}"\nnode = "bench"\n'
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


def slug_of(name: str) -> str:
    return name.replace(" ", "-")
