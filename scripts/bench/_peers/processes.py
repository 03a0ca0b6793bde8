"""Processes pinned to one core: started in their own group, measured as a tree, and gone when their block ends.

Rules
1. Everything started here leads its own session, so that Ctrl-C reaches us alone and we stop things in order.
2. Leaving the block stops the leader with SIGTERM, then kills whatever is left of its group and its tree.
3. What a process prints goes to a file, whose end explains why it died.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

# Long enough for a gateway with nothing running to drain; the worst peer needs about a second.
STOP_LIMIT_S = 5.0
_KILL_LIMIT_S = 2.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@frozen(slots=True)
class Stat:
    """The fields of `/proc/PID/stat` that are used here (proc(5), fields 3, 4, 14–17 and 22)."""

    state: str
    parent: int
    cpu_ticks: int
    started_at_ticks: int


@frozen(slots=True, eq=False)
class Pinned:
    """A running process tree on one core."""

    name: str
    log: Path
    leader: subprocess.Popen[bytes] = field(repr=False)

    def is_alive(self) -> bool:
        """Whether the leader still runs."""
        return self.leader.poll() is None

    def read_log(self) -> str:
        """Everything the tree has printed so far."""
        return self.log.read_text(errors="replace")

    def read_log_end(self, lines: int = 5) -> str:
        """The last lines that the tree printed."""
        return "\n".join(self.read_log().splitlines()[-lines:])

    def measure_cpu_s(self) -> float:
        """CPU seconds, user and system, of the whole tree so far.

        A child that ends moves its time to its parent's "waited-for" fields, which are counted too: nothing is lost.
        """
        stats = (_read_stat(pid) for pid in find_tree(self.leader.pid))
        return sum(stat.cpu_ticks for stat in stats if stat) / _TICKS_PER_S

    def measure_memory_bytes(self) -> list[int]:
        """Memory of every process of the tree now: proportional set size, so that shared pages count once."""
        return [_read_memory_bytes(pid) for pid in find_tree(self.leader.pid)]


@contextlib.contextmanager
def run_pinned(
    name: str, command: Sequence[str], *, core: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Pinned]:
    """A process tree pinned to `core` for the length of the block; nothing of it is left afterwards."""
    with log.open("wb") as output:
        leader = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=clean_environment() | dict(environment or {}),
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        yield Pinned(name, log, leader)
    finally:
        _stop_tree(leader)


def clean_environment() -> dict[str, str]:
    """Our own environment without what would reach into a peer: Python's settings and configured gateways or keys."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PG_TRIO_"))}


def find_tree(root: int) -> list[int]:
    """The process and all its living descendants."""
    parents = {pid: stat.parent for pid in _list_pids() if (stat := _read_stat(pid))}
    tree = [root]
    for pid in tree:  # grows while it is walked: children are appended behind their parents
        tree.extend(child for child, parent in parents.items() if parent == pid)
    return tree


def _stop_tree(leader: subprocess.Popen[bytes]) -> None:
    # A leader that dies first would leave its children to init, where the tree is no longer seen: look before.
    tree = {pid: stat.started_at_ticks for pid in find_tree(leader.pid) if (stat := _read_stat(pid))}
    try:
        leader.terminate()  # does nothing if it has ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            leader.wait(STOP_LIMIT_S)
    finally:  # a second Ctrl-C ends the wait, not the clean-up
        _kill_tree(leader.pid, tree)
        leader.wait()


def _kill_tree(leader_pid: int, tree: Mapping[int, int]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader_pid, signal.SIGKILL)
    left = [pid for pid, started_at_ticks in tree.items() if _is_running(pid, started_at_ticks)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # A kill is only a request: who is in the kernel ends a moment later.
    give_up_at = time.monotonic() + _KILL_LIMIT_S
    while time.monotonic() < give_up_at and any(_is_running(pid, tree[pid]) for pid in left):
        time.sleep(0.01)


def _is_running(pid: int, started_at_ticks: int) -> bool:
    """Whether it is the same process still, not one that took over its number, and not one waiting to be collected."""
    stat = _read_stat(pid)
    return stat is not None and stat.started_at_ticks == started_at_ticks and stat.state != "Z"


def wait_finished(process: Pinned, limit_s: float) -> None:
    """The process has ended by itself.

    Raises: TimeoutError if it has not within the limit.
    """
    finish_by = time.monotonic() + limit_s
    try:
        process.leader.wait(finish_by - time.monotonic())
    except subprocess.TimeoutExpired as exc:
        raise TimeoutError(f"{process.name} did not end within {limit_s:.0f} s") from exc


def _list_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read_stat(pid: int) -> Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold spaces and parentheses itself: count from the last one.
    fields = text.rpartition(")")[2].split()
    return Stat(fields[0], int(fields[1]), sum(map(int, fields[11:15])), int(fields[19]))


def _read_memory_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        # Where the kernel gives no proportional size: the resident one.
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
