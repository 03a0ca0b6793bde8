"""Workers killed and stopped under load: acknowledged results hold, and counts are right again soon.

A real `pg-trio serve` with four workers and its supervisor; 64 clients; the simulator's, the clients' and the files'
view of what happened must agree, up to the calls that were under way when a worker died.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import pytest
import trio
from attrs import define, field, frozen

from pg_trio.config import parse_settings
from pg_trio.domain.chat import Usage
from pg_trio.domain.prices import to_nano_usd
from pg_trio.domain.project import Endpoint
from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend, count_orphans
from pg_trio.shared_memory.token_bucket import SharedBuckets
from pg_trio.simulator import Simulator, serve_simulator
from pg_trio.simulator.simulated_provider import Behaviours
from pg_trio.stages.budget import SpendPlan, month_of
from tests.support.crowd import CUT, Crowd, Ended, read_sessions
from tests.support.gateway import CREDENTIALS, PROJECT, endpoint, project
from tests.support.processes import PG_TRIO, Served, is_running, run_command, start, wait_until
from tests.support.shared_memory_process import held_locks

WORKERS = 4
KILLS = 60
KILL_EVERY_S = 1.0
STOPPED_S = 5.0
DEADLINE_S = 5.0
# What a busy machine may add to a promise.
MARGIN_S = 5.0
LOG_BATCH_S = 0.05
# From the sending of an answer to a busy client's reading it, or of a row to a busy worker's writing it.
BUSY_S = 0.2
SUPERVISOR_GROWTH_KIB = 1024
# So few that a machine which is busy with other things, too, is refused some.
PER_MINUTE, PER_HOUR = 120, 3000
LIMITS = ((PER_MINUTE, 60.0), (PER_HOUR, 3600.0))
# A bucket's whole tokens, and the moment of the first take, which the client does not know exactly.
ROUNDED = 2
AT_ONCE, TOKENS_PER_MINUTE = 6, 60_000
# The token without limits is the first.
LIMITED_ID = 2
LATENCY = "latency=lognormal:100ms:0.6"
ANSWER = "You said: {}"
BUDGET: dict[str, Any] = {"monthly_budget_usd": "1000", "estimated_cost_per_1k_tokens_usd": "1"}
COMMON: dict[str, Any] = {"max_output_tokens": 100, "deadline_ms": int(DEADLINE_S * 1000)}
ENDPOINTS = (
    endpoint("talk", sessions_enabled=True, streaming_enabled=True, session_max_messages=60, **COMMON)
    + endpoint("limited", rate_limit_per_minute=PER_MINUTE, rate_limit_per_hour=PER_HOUR, **COMMON)
    + endpoint("budgeted", **BUDGET, **COMMON)
    + endpoint("plain", **COMMON)
)
REFUSALS: dict[str, set[int]] = {"talk": {429}, "limited": {429}, "budgeted": set(), "plain": {429}}


@frozen
class Blow:
    """A worker was hit: when, and how many calls were under way."""

    at: float
    under_way: int


@define
class Site:
    """A gateway that serves, its provider, its clients."""

    folder: Path
    simulator: Simulator
    token: str
    limited_token: str
    served: Served
    crowd: Crowd
    endpoints: dict[str, Endpoint]
    blows: list[Blow] = field(factory=list)
    _random: random.Random = field(factory=lambda: random.Random(7))

    @property
    def memory(self) -> Path:
        return self.folder / "data" / "shared.mem"

    def workers(self) -> list[int]:
        """The workers' pids, as the supervisor tells them."""
        assert self.served.process.returncode is None, self.served.output[-6000:]
        pids: list[int] = json.loads((self.folder / "data" / "serve.json").read_text())["workers"]
        return pids

    def hit(self, number: signal.Signals) -> int:
        """Send the signal to a random worker that is there; its pid."""
        pid = self._random.choice([pid for pid in self.workers() if is_running(pid)])
        self.blows.append(Blow(time.monotonic(), self.crowd.under_way))
        os.kill(pid, number)
        return pid

    def start_clients(self, nursery: trio.Nursery) -> None:
        """64 clients: 32 in conversations, of which half share four sessions."""
        for number in range(32):
            shared = f"shared {number % 4}" if number % 2 else None
            nursery.start_soon(self.crowd.talk, self.token, f"client {number}", shared)
        for token, slug in ((self.token, "limited"), (self.token, "budgeted"), (self.limited_token, "plain")):
            for _ in range(8 if slug == "limited" else 12):
                nursery.start_soon(self.crowd.ask, token, slug)


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    simulator: Simulator = await nursery.start(serve_simulator, Behaviours(keep_requests=1_000_000))
    for slug in REFUSALS:
        simulator.behave(slug, LATENCY)
    config = tmp_path / "gateway.toml"
    head = f'[server]\nbind = "127.0.0.1:0"\nworkers = {WORKERS}\n'
    text = head + CREDENTIALS.format(base_url=simulator.base_url) + project() + ENDPOINTS
    config.write_text(text, encoding="utf-8")
    create = ("token", "create", "--config", str(config), "--project", str(PROJECT), "--name", "t")
    limits = ("--max-concurrent", str(AT_ONCE), "--tokens-per-minute", str(TOKENS_PER_MINUTE))
    free, limited = [(await run_command(*create, *more))[1].strip() for more in ((), limits)]
    served = await start(nursery, [*PG_TRIO, "serve", "--config", str(config)])
    settings = parse_settings(text, "gateway.toml", tmp_path, {})
    return Site(
        tmp_path, simulator, free, limited, served, Crowd(served.port), dict(settings.projects[PROJECT].endpoints)
    )


