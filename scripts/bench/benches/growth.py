"""CPU time of a request as bodies, histories, endpoints, tokens and open connections grow.

Rules
1. CPU time of the worker over answered requests, not throughput: it holds on a busy machine too.
2. All gateways of an axis run at once and are measured in turn, round after round, so that a slow minute of the machine
   hits every row. A ratio is to the axis' first row in the same round; the table has medians.
3. Only one thing grows along an axis: the history's rows have the same text, cut into more messages.
Exit status 1 if any request failed. Needs nginx and wrk.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from functools import partial

from attrs import evolve, field, frozen

from scripts.bench.harness.cli import Options, Parser, Reports, say, take_turns
from scripts.bench.harness.gateway import name_token, set_up_wide
from scripts.bench.harness.machine import allow_open_files
from scripts.bench.harness.open_loop import OPEN_AT_ONCE, OPEN_PAUSE_S
from scripts.bench.harness.process_stats import measure_cpu_s, measure_memory_bytes
from scripts.bench.harness.processes import HOST, BenchError
from scripts.bench.harness.site import RunningGateway, Site, open_site
from scripts.bench.harness.tables import Report, tabulate
from scripts.bench.harness.target import QUESTION, make_text
from scripts.bench.harness.wrk import CONNECTIONS, VALUE, Load

ROUNDS = (5, 2)
# The most tokens that take turns in the load: so few that the warm-up meets all of them.
_TOKENS_AT_WORK = 500
# A cache so small that tokens in turn are always forgotten again: every look-up goes to the file.
_FORGETFUL = {"PG_TRIO_GATEWAY__TOKEN_CACHE_ENTRIES": "10"}
_HISTORY_CHARACTERS = 20_000
# Fewer connections for bodies: what is under way when wrk stops is paid for and never answered.
_BODY_CONNECTIONS = 4
_IDLE_S = 1.0
# How far each axis goes.
SIZES = {
    "body": (200, 2_000, 20_000, 200_000, 2_000_000),
    "history": (1, 10, 100, 1_000),
    "endpoints": (10, 100, 1_000, 10_000),
    "tokens": (10, 1_000, 100_000, 1_000_000),
    "connections": (0, 100, 1_000, 5_000),
}
_QUICK_SIZES = {**SIZES, "endpoints": (10, 100, 1_000), "tokens": (10, 1_000, 100_000)}
COLUMNS = {
    "": "",
    "CPU µs/req": "{cpu_us:,.0f}",
    "ratio": "{cpu_us_ratio:.2f}",
    "req/s": "{per_s:,.0f}",
    "start s (CPU)": "{start_s:.1f} ({start_cpu_s:.1f})",
    "MB idle / load": "{idle_mb:.0f} / {load_mb_max:.0f}",
    "idle CPU ms/s": "{idle_cpu_ms:.0f}",
    "errors": "{errors_sum:.0f}",
}


@frozen(slots=True, eq=False)
class Row:
    """One size on an axis: which gateway, what is sent, and how many connections do nothing."""

    label: str
    gateway: RunningGateway
    load: Load
    idle_connections: int = 0


def add_options(parser: Parser) -> None:
    axes, help_text = [*SIZES], f"of {', '.join(SIZES)}"
    parser.add_argument("--only", nargs="+", metavar="AXIS", choices=axes, default=axes, help=help_text)


def run(options: Options) -> Reports:
    """One axis after the other. Each row is warmed up before the first round; wrk takes whole seconds only."""
    sizes, warm_s, load_s = (_QUICK_SIZES, 1, 1) if options.quick else (SIZES, 2, 3)
    allow_open_files(max(sizes["connections"]) + 1_000)
    with open_site("nginx", "wrk") as site, site.run_upstream() as upstream:
        for axis in options.only:
            with contextlib.ExitStack() as stack:
                rows = getattr(Axes(site, upstream.base_url, load_s, stack), axis)(sizes[axis])
                for row in rows:
                    row.gateway.run_load(evolve(row.load, duration_s=warm_s))
                in_turn = {row.label: partial(_measure, row) for row in rows}
                found = take_turns(options.rounds, in_turn, "{cpu_us:,.0f} µs a request")
            errors = sum(one["errors_sum"] for rounds in found.values() for one in rounds)
            wrong = [f"{axis}: {errors:.0f} requests failed"] if errors else []
            yield Report([tabulate(found, COLUMNS, base=next(iter(found)))], {axis: found}, wrong)


def _measure(row: Row) -> dict[str, float]:
    """The row in one round. `idle_cpu_ms`: CPU time a second while there is no request."""
    gateway = row.gateway
    with hold_connections(gateway.port, row.idle_connections):
        before_s = measure_cpu_s(gateway.worker)
        time.sleep(_IDLE_S)
        idle_s = measure_cpu_s(gateway.worker) - before_s
        result, used_s = gateway.run_load(row.load)
        return {
            "cpu_us": used_s / result.requests * 1e6,
            "per_s": result.per_s,
            "p99_us": result.p99_us,
            "requests": result.requests,
            "errors_sum": result.errors,
            "load_mb_max": measure_memory_bytes(gateway.worker) / 1e6,
            "idle_mb": gateway.idle_bytes / 1e6,
            "idle_cpu_ms": idle_s / _IDLE_S * 1e3,
            "start_s": gateway.start_s,
            "start_cpu_s": gateway.start_cpu_s,
        }


@contextlib.contextmanager
def hold_connections(port: int, count: int) -> Iterator[None]:
    """So many connections are open and silent for the length of the block. Raises: BenchError if they cannot be."""
    with contextlib.ExitStack() as held:
        try:
            for number in range(count):
                if number % OPEN_AT_ONCE == 0:
                    time.sleep(OPEN_PAUSE_S)
                held.enter_context(socket.create_connection((HOST, port), timeout=10))
        except OSError as exc:
            raise BenchError(f"cannot hold {count} connections: {exc}") from exc
        yield


@frozen(slots=True)
class Axes:
    """The rows of each axis, by its name; their gateways run until the stack is closed."""

    site: Site
    upstream_url: str
    load_s: int
    stack: contextlib.ExitStack = field(repr=False)

    def body(self, sizes: tuple[int, ...]) -> list[Row]:
        gateway = self._open("body")
        texts = {size: make_text(size - len('{"message": ""}')) for size in sizes}
        loads = {size: self._load(gateway, {"message": text}) for size, text in texts.items()}
        return [
            Row(f"{size:,} B", gateway, evolve(load, connections=_BODY_CONNECTIONS)) for size, load in loads.items()
        ]

    def history(self, counts: tuple[int, ...]) -> list[Row]:
        gateway = self._open("history")
        loads = {count: self._load(gateway, {"messages": make_history(count)}) for count in counts}
        return [Row(f"{count:,} messages", gateway, load) for count, load in loads.items()]

    def endpoints(self, counts: tuple[int, ...]) -> list[Row]:
        rows = []
        for count in counts:
            gateway = self._open(f"{count:,} endpoints", endpoints=count)
            load = self._load(gateway, {"message": QUESTION}, slug=VALUE)
            rows.append(Row(f"{count:,} endpoints", gateway, evolve(load, values=[f"e{n}" for n in range(count)])))
        return rows

    def tokens(self, counts: tuple[int, ...]) -> list[Row]:
        rows = []
        kinds: list[tuple[str, int, Mapping[str, str]]] = [(f"{count:,} tokens", count, {}) for count in counts]
        for label, count, environment in [*kinds, (f"{kinds[-1][0]}, none remembered", counts[-1], _FORGETFUL)]:
            gateway = self._open(label, tokens=count, environment=environment)
            # From all over the file.
            values = [name_token(number) for number in range(0, count, max(1, count // _TOKENS_AT_WORK))]
            load = self._load(gateway, {"message": QUESTION}, token=VALUE)
            rows.append(Row(label, gateway, evolve(load, values=values)))
        return rows

    def connections(self, counts: tuple[int, ...]) -> list[Row]:
        gateway = self._open("connections")
        load = self._load(gateway, {"message": QUESTION})
        return [Row(f"{count:,} idle connections", gateway, load, idle_connections=count) for count in counts]

    def _open(
        self, name: str, *, endpoints: int = 1, tokens: int = 0, environment: Mapping[str, str] | None = None
    ) -> RunningGateway:
        say(f"{name}: starting a gateway with {endpoints:,} endpoints and {tokens:,} tokens")
        folder = self.site.make_folder("gateway")
        files = set_up_wide(folder, self.upstream_url, endpoints=endpoints, tokens=tokens)
        return self.stack.enter_context(self.site.run_gateway(files, environment=environment))

    def _load(self, gateway: RunningGateway, body: Mapping[str, object], *, slug: str = "e0", token: str = "") -> Load:
        return Load(gateway.target(slug, body, token=token), CONNECTIONS, self.load_s)


def make_history(count: int) -> list[dict[str, str]]:
    """So many messages, user and assistant in turn, a user's last, with the same number of characters in all."""
    text = make_text(_HISTORY_CHARACTERS // count)
    return [{"role": "assistant" if (count - n) % 2 == 0 else "user", "content": text} for n in range(count)]
