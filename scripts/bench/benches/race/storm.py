"""Cancellation in numbers: races cancelled in one process, and clients that leave a real gateway at random moments.

The races are 100,000 (cancelled_races.py). The clients are 10,000: each sends a request, waits for up to 0.4 s, and
leaves, by FIN or by RST. The provider is asked when its connection closed, on the clock that both share. Afterwards the
worker's files are counted, and it must still take as many requests at once as it may.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from collections.abc import Mapping
from itertools import count
from random import Random
from typing import Any

import trio
from attrs import asdict, define, field

from scripts.bench.benches.race import cancelled_races
from scripts.bench.harness.cli import say
from scripts.bench.harness.client import AnswerReader, run_crowd, run_paced, run_watched
from scripts.bench.harness.gateway import READY, Endpoint, set_up
from scripts.bench.harness.process_stats import count_files
from scripts.bench.harness.processes import HOST, ask_module
from scripts.bench.harness.site import Provider, RunningGateway, Site
from scripts.bench.harness.tables import Report, Table, quantile, spread

CLOSED_BAR_MS = 50.0
_FULL_RACES, _QUICK_RACES = 100_000, 3_000
_FULL_CLIENTS, _QUICK_CLIENTS = 10_000, 800
# What the slowest machine may need for a race.
_RACE_LIMIT_S = 0.05
_CLIENTS_PER_S = 100.0
_LONGEST_STAY_S = 0.4
_SETTLE_LIMIT_S = 20.0
# Requests at once afterwards, of 2 s each. There are so few slots that none would be left if one client in fifty lost
# one; a request that has to wait for a slot is not answered in time.
_SLOTS, _CREDENTIAL_SLOTS = 200, 60
_SLOW_S = 2.0
_IN_TIME_S = _SLOW_S * 1.8
_LINGER_0 = struct.pack("ii", 1, 0)
_GATEWAY = {"max_concurrent_requests": _SLOTS, "hedge_budget_percent": 100}
_LIMITS = {
    "first": {"max_concurrent": _CREDENTIAL_SLOTS},
    "other": {"max_concurrent": _CREDENTIAL_SLOTS},
    "narrow": {"max_concurrent": 2, "slot_wait_ms": 10_000},
}
_RESTARTED: dict[str, object] = {"on_stream_failure": "restart"}
_HEDGED: dict[str, object] = {"hedge_after_ms": 5}
# What a client leaves: how both candidates behave (or the first | the other), how the endpoint is set, whether it is a
# stream. `_LINE` has one candidate, whose credential takes two calls at once: other requests wait for it.
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
# The same for races, which last a thirtieth of a second.
_RACES: tuple[tuple[str, dict[str, object]], ...] = (
    ("fault=stall", {}),
    ("fault=stall", _HEDGED),
    ("latency=10ms&tokens=20", _HEDGED),
    ("fault=stall:body", _HEDGED),
    ("latency=5ms&pace=5ms&tokens=20", {}),
    ("fault=status:503", {}),
)
# When cancelled_races.py looks, and what it counts then.
_LOOKS = ("unopened", "before", "after", "closed")
_KINDS = ("tasks", "files", "attempts")


@define(eq=False)
class Clients:
    """What the clients did, and what was seen of it.

    `left`: by what a client said, its way and when it left (the machine's monotonic clock). `closed_ms`: from leaving
    to closed, at each provider's end.
    """

    left: dict[str, tuple[str, float]] = field(factory=dict)
    answered: int = 0
    refused: Counter[str] = field(factory=Counter)
    late_s: list[float] = field(factory=list)
    closed_ms: dict[str, list[float]] = field(factory=dict)
    unclosed: int = 0
    files_before: int = 0
    files_after: int = 0
    slots_left: int = 0
    credential_slots_left: int = 0

    @property
    def all_closed_ms(self) -> list[float]:
        return [ms for times in self.closed_ms.values() for ms in times]


def run(site: Site, *, quick: bool) -> Report:
    races = _run_races(site, _QUICK_RACES if quick else _FULL_RACES)
    clients = _run_clients(site, _QUICK_CLIENTS if quick else _FULL_CLIENTS)
    raw = {"races": races, "clients": asdict(clients, filter=lambda attribute, _: attribute.name != "left")}
    wrong = [*judge_races(races), *judge_clients(clients)]
    return Report([_make_race_table(races), make_client_table(clients)], raw, wrong)


def _endpoint(slug: str, behaviours: str, settings: Mapping[str, object]) -> Endpoint:
    first, _, other = behaviours.partition(" | ")
    return Endpoint(slug, {"first": f"{slug}?{first}", "other": f"{slug}?{other or first}"}, settings)


def _run_races(site: Site, races: int) -> dict[str, Any]:
    endpoints = [_endpoint(f"storm-{number}", *race) for number, race in enumerate(_RACES)]
    good = Endpoint(cancelled_races.GOOD, {"first": "good"})
    say(f"{races:,} races …")
    with site.run_providers("first", "other") as (_, addresses):
        folder, limit_s = site.make_folder("races"), 30 + races * _RACE_LIMIT_S
        files = set_up(folder, addresses, [*endpoints, good], gateway=_GATEWAY)
        order = cancelled_races.Order(str(files.configuration), races)
        core, module = site.cores.gateway, cancelled_races.__name__
        return {**ask_module(module, order, core=core, folder=folder, limit_s=limit_s), "races": races}


def _make_race_table(races: Mapping[str, Any]) -> Table:
    ends = ("cancelled", "answered", "failed")
    counts = [f"{races['storm'][name]:,}" for name in ends]
    cells = [" / ".join(str(races[look][kind]) for look in _LOOKS) for kind in _KINDS]
    head = ("races", *ends, "seconds", *(f"{kind}: {' / '.join(_LOOKS)}" for kind in _KINDS))
    return Table(head, [(f"{races['races']:,}", *counts, f"{races['seconds']:.0f}", *cells)])


def judge_races(races: Mapping[str, Any]) -> list[str]:
    # While the gateway is open its pool may have grown; nothing else may have.
    pairs = [("tasks", "before", "after"), ("attempts", "before", "after")]
    pairs += [("tasks", "unopened", "closed"), ("files", "unopened", "closed")]
    return [
        f"races: {kind} grew from {races[earlier][kind]} to {races[later][kind]}"
        for kind, earlier, later in pairs
        if races[later][kind] > races[earlier][kind]
    ]


def _run_clients(site: Site, total: int) -> Clients:
    clients = Clients()
    endpoints = [_endpoint(f"w{number}", *way[:2]) for number, way in enumerate(WAYS.values())]
    line = list(WAYS).index(_LINE)
    endpoints[line] = Endpoint(f"w{line}", {"narrow": f"w{line}?{WAYS[_LINE][0]}"})
    slow = [Endpoint(f"slow-{name}", {name: f"slow?latency={_SLOW_S:g}s"}) for name in (READY, "first")]
    say(f"{total:,} clients …")
    with site.run_providers("first", "other") as (providers, addresses):
        addresses["narrow"] = addresses["other"]
        with site.open_gateway(addresses, [*endpoints, *slow], gateway=_GATEWAY, limits=_LIMITS) as gateway:
            clients.files_before = _count_own_files(gateway, providers)
            trio.run(run_watched, lambda: _send_all(gateway, total, clients), clients.late_s)
            _wait_closed(providers)
            clients.files_after = _count_own_files(gateway, providers)
            clients.slots_left = trio.run(_count_slots, gateway, f"slow-{READY}", _SLOTS)
            clients.credential_slots_left = trio.run(_count_slots, gateway, "slow-first", _CREDENTIAL_SLOTS)
            _read_closed(clients, providers)
    return clients


def _count_own_files(gateway: RunningGateway, providers: Mapping[str, Provider]) -> int:
    """The worker's open files without its connections to providers, which the pool may keep."""
    upstream: int = sum(provider.view()["open_connections"] for provider in providers.values())
    return count_files(gateway.worker) - upstream


async def _send_all(gateway: RunningGateway, total: int, clients: Clients) -> None:
    random, numbers = Random(3), count()

    async def visit(_: float) -> None:
        number, stay_s = next(numbers), random.random() * _LONGEST_STAY_S
        way, name, reader = list(WAYS)[number % len(WAYS)], f"client {number}", AnswerReader()
        request = gateway.request(f"w{number % len(WAYS)}", {"message": name, "stream": WAYS[way][2]})
        async with await trio.open_tcp_stream(HOST, gateway.port) as stream:
            with trio.move_on_after(stay_s):
                await stream.send_all(request)
                while not reader.is_over:
                    reader.feed(await stream.receive_some())
            # A line that does not move may shed requests.
            if reader.status not in (0, 200) and way != _LINE:
                clients.refused[f"{way}: {reader.status}"] += 1
            if reader.is_over:
                clients.answered += 1
                return
            if number % 3 == 0:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            clients.left[name] = (way, time.monotonic())

    await run_paced(total, _CLIENTS_PER_S, visit)


def _wait_closed(providers: Mapping[str, Provider]) -> None:
    """Wait until no request is under way at a provider, or for as long as that may take."""
    give_up_at, is_busy = time.monotonic() + _SETTLE_LIMIT_S, True
    while is_busy and time.monotonic() < give_up_at:
        time.sleep(0.2)
        requests = [request for provider in providers.values() for request in provider.view()["requests"]]
        is_busy = any(request["answered_at"] is None and request["closed_at"] is None for request in requests)


async def _count_slots(gateway: RunningGateway, slug: str, total: int) -> int:
    """How many of so many requests at once are answered in time."""
    answered = 0

    async def ask(_: int) -> None:
        nonlocal answered
        answer = await gateway.ask(slug, 30.0)
        answered += answer.status == 200 and answer.seconds < _IN_TIME_S

    await run_crowd(total, ask)
    return answered


def _read_closed(clients: Clients, providers: Mapping[str, Provider]) -> None:
    for request in (request for provider in providers.values() for request in provider.view()["requests"]):
        way, left_at = clients.left.get(str(request["said"]), ("", 0.0))
        if not way or request["answered_at"] is not None:
            continue
        if request["closed_at"] is None or request["arrived_at"] is None:
            clients.unclosed += 1
            continue
        # A call may still have been on its way when the client left.
        closed_ms = (request["closed_at"] - max(left_at, request["arrived_at"])) * 1e3
        clients.closed_ms.setdefault(way, []).append(closed_ms)


def make_client_table(clients: Clients) -> Table:
    times = {way: clients.closed_ms.get(way, []) for way in WAYS} | {"all": clients.all_closed_ms}
    rows = [(name, f"{len(own):,}", *spread(own)) for name, own in times.items() if own]
    note = (
        f"{len(clients.left):,} left, {clients.answered:,} were answered first; "
        f"{clients.unclosed} calls never closed; the worker's own files {clients.files_before} before, "
        f"{clients.files_after} after; {clients.slots_left} of {_SLOTS} slots answer afterwards, and "
        f"{clients.credential_slots_left} of a credential's {_CREDENTIAL_SLOTS}; "
        "the clients' own lateness, ms: p50 {}, p99 {}, most {}".format(*spread(clients.late_s, scale=1e3))
    )
    return Table(("client leaves: call is", "upstream calls", "closed after ms, p50", "p99", "most"), rows, (note,))


def judge_clients(clients: Clients) -> list[str]:
    """Calls that outlive their client, and what is not given back."""
    wrong = []
    closed_ms = quantile(clients.all_closed_ms, 0.99)
    if closed_ms > CLOSED_BAR_MS:
        wrong.append(f"closed after {closed_ms:.1f} ms at p99; the bar is {CLOSED_BAR_MS:g}")
    if clients.unclosed:
        wrong.append(f"{clients.unclosed} upstream calls never closed")
    if clients.files_after > clients.files_before:
        wrong.append(f"the worker's files grew from {clients.files_before} to {clients.files_after}")
    slots = [("", clients.slots_left, _SLOTS), ("a credential's ", clients.credential_slots_left, _CREDENTIAL_SLOTS)]
    wrong += [f"{left} of {whose}{total} slots are left" for whose, left, total in slots if left < total]
    return wrong + [f"{times} clients were refused, {how}" for how, times in clients.refused.items()]