@pytest.mark.slow
async def test_killed_workers_cost_what_was_under_way(nursery: trio.Nursery, site: Site) -> None:
    async with trio.open_nursery() as clients:
        site.start_clients(clients)
        await site.crowd.wait_answers(200)
        before = weigh(site.served.process.pid)
        for _ in range(KILLS):
            next_at = trio.current_time() + KILL_EVERY_S
            site.hit(signal.SIGKILL)
            await trio.sleep_until(next_at)
        await wait_until(lambda: all(map(is_running, site.workers())))
        await site.crowd.wait_answers(200)
        site.crowd.is_over = True
    # Reservations that are not given back within these seconds never are.
    await wait_until(lambda: look(site).orphans == 0)
    counts, after = look(site), weigh(site.served.process.pid)
    assert 0 == await site.served.stop()

    check_calls(site)
    check_limits(site, counts)
    check_budget(site, counts)
    check_at_once(site, counts)
    check_sessions(site)
    check_log(site)
    assert site.crowd.of("limited", 429)
    assert any(one.status == CUT for one in site.crowd.ended), "no kill hit a call"
    assert "were dropped" not in site.served.output
    assert [] == held_locks(site.memory)
    assert before[0] == after[0]
    assert after[1] <= before[1] + SUPERVISOR_GROWTH_KIB
    doctor_status, doctor_said, _ = await run_command("doctor", "--config", str(site.folder / "gateway.toml"))
    assert 0 == doctor_status, doctor_said


@pytest.mark.slow
async def test_stopped_worker_stops_nobody_else(nursery: trio.Nursery, site: Site) -> None:
    async with trio.open_nursery() as clients:
        site.start_clients(clients)
        await site.crowd.wait_answers(200)
        began = len(site.crowd.ended)
        stopped = site.hit(signal.SIGSTOP)
        await trio.sleep(STOPPED_S)
        meanwhile = site.crowd.ended[began:]
        os.kill(stopped, signal.SIGCONT)
        await site.crowd.wait_answers(200)
        site.crowd.is_over = True
    counts = look(site)
    assert 0 == await site.served.stop()

    # The others' clients went on. (It may have the sessions' file locked, or the token's places taken.)
    late = [one for one in meanwhile if one.status == 200 and one.ended_at > site.blows[0].at + STOPPED_S / 2]
    assert {"limited", "budgeted"} <= {one.slug for one in late}
    assert [] == [one for one in site.crowd.ended if one.status == CUT]
    check_calls(site, also=frozenset({503, 504}))
    check_limits(site, counts)
    check_budget(site, counts)
    check_sessions(site)
    assert [] == unlogged(site)
    assert [] == held_locks(site.memory)


# ── what must agree ──────────────────────────────────────────────────────────────────────────────────────────────────


def check_calls(site: Site, also: frozenset[int] = frozenset()) -> None:
    """No client waited for ever, and each client without an answer was served when a worker was hit."""
    ended = site.crowd.ended
    assert max(one.took_s for one in ended) <= DEADLINE_S + MARGIN_S
    assert [] == [one for one in ended if one.status not in {CUT, 200} | REFUSALS[one.slug] | also]
    cut = [one for one in ended if one.status == CUT]
    assert [] == [one for one in cut if not any(one.sent_at <= blow.at <= one.ended_at for blow in site.blows)]
    assert len(cut) <= sum(blow.under_way for blow in site.blows)
    # A worker served nearly always, also on a busy machine, where a worker takes seconds to start.
    moments = sorted(one.ended_at for one in ended if one.status == 200)
    assert max(after - before for before, after in pairwise(moments)) <= DEADLINE_S + MARGIN_S


def check_limits(site: Site, counts: Counts) -> None:
    """The endpoint's buckets lack what was admitted, and what was under way at a blow at most besides."""
    answered, failed = len(site.crowd.of("limited")), len(site.crowd.failed("limited"))
    by_provider = sum(request.model == "limited" for request in site.simulator.requests)
    refilled = {window_s: counts.elapsed_s * capacity / window_s for capacity, window_s in LIMITS}
    assert answered <= by_provider <= answered + failed
    for (capacity, window_s), left in zip(LIMITS, counts.left, strict=True):
        taken = capacity + refilled[window_s] - left
        assert by_provider <= capacity + refilled[window_s]
        assert by_provider - ROUNDED <= taken <= answered + failed + ROUNDED


