"""Cancellation in numbers: races cancelled in process, and clients that leave a real gateway at random moments.

The races are 100,000 (cancelled_races.py). The clients are 10,000: each sends a request, waits for up to 0.4 s, and is
gone, by FIN or by RST. When its connection closed is asked of the provider, on the clock that both share; afterwards
the worker's files are counted, and it must still take as many requests at once as it may.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import trio
from attrs import asdict, define, field, frozen

from scripts.bench._limits.command import format_table, say
from scripts.bench._limits.worker import count_files
from scripts.bench._peers.errors import PeerUnavailableError
from scripts.bench._peers.ports import HOST
from scripts.bench._peers.processes import run_pinned, wait_finished
from scripts.bench._race import cancelled_races
from scripts.bench._race.client import AnswerReader, CutShort, Hung, call, watch_lateness
from scripts.bench._race.report import Table, quantile
from scripts.bench._race.site import READY, Endpoint, Gateway, Place, Provider, Site

CLOSED_BAR_MS = 50.0
_FULL_RACES, _QUICK_RACES = 100_000, 3_000
_FULL_CLIENTS, _QUICK_CLIENTS = 10_000, 800
# Per race: what the slowest machine may need.
_RACE_LIMIT_S = 0.05
_CLIENTS_PER_S = 100.0
_LONGEST_STAY_S = 0.4
_SETTLE_LIMIT_S = 20.0
# Requests at once afterwards, seconds each: so few places that those lost by one client in fifty would leave none. Who
# has to wait for a place is not answered in time.
_SLOTS = 200
_CREDENTIAL_SLOTS = 60
_SLOW_S = 2.0
_IN_TIME_S = _SLOW_S * 1.8
_LINGER_0 = struct.pack("ii", 1, 0)
_GATEWAY = f"[gateway]\nmax_concurrent_requests = {_SLOTS}\nhedge_budget_percent = 100\n"
_LIMITS = {
    "first": {"max_concurrent": _CREDENTIAL_SLOTS},
    "other": {"max_concurrent": _CREDENTIAL_SLOTS},
    "narrow": {"max_concurrent": 2, "slot_wait_ms": 10_000},
}
_RESTARTED: dict[str, object] = {"on_stream_failure": "restart"}
_HEDGED: dict[str, object] = {"hedge_after_ms": 5}

# What a client leaves: how both candidates behave (or the first | the other), how the endpoint is set, whether it is a
# stream. In the line there is a lone candidate, whose credential takes two calls at once.
_LINE = "in the line"
WAYS: dict[str, tuple[str, dict[str, object], bool]] = {
    "silent": ("fault=stall", {}, False),
    "in mid-hedge": ("fault=stall", _HEDGED, False),
    "half an answer": ("fault=stall:body", {}, False),
    "about to answer": ("latency=200ms&tokens=20", {}, False),
    _LINE: ("latency=400ms&tokens=20", {}, False),
    "stream, silent": ("fault=stall", {}, True),
    "stream, in mid-hedge": ("fault=stall", _HEDGED, True),
    "stream, tokens coming": ("latency=50ms&pace=20ms&tokens=100", {}, True),
    "stream, fallen silent": ("fault=stall:5", {}, True),
    "stream, being restarted": ("fault=cut:5 | fault=stall", _RESTARTED, True),
}
# As above, for races that last a thirtieth of a second.
_RACES: tuple[tuple[str, dict[str, object]], ...] = (
    ("fault=stall", {}),
    ("fault=stall", _HEDGED),
    ("latency=10ms&tokens=20", _HEDGED),
    ("fault=stall:body", _HEDGED),
    ("latency=5ms&pace=5ms&tokens=20", {}),
    ("fault=status:503", {}),
)


@frozen(slots=True)
class Left:
    """A client that left at that time (the machine's monotonic clock); its name is what it said."""

    name: str
    way: str
    at: float


@define(eq=False)
class Clients:
    """What the clients did, and what was seen of it. `closed_ms`: from leaving to closed, at each provider's end."""

    left: list[Left] = field(factory=list)
    answered: int = 0
    refused: Counter[str] = field(factory=Counter)
    late_s: list[float] = field(factory=list)
    closed_ms: dict[str, list[float]] = field(factory=dict)
    unclosed: int = 0
    files_before: int = 0
    files_after: int = 0
    slots_left: int = 0
    credential_slots_left: int = 0


def run(site: Site, *, quick: bool) -> Table:
    """The races, then the clients."""
    races = _run_races(site, _QUICK_RACES if quick else _FULL_RACES)
    clients = _run_clients(site, _QUICK_CLIENTS if quick else _FULL_CLIENTS)
    text = f"{_make_race_table(races)}\n\n{make_client_table(clients)}"
    wrong = [*_judge_races(races), *judge_clients(clients)]
    raw = {"races": races, "clients": asdict(clients, filter=lambda attribute, _: attribute.name != "left")}
    return Table("storm", text, raw, wrong)


@contextlib.contextmanager
def _run_providers(site: Site) -> Iterator[dict[str, Provider]]:
    with site.run_provider("first", keep=50_000) as first, site.run_provider("other", keep=50_000) as other:
        yield {"first": first, "other": other}


# What cancelled_races.py tells, in its order in time, and of what.
_LOOKS = ("unopened", "before", "after", "closed")
_KINDS = ("tasks", "files", "attempts")

# ── races ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _run_races(site: Site, races: int) -> dict[str, object]:
    endpoints = [
        Endpoint(f"storm-{number}", [Place(name, f"s{number}?{behaviour}") for name in ("first", "other")], settings)
        for number, (behaviour, settings) in enumerate(_RACES)
    ]
    good = Endpoint(cancelled_races.GOOD, [Place("first", "good")])
    say(f"{races:,} races …")
    with _run_providers(site) as providers:
        addresses = {name: provider.base_url for name, provider in providers.items()}
        configuration = site.write_configuration({**addresses, READY: addresses["other"]}, [*endpoints, good], _GATEWAY)
        return {**_run_process(site, configuration, races), "races": races}


def _run_process(site: Site, configuration: Path, races: int) -> dict[str, object]:
    command = [sys.executable, "-m", cancelled_races.__name__, str(configuration), str(races)]
    root = str(Path(__file__).resolve().parents[3])
    command = ["env", f"--chdir={root}", *command]
    log = site.folder / "races.log"
    with run_pinned("races", command, core=site.cores.gateway, log=log) as process:
        wait_finished(process, 30 + races * _RACE_LIMIT_S)
        if process.leader.returncode != 0:
            raise PeerUnavailableError(process.read_log_end(20))
        counts: dict[str, object] = json.loads(process.read_log().splitlines()[-1])
    return counts


def _make_race_table(races: dict[str, object]) -> str:
    storm, held = races["storm"], [races[name] for name in _LOOKS]
    assert isinstance(storm, dict)
    header = (
        "races",
        "cancelled",
        "answered",
        "failed",
        "seconds",
        *(f"{kind}: {' / '.join(_LOOKS)}" for kind in _KINDS),
    )
    counts = [f"{storm[name]:,}" for name in ("cancelled", "answered", "failed")]
    cells = [" / ".join(str(look[kind]) for look in held) for kind in _KINDS]  # type: ignore[index]
    return format_table(header, [(f"{races['races']:,}", *counts, f"{races['seconds']:.0f}", *cells)])


def _judge_races(races: dict[str, object]) -> list[str]:
    unopened, before, after, closed = (races[name] for name in _LOOKS)
    # While the gateway is open its pool may have grown; nothing else may have.
    pairs = [
        ("tasks", before, after),
        ("attempts", before, after),
        ("tasks", unopened, closed),
        ("files", unopened, closed),
    ]
    return [
        f"races: {kind} grew from {earlier[kind]} to {later[kind]}"  # type: ignore[index]
        for kind, earlier, later in pairs
        if later[kind] > earlier[kind]  # type: ignore[index]
    ]


# ── clients ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _run_clients(site: Site, count: int) -> Clients:
    clients = Clients()
    endpoints = [_endpoint(number, way) for number, way in enumerate(WAYS)]
    latency = f"latency={_SLOW_S:g}s"
    slow = [Endpoint(f"slow-{name}", [Place(name, f"slow?{latency}")]) for name in (READY, "first")]
    say(f"{count:,} clients …")
    with _run_providers(site) as providers:
        addresses = {name: provider.base_url for name, provider in providers.items()}
        addresses |= {READY: addresses["other"], "narrow": addresses["other"]}
        with site.run_gateway(addresses, [*endpoints, *slow], _GATEWAY, _LIMITS) as gateway:
            clients.files_before = _count_own_files(gateway, providers)
            trio.run(_send_all, gateway, count, clients)
            _wait_closed(providers)
            clients.files_after = _count_own_files(gateway, providers)
            clients.slots_left = trio.run(_count_slots, gateway, f"slow-{READY}", _SLOTS)
            clients.credential_slots_left = trio.run(_count_slots, gateway, "slow-first", _CREDENTIAL_SLOTS)
            _read_closed(clients, providers)
    return clients


def _endpoint(number: int, way: str) -> Endpoint:
    behaviours, settings, _ = WAYS[way]
    first, _, other = behaviours.partition(" | ")
    if way == _LINE:
        return Endpoint(f"w{number}", [Place("narrow", f"w{number}?{first}")], settings)
    places = [Place("first", f"w{number}?{first}"), Place("other", f"w{number}?{other or first}")]
    return Endpoint(f"w{number}", places, settings)


def _count_own_files(gateway: Gateway, providers: dict[str, Provider]) -> int:
    """The worker's open files without its connections to providers, which the pool may keep."""
    upstream = sum(int(str(provider.view()["open_connections"])) for provider in providers.values())
    return count_files(gateway.worker) - upstream


async def _send_all(gateway: Gateway, count: int, clients: Clients) -> None:
    random = Random(3)
    started_at = trio.current_time()
    async with trio.open_nursery() as watching:
        watching.start_soon(watch_lateness, clients.late_s)
        async with trio.open_nursery() as nursery:
            for number in range(count):
                await trio.sleep_until(started_at + number / _CLIENTS_PER_S)
                nursery.start_soon(_visit, gateway, number, random.random() * _LONGEST_STAY_S, clients)
        watching.cancel_scope.cancel()


async def _visit(gateway: Gateway, number: int, stay_s: float, clients: Clients) -> None:
    way = list(WAYS)[number % len(WAYS)]
    name = f"client {number}"
    request = gateway.request(f"w{number % len(WAYS)}", {"message": name, "stream": WAYS[way][2]})
    stream = await trio.open_tcp_stream(HOST, gateway.port)
    async with stream:
        reader = AnswerReader()
        with trio.move_on_after(stay_s):
            await stream.send_all(request)
            while not reader.is_over:
                reader.feed(await stream.receive_some())
        # A line may be shed where it does not move.
        if reader.status not in (0, 200) and way != _LINE:
            clients.refused[f"{way}: {reader.status}"] += 1
        if reader.is_over:
            clients.answered += 1
            return
        if number % 3 == 0:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        clients.left.append(Left(name, way, time.monotonic()))


def _wait_closed(providers: dict[str, Provider]) -> None:
    """Wait until no request is under way any more at a provider, or for as long as that may take."""
    give_up_at = time.monotonic() + _SETTLE_LIMIT_S
    while time.monotonic() < give_up_at and any(map(_is_busy, providers.values())):
        time.sleep(0.2)


def _is_busy(provider: Provider) -> bool:
    return any(request["answered_at"] is None and request["closed_at"] is None for request in provider.requests())


async def _count_slots(gateway: Gateway, slug: str, count: int) -> int:
    """How many of so many requests are answered in time, all at once."""
    answered = 0

    async def ask() -> None:
        nonlocal answered
        with contextlib.suppress(Hung, CutShort, OSError):
            answer = await call(gateway.port, gateway.request(slug, {"message": "Hello"}), 30.0)
            answered += answer.status == 200 and answer.seconds < _IN_TIME_S

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(ask)
    return answered


def _read_closed(clients: Clients, providers: dict[str, Provider]) -> None:
    left = {client.name: client for client in clients.left}
    for provider in providers.values():
        for request in provider.requests():
            client = left.get(str(request["said"]))
            if client is None or request["answered_at"] is not None:
                continue
            closed_at, arrived_at = request["closed_at"], request["arrived_at"]
            if not isinstance(closed_at, float) or not isinstance(arrived_at, float):
                clients.unclosed += 1
                continue
            # A call may have been on its way still when the client left.
            closed_ms = (closed_at - max(client.at, arrived_at)) * 1e3
            clients.closed_ms.setdefault(client.way, []).append(closed_ms)


def make_client_table(clients: Clients) -> str:
    """A line for each way of leaving and one for all."""
    header = ("client leaves: call is", "upstream calls", "closed after ms, p50", "p99", "most")
    everything = [ms for times in clients.closed_ms.values() for ms in times]
    lines = [
        (name, f"{len(times):,}", *(f"{quantile(times, share):.1f}" for share in (0.5, 0.99, 1.0)))
        for name, times in ({way: clients.closed_ms.get(way, []) for way in WAYS} | {"all": everything}).items()
        if times
    ]
    late = [f"{quantile(clients.late_s, share) * 1e3:.1f}" for share in (0.5, 0.99, 1.0)]
    return (
        f"{format_table(header, lines)}\n\n{len(clients.left):,} left, {clients.answered:,} were answered first; "
        f"{clients.unclosed} calls never closed; the worker's own files {clients.files_before} before, "
        f"{clients.files_after} after; {clients.slots_left} of {_SLOTS} slots answer afterwards, and "
        f"{clients.credential_slots_left} of a credential's {_CREDENTIAL_SLOTS}; "
        f"the clients' own lateness, ms: p50 {late[0]}, p99 {late[1]}, most {late[2]}"
    )


def judge_clients(clients: Clients) -> list[str]:
    """Calls that outlive their client, and what is not given back."""
    wrong = []
    everything: Sequence[float] = [ms for times in clients.closed_ms.values() for ms in times]
    if quantile(everything, 0.99) > CLOSED_BAR_MS:
        wrong.append(f"closed after {quantile(everything, 0.99):.1f} ms at p99; the bar is {CLOSED_BAR_MS:g}")
    if clients.unclosed:
        wrong.append(f"{clients.unclosed} upstream calls never closed")
    if clients.files_after > clients.files_before:
        wrong.append(f"the worker's files grew from {clients.files_before} to {clients.files_after}")
    if clients.slots_left < _SLOTS:
        wrong.append(f"{clients.slots_left} of {_SLOTS} slots are left")
    if clients.credential_slots_left < _CREDENTIAL_SLOTS:
        wrong.append(f"{clients.credential_slots_left} of a credential's {_CREDENTIAL_SLOTS} slots are left")
    return wrong + [f"{count} clients were refused, {how}" for how, count in clients.refused.items()]
