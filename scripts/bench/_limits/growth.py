"""`scripts/bench/growth`: what a request costs as everything it could depend on grows.

Rules
1. CPU time of the worker over answered requests, not throughput: it holds on a busy machine too.
2. All gateways of one axis run at once and are measured in turn, round after round, so that a slow minute of the
   machine hits every row. A row's ratio is to the axis' first row in the same round; the table has medians.
3. Only one thing grows along an axis: the history's rows have the same text, cut into more messages.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from attrs import asdict, evolve, frozen

from scripts.bench._limits.command import Site, format_table, make_parser, open_site, report, run_command, say
from scripts.bench._limits.gateway import Running, make_gateway, name_token, run_gateway
from scripts.bench._limits.load import VALUE, Load, run_load
from scripts.bench._limits.worker import measure_cpu_s, measure_memory_bytes
from scripts.bench._peers.errors import BenchError, PeerUnavailableError
from scripts.bench._peers.plan import QUESTION
from scripts.bench._peers.ports import HOST

AXES = ("body", "history", "endpoints", "tokens", "connections")
# The most tokens that take turns in the load: few enough that the warm-up meets all of them.
_TOKENS_AT_WORK = 500
# A cache so small that tokens in turn are always forgotten again: every look-up goes to the file.
_FORGETFUL = {"PG_TRIO_GATEWAY__TOKEN_CACHE_ENTRIES": "10"}
_HISTORY_CHARACTERS = 20_000
_CONNECTIONS = 32
# For bodies fewer: what is under way when wrk stops is paid for and never answered, and megabytes take long.
_BODY_CONNECTIONS = 4
_IDLE_S = 1.0
# Half of Hypercorn's listening queue (100), and time to accept them.
_OPEN_AT_ONCE = 50
_OPEN_PAUSE_S = 0.05


@frozen(slots=True)
class Plan:
    """How far each axis goes, how often and how long each row is loaded. wrk takes whole seconds only."""

    rounds: int
    warm_s: int
    load_s: int
    body_bytes: tuple[int, ...] = (200, 2_000, 20_000, 200_000, 2_000_000)
    messages: tuple[int, ...] = (1, 10, 100, 1_000)
    endpoints: tuple[int, ...] = (10, 100, 1_000, 10_000)
    tokens: tuple[int, ...] = (10, 1_000, 100_000, 1_000_000)
    connections: tuple[int, ...] = (0, 100, 1_000, 5_000)


FULL = Plan(rounds=5, warm_s=2, load_s=3)
QUICK = Plan(rounds=2, warm_s=1, load_s=1, endpoints=(10, 100, 1_000), tokens=(10, 1_000, 100_000))


@frozen(slots=True, eq=False)
class Row:
    """One size on an axis: which gateway, what is sent, and so many connections that do nothing."""

    label: str
    running: Running
    load: Load
    idle_connections: int = 0


@frozen(slots=True)
class Sample:
    """One row in one round. `idle_cpu_us_per_s` is what the worker uses while nobody calls."""

    axis: str
    row: str
    round: int
    cpu_us: float
    per_s: float
    p99_us: float
    errors: int
    requests: int
    memory_bytes: int
    idle_cpu_us_per_s: float


@frozen(slots=True)
class Start:
    """What it took until a row's gateway gave its first answer, and its worker's memory then."""

    axis: str
    row: str
    start_s: float
    start_cpu_s: float
    idle_bytes: int


def measure_axis(site: Site, plan: Plan, axis: str) -> tuple[list[Sample], list[Start]]:
    """Every row of the axis in every round. Raises: PeerUnavailableError, TimeoutError."""
    samples = []
    with contextlib.ExitStack() as stack:
        rows = _ROWS[axis](site, plan, stack)
        starts = [
            Start(axis, row.label, row.running.start_s, row.running.start_cpu_s, row.running.idle_bytes) for row in rows
        ]
        for number in range(1, plan.rounds + 1):
            for row in rows:
                if number == 1:
                    run_load(evolve(row.load, duration_s=plan.warm_s), site.folder / "warm", site.cores.load)
                sample = _measure(site, axis, row, number)
                samples.append(sample)
                say(f"{axis} {row.label}, round {number}: {sample.cpu_us:,.0f} µs a request, {sample.errors} errors")
    return samples, starts


def _measure(site: Site, axis: str, row: Row, number: int) -> Sample:
    (worker,) = row.running.workers
    with hold_connections(row.running.port, row.idle_connections):
        before_s = measure_cpu_s(worker)
        time.sleep(_IDLE_S)
        loaded_s = measure_cpu_s(worker)
        result = run_load(row.load, site.folder / "load", site.cores.load)
        done_s = measure_cpu_s(worker)
        if not result.requests:
            raise PeerUnavailableError(f"{axis} {row.label}: no answer\n{row.running.process.read_log_end()}")
        return Sample(
            axis=axis,
            row=row.label,
            round=number,
            cpu_us=(done_s - loaded_s) / result.requests * 1e6,
            per_s=result.per_s,
            p99_us=result.p99_us,
            errors=result.errors,
            requests=result.requests,
            memory_bytes=measure_memory_bytes(worker),
            idle_cpu_us_per_s=(loaded_s - before_s) / _IDLE_S * 1e6,
        )


@contextlib.contextmanager
def hold_connections(port: int, count: int) -> Iterator[None]:
    """So many connections are open and silent for the length of the block. Raises: BenchError if they cannot be."""
    with contextlib.ExitStack() as held:
        try:
            for number in range(count):
                # A full listening queue costs a second: the kernel tries again no sooner.
                if number % _OPEN_AT_ONCE == 0:
                    time.sleep(_OPEN_PAUSE_S)
                held.enter_context(socket.create_connection((HOST, port), timeout=10))
        except OSError as exc:
            raise BenchError(f"cannot hold {count} connections: {exc}") from exc
        yield


def _open(
    site: Site,
    stack: contextlib.ExitStack,
    name: str,
    *,
    endpoints: int = 1,
    tokens: int = 0,
    environment: Mapping[str, str] | None = None,
) -> Running:
    say(f"{name}: starting a gateway with {endpoints:,} endpoints and {tokens:,} tokens")
    gateway = make_gateway(site.folder / name, site.upstream_url, endpoints=endpoints, tokens=tokens)
    running = stack.enter_context(run_gateway(gateway, str(site.cores.gateway), environment=environment))
    say(f"{name}: ready after {running.start_s:.1f} s")
    return running


def _make_body_rows(site: Site, plan: Plan, stack: contextlib.ExitStack) -> list[Row]:
    running = _open(site, stack, "body")
    rows = []
    for size in plan.body_bytes:
        load = _load(plan, running, {"message": make_text(size - len('{"message": ""}'))})
        rows.append(Row(f"{size:,} B", running, evolve(load, connections=_BODY_CONNECTIONS)))
    return rows


def _make_history_rows(site: Site, plan: Plan, stack: contextlib.ExitStack) -> list[Row]:
    running = _open(site, stack, "history")
    return [
        Row(f"{count:,} messages", running, _load(plan, running, {"messages": make_history(count)}))
        for count in plan.messages
    ]


def _make_endpoint_rows(site: Site, plan: Plan, stack: contextlib.ExitStack) -> list[Row]:
    rows = []
    for count in plan.endpoints:
        running = _open(site, stack, f"endpoints-{count}", endpoints=count)
        load = Load(running.make_target({"message": QUESTION}, slug=VALUE), _CONNECTIONS, plan.load_s)
        rows.append(Row(f"{count:,} endpoints", running, evolve(load, values=[f"e{n}" for n in range(count)])))
    return rows


def _make_token_rows(site: Site, plan: Plan, stack: contextlib.ExitStack) -> list[Row]:
    rows = [
        Row(f"{count:,} tokens", running, _load_tokens(plan, running, count))
        for count in plan.tokens
        for running in [_open(site, stack, f"tokens-{count}", tokens=count)]
    ]
    most = plan.tokens[-1]
    running = _open(site, stack, "tokens-forgotten", tokens=most, environment=_FORGETFUL)
    return [*rows, Row(f"{most:,} tokens, none remembered", running, _load_tokens(plan, running, most))]


def _load_tokens(plan: Plan, running: Running, count: int) -> Load:
    # From all over the file.
    values = [name_token(number) for number in range(0, count, max(1, count // _TOKENS_AT_WORK))]
    return Load(running.make_target({"message": QUESTION}, token=VALUE), _CONNECTIONS, plan.load_s, values)


def _make_connection_rows(site: Site, plan: Plan, stack: contextlib.ExitStack) -> list[Row]:
    running = _open(site, stack, "connections")
    load = _load(plan, running, {"message": QUESTION})
    return [Row(f"{count:,} idle connections", running, load, idle_connections=count) for count in plan.connections]


_ROWS = {
    "body": _make_body_rows,
    "history": _make_history_rows,
    "endpoints": _make_endpoint_rows,
    "tokens": _make_token_rows,
    "connections": _make_connection_rows,
}


def _load(plan: Plan, running: Running, body: Mapping[str, object]) -> Load:
    return Load(running.make_target(body), _CONNECTIONS, plan.load_s)


def make_text(characters: int) -> str:
    """The question again and again, to that length: prose in which no guardrail finds anything."""
    return (f"{QUESTION} " * (characters // len(QUESTION) + 1))[:characters]


def make_history(count: int) -> list[dict[str, str]]:
    """So many messages, user and assistant in turn, a user's last; as many characters in all whatever the count."""
    text = make_text(_HISTORY_CHARACTERS // count)
    return [{"role": "assistant" if (count - n) % 2 == 0 else "user", "content": text} for n in range(count)]


def make_table(samples: Sequence[Sample], starts: Sequence[Start]) -> str:
    """One row for each size: medians over the rounds, ratios to the axis' first row within each round."""
    header = ("", "CPU µs/req", "ratio", "req/s", "start s (CPU)", "MB idle / load", "idle CPU ms/s", "errors")
    rows = []
    for start in starts:
        own = [sample for sample in samples if (sample.axis, sample.row) == (start.axis, start.row)]
        first = next(other.row for other in starts if other.axis == start.axis)
        base = {sample.round: sample.cpu_us for sample in samples if (sample.axis, sample.row) == (start.axis, first)}
        rows.append(
            (
                start.row,
                f"{statistics.median(sample.cpu_us for sample in own):,.0f}",
                f"{statistics.median(sample.cpu_us / base[sample.round] for sample in own):.2f}",
                f"{statistics.median(sample.per_s for sample in own):,.0f}",
                f"{start.start_s:.1f} ({start.start_cpu_s:.1f})",
                f"{start.idle_bytes / 1e6:.0f} / {max(sample.memory_bytes for sample in own) / 1e6:.0f}",
                f"{statistics.median(sample.idle_cpu_us_per_s for sample in own) / 1e3:.0f}",
                str(sum(sample.errors for sample in own)),
            )
        )
    return format_table(header, rows)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; usage errors and --help end the program."""
    parser = make_parser(
        "growth", "CPU time of a request as bodies, histories, endpoints, tokens and connections grow."
    )
    parser.add_argument("--only", nargs="+", metavar="AXIS", choices=AXES, help=f"of {', '.join(AXES)}")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Measure and report; 1 if any request failed."""
    plan = QUICK if options.quick else FULL
    _allow_open_files(max(plan.connections))
    samples: list[Sample] = []
    starts: list[Start] = []
    with open_site() as site:
        for axis in options.only or AXES:
            measured, started = measure_axis(site, plan, axis)
            samples += measured
            starts += started
    raw = {"samples": [asdict(sample) for sample in samples], "starts": [asdict(start) for start in starts]}
    report("growth", make_table(samples, starts), raw, options.json)
    return int(any(sample.errors for sample in samples))


def _allow_open_files(connections: int) -> None:
    # Inherited by the gateway, which needs as many as we do, and some.
    wanted = connections + 1_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != hard < wanted:
        raise BenchError(f"{wanted} open files are needed and {hard} allowed; raise the hard limit (ulimit -Hn)")
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(run_command("growth", lambda: run(read_arguments(sys.argv[1:]))))