def check_budget(site: Site, counts: Counts) -> None:
    """What was spent is what was answered, and what was under way at a blow at most besides."""
    answered, failed = site.crowd.of("budgeted"), len(site.crowd.failed("budgeted"))
    rates = SpendPlan.of(site.endpoints["budgeted"], 0).dearest
    assert rates is not None
    # Every call is the same, so all cost the same.
    (tokens,) = {one.said["usage"]["total_tokens"] for one in answered}
    # The flat rate: input and output cost the same.
    cost = to_nano_usd(rates.cost(Usage(tokens, 0)))
    by_provider = sum(request.model == "budgeted" for request in site.simulator.requests)
    with closing(sqlite3.connect(site.folder / "data" / "log.db")) as log:
        costs = log.execute("SELECT cost_nano_usd FROM gateway_logs WHERE cost_nano_usd > 0").fetchall()
    lost = sum(one.slug == "budgeted" for one in unlogged(site))
    assert 0 == counts.reserved
    assert len(answered) <= by_provider <= len(answered) + failed
    # A call that failed may have cost its input alone.
    assert len(answered) * cost <= counts.settled <= by_provider * cost
    assert counts.settled - (lost + failed) * cost <= sum(map(sum, costs)) <= counts.settled


def check_at_once(site: Site, counts: Counts) -> None:
    """The limited token's calls: never more at once at the provider than it may, nor more tokens; none is left."""
    calls = [request for request in site.simulator.requests if request.model == "plain"]
    ends = [min(at for at in (call.answered_at, call.closed_at) if at is not None) for call in calls]
    changes = sorted([(end, -1) for end in ends] + [(call.arrived_at, 1) for call in calls])
    used = sum(one.said["usage"]["total_tokens"] for one in site.crowd.of("plain"))
    assert max(accumulate(change for _, change in changes)) <= AT_ONCE
    assert 0 == counts.leases
    assert used <= TOKENS_PER_MINUTE * (1 + counts.elapsed_s / 60)


def check_sessions(site: Site) -> None:
    """Every turn that a client was told of is there, whole; no turn is there by half or twice."""
    stored = read_sessions(site.folder / "data" / "sessions.db")
    told = {UUID(session).hex: said for session, said in site.crowd.told.items()}
    assert set(told) <= set(stored)
    for session, messages in stored.items():
        assert [("assistant", ANSWER.format(text)) for _, text in messages[::2]] == messages[1::2]
        texts = [text for _, text in messages[::2]]
        assert len(texts) == len(set(texts)), "stored twice"
        assert [] == [said for said in told.get(session, ()) if said not in texts]


def check_log(site: Site) -> None:
    """What the log lacks was in a killed worker's last batch: answered just before the blow, or read just after."""
    missing = unlogged(site)
    # Seconds from the answer to the nearest blow.
    ages = sorted(min((blow.at - one.ended_at for blow in site.blows), key=abs) for one in missing)
    # Each by itself may have waited for a busy processor; most did not.
    assert [] == [age for age in ages if not -2 * BUSY_S <= age <= LOG_BATCH_S + 2 * BUSY_S]
    assert median([0.0, *map(abs, ages)]) <= LOG_BATCH_S + BUSY_S / 2


def unlogged(site: Site) -> list[Ended]:
    """Answered calls of which the log has no row."""
    with closing(sqlite3.connect(site.folder / "data" / "log.db")) as log:
        logged = {UUID(bytes=row[0]) for row in log.execute("SELECT request_id FROM gateway_logs")}
    return [one for one in site.crowd.ended if one.status != CUT and UUID(one.request_id) not in logged]


# ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────────


@frozen
class Counts:
    """What the shared file says, as a worker of its own reads it."""

    elapsed_s: float
    settled: int
    reserved: int
    leases: int
    left: tuple[int, ...]
    orphans: int


def look(site: Site) -> Counts:
    """The counts of now."""
    now = time.monotonic()
    with closing(open_segment(site.memory)) as segment:
        orphans, spend = count_orphans(segment), SharedSpend(segment)
        settled, reserved = spend.read(site.endpoints["budgeted"].uuid.bytes, month_of(time.time()))
        leases = LeaseBook(spend).count(b"c" + LIMITED_ID.to_bytes(8, "big"))
        buckets = SharedBuckets(segment).peek(site.endpoints["limited"].uuid.bytes, LIMITS, now)
        spend.close()
    first = min(one.sent_at for one in site.crowd.ended if one.slug == "limited")
    return Counts(now - first, settled, reserved, leases, tuple(bucket.remaining for bucket in buckets), orphans)


def weigh(pid: int) -> tuple[int, int]:
    """Descriptors and KiB of resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return len(os.listdir(f"/proc/{pid}/fd")), int(status.partition("VmRSS:")[2].split()[0])
