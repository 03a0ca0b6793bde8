"""Shared memory under real processes: at once, killed, stopped. The numbers are read from the file they shared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pg_trio.racing.breaker import Fault
from pg_trio.shared_memory.hedge_counts import SharedHedges
from pg_trio.shared_memory.leases import CallLeases, LeaseBook
from pg_trio.shared_memory.spend import SharedSpend
from pg_trio.shared_memory.token_bucket import SharedBuckets
from tests.support import shared_memory_process as work

ROOT = Path(__file__).parents[2]
EXIT_LIMIT_S = 30
KILLS = 12

Process = subprocess.Popen[bytes]
Start = Callable[[Callable[[Path], None]], Process]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.mem"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Starts a process that does the action once it is told to; all are gone after the test."""
    with ExitStack() as stack:

        def start_process(action: Callable[[Path], None]) -> Process:
            process = subprocess.Popen(
                [sys.executable, "-m", work.__name__, action.__name__, str(path)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start_process


def go(*processes: Process) -> None:
    """Let them begin, or go on, all at once."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()


def hear(process: Process, count: int = 64) -> bytes:
    """What it said, as soon as it says something."""
    assert process.stdout is not None
    return os.read(process.stdout.fileno(), count)


def kill_after(process: Process, done: int) -> int:
    """Kill it once it has done so many things; how many it had done in the end."""
    heard = 0
    while heard < done:
        said = hear(process, 4096)
        assert said, "it ended by itself"
        heard += len(said)
    process.kill()
    while rest := hear(process, 65_536):
        heard += len(rest)
    assert -signal.SIGKILL == process.wait(EXIT_LIMIT_S)
    return heard


def kill_in_turn(processes: list[Process]) -> Iterator[int]:
    """Kill each while the next one is at work, too; how many things each had done. Never more than two are busy."""
    go(processes[0])
    for number, process in enumerate(processes):
        go(*processes[number + 1 : number + 2])
        yield kill_after(process, done=50 + 37 * number)


def test_processes_at_once_share_one_bucket(start: Start, path: Path) -> None:
    takers = [start(work.take_until_refused) for _ in range(4)]
    go(*takers)

    answers = [[int(number) for number in taker.communicate(timeout=EXIT_LIMIT_S)[0].split()] for taker in takers]
    admitted, takeovers = (sum(column) for column in zip(*answers, strict=True))

    # Each takeover may cost a token, and none is ever given twice.
    assert 600 - takeovers <= admitted <= 600
    with closing(work.open_here(path)) as segment:
        assert SharedBuckets(segment).take(work.KEY, work.FEW, work.NOW).refused is not None


def test_processes_at_once_share_one_budget(start: Start, path: Path) -> None:
    spenders = [start(work.reserve_until_refused) for _ in range(4)]
    go(*spenders)
    answers = [[int(number) for number in hear(spender).split()] for spender in spenders]

    with closing(work.open_here(path)) as segment:
        spend = SharedSpend(segment)
        while_standing = spend.read(work.KEY, work.MONTH)
        go(*spenders)
        assert [0] * 4 == [spender.wait(EXIT_LIMIT_S) for spender in spenders]
        spend.reap()
        after = spend.read(work.KEY, work.MONTH)

    settled, reserved = (sum(column) for column in zip(*answers, strict=True))
    assert (settled, reserved) == while_standing
    assert work.BUDGET - work.RESERVED < settled + reserved <= work.BUDGET
    assert (settled, 0) == after


def test_processes_at_once_share_one_hedge_budget(start: Start, path: Path) -> None:
    hedgers = [start(work.hedge_until_refused) for _ in range(4)]
    go(*hedgers)

    answers = [[int(number) for number in hedger.communicate(timeout=EXIT_LIMIT_S)[0].split()] for hedger in hedgers]
    taken, takeovers = (sum(column) for column in zip(*answers, strict=True))

    # 20 are there from the start, and the requests of all earn 800. What is earned while the reserve is full is lost:
    # it is nearly always empty here. Each takeover may cost one, and none is ever given twice.
    earned = round(work.HEDGE_RESERVE + 4 * work.HEDGE_REQUESTS * work.HEDGE_SHARE)
    assert earned - work.HEDGE_RESERVE - takeovers <= taken <= earned
    with closing(work.open_here(path)) as segment:
        assert not SharedHedges(segment, work.HEDGE_SHARE, work.HEDGE_RESERVE, 0.0, 0.0).withdraw(work.NOW)


def test_processes_at_once_share_leases_and_a_killed_ones_come_back(start: Start, path: Path) -> None:
    holders = [start(work.hold_leases) for _ in range(4)]
    go(*holders)
    held = [int(hear(holder)) for holder in holders]

    with closing(work.open_here(path)) as segment:
        spend = SharedSpend(segment)
        leases = CallLeases(LeaseBook(spend))
        counted = leases.count(work.LEASE_KEY), leases.acquire(work.LEASE_KEY, work.LEASES)
        holders[0].kill()
        assert -signal.SIGKILL == holders[0].wait(EXIT_LIMIT_S)
        spend.reap()
        left = work.LEASES - held[0]
        again = leases.count(work.LEASE_KEY), leases.acquire(work.LEASE_KEY, left + 1)

    assert work.LEASES == sum(held)
    assert ((work.LEASES, False), (left, True)) == (counted, again)


def test_killed_leaseholders_hold_nothing(start: Start, path: Path) -> None:
    for _ in kill_in_turn([start(work.lease_for_ever) for _ in range(KILLS)]):
        pass

    assert [] == work.held_locks(path)
    with closing(work.open_here(path)) as segment:
        spend = SharedSpend(segment)
        spend.reap()
        assert 0 == CallLeases(LeaseBook(spend)).count(work.LEASE_KEY)


def test_killed_takers_leave_no_lock_and_right_sum(start: Start, path: Path) -> None:
    takers = [start(work.take_for_ever) for _ in range(KILLS)]

    done = sum(kill_in_turn(takers))

    assert [] == work.held_locks(path)
    with closing(work.open_here(path)) as segment:
        hour, minute = SharedBuckets(segment).peek(work.KEY, work.MANY, work.NOW)
    taken = work.MANY[0][0] - hour.remaining
    assert hour.remaining == minute.remaining
    # A taker may have been killed after a take and before it said so, and a takeover may cost a token.
    assert done <= taken <= done + 2 * KILLS


def test_killed_spenders_leave_nothing_reserved(start: Start, path: Path) -> None:
    spenders = [start(work.spend_for_ever) for _ in range(KILLS)]

    done = sum(kill_in_turn(spenders))

    assert [] == work.held_locks(path)
    with closing(work.open_here(path)) as segment:
        spend = SharedSpend(segment)
        spend.reap()
        settled, reserved = spend.read(work.KEY, work.MONTH)
    assert 0 == reserved
    assert done * work.SPENT <= settled <= (done + KILLS) * work.SPENT


def test_one_probe_among_processes(start: Start, path: Path) -> None:
    with closing(work.open_here(path)) as segment:
        board = work.open_board(segment)
        for _ in range(3):
            board.begin(work.PROVIDER, work.FAILED_AT).failed(Fault.TARGET, work.FAILED_AT)
        callers = [start(work.probe_at_once) for _ in range(6)]
        go(*callers)
        assert [b"ready"] * 6 == [hear(caller) for caller in callers]

        go(*callers)

        # All had seen that a probe is due before any of them sent it.
        assert [0, 0, 0, 0, 0, 1] == sorted(int(hear(caller)) for caller in callers)
        assert [0] * 6 == [caller.wait(EXIT_LIMIT_S) for caller in callers]
        # Its process is gone without a word: the lease ends by time.
        due = [board.may_ask(work.PROVIDER, work.PROBE_AT + after_s) for after_s in (59.0, 61.0)]
        assert [False, True] == due


def test_killed_failers_leave_no_lock_and_all_failures(start: Start, path: Path) -> None:
    failers = [start(work.fail_for_ever) for _ in range(KILLS)]

    done = sum(kill_in_turn(failers))

    assert [] == work.held_locks(path)
    with closing(work.open_here(path)) as segment:
        board = work.open_board(segment)
        board.order([work.PROVIDER, "other"], work.FAILED_AT)
        counted = board.as_dict(work.FAILED_AT)[f"target {work.PROVIDER}"]["window"]
    assert isinstance(counted, dict)
    # One may have been killed after a failure was counted and before it said so.
    assert min(done, 0xFFFF) <= counted["failed"] <= done + KILLS


def test_processes_at_once_share_one_latency(start: Start, path: Path) -> None:
    recorders = [start(work.record_latencies) for _ in range(4)]

    go(*recorders)

    assert [0] * 4 == [recorder.wait(EXIT_LIMIT_S) for recorder in recorders]
    with closing(work.open_here(path)) as segment:
        estimate_s = work.open_latency(segment).estimate_s(work.FAILED_AT)
    assert pytest.approx(1.0, rel=0.06) == estimate_s


def test_stopped_failer_stops_nobody(start: Start, path: Path) -> None:
    stopped = start(work.stop_in_failure)
    go(stopped)
    _, status = os.waitpid(stopped.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)

    with closing(work.open_here(path)) as segment:
        board = work.open_board(segment)
        for _ in range(3):
            board.begin(work.PROVIDER, work.FAILED_AT).failed(Fault.TARGET, work.FAILED_AT)

        assert ["other", work.PROVIDER] == board.order([work.PROVIDER, "other"], work.FAILED_AT)
        assert segment.counters.stuck
        stopped.send_signal(signal.SIGCONT)
        assert work.DONE == stopped.communicate(timeout=EXIT_LIMIT_S)[0]
        assert ["other", work.PROVIDER] == work.open_board(segment).order([work.PROVIDER, "other"], work.FAILED_AT)
    assert [] == work.held_locks(path)


def test_stopped_holder_stops_nobody(start: Start, path: Path) -> None:
    stopped = start(work.stop_in_take)
    go(stopped)
    _, status = os.waitpid(stopped.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)

    with closing(work.open_here(path)) as segment:
        buckets, admitted = SharedBuckets(segment), 0
        while buckets.take(work.KEY, work.FEW, work.NOW).refused is None:
            admitted += 1
        stopped.send_signal(signal.SIGCONT)
        by_stopped = int(stopped.communicate(timeout=EXIT_LIMIT_S)[0])

        # What the stopped one was about to take was not taken; continued, it finds the bucket empty.
        assert (600, 0, 1) == (admitted, by_stopped, segment.counters.takeovers)
        assert 0 == buckets.peek(work.KEY, work.FEW, work.NOW)[0].remaining


def test_stopped_spender_stops_nobody(start: Start, path: Path) -> None:
    stopped = start(work.stop_in_reserve)
    go(stopped)
    _, status = os.waitpid(stopped.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)

    with closing(work.open_here(path)) as segment:
        spend, reserved = SharedSpend(segment), 0
        while spend.reserve(work.KEY, work.MONTH, work.RESERVED, work.BUDGET) is None:
            reserved += work.RESERVED
        stopped.send_signal(signal.SIGCONT)
        was_refused = hear(stopped)

        # Continued, it finds out that others decided meanwhile, undoes its reservation and is refused.
        assert (work.BUDGET, b"1", 1) == (reserved, was_refused, segment.counters.takeovers)
        assert (0, work.BUDGET) == spend.read(work.KEY, work.MONTH)
        go(stopped)


def test_stopped_holder_may_be_killed(start: Start, path: Path) -> None:
    stopped = start(work.stop_in_take)
    go(stopped)
    os.waitpid(stopped.pid, os.WUNTRACED)

    stopped.kill()
    stopped.wait(EXIT_LIMIT_S)

    assert [] == work.held_locks(path)
    with closing(work.open_here(path)) as segment:
        assert SharedBuckets(segment).take(work.KEY, work.FEW, work.NOW).refused is None
        assert 0 == segment.counters.takeovers


@pytest.mark.parametrize("before", ["nothing", "garbage"])
def test_starters_at_once_make_one_file(start: Start, path: Path, before: str) -> None:
    if before == "garbage":
        path.write_bytes(b"garbage" * 1000)
    starters = [start(work.open_and_reserve) for _ in range(6)]

    go(*starters)
    made = [int(hear(starter)) for starter in starters]

    assert [0, 0, 0, 0, 0, 1] == sorted(made)
    with closing(work.open_here(path)) as segment:
        assert (0, 6 * work.RESERVED) == SharedSpend(segment).read(work.KEY, work.MONTH)
    assert (before == "garbage") == bool(list(path.parent.glob("shared.mem.bad-*")))
