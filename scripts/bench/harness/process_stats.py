"""CPU time, memory and open files of processes, read from `/proc` (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@frozen(slots=True)
class Stat:
    """Fields of `/proc/PID/stat`. `waited_ticks`: CPU time of children that ended and were waited for."""

    state: str
    parent: int
    cpu_ticks: int
    waited_ticks: int
    started_at_ticks: int


def read_stat(pid: int) -> Stat | None:
    """None if the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may itself hold spaces and parentheses, so fields are counted from the last one.
    fields = text.rpartition(")")[2].split()
    utime, stime, cutime, cstime = map(int, fields[11:15])
    return Stat(fields[0], int(fields[1]), utime + stime, cutime + cstime, int(fields[19]))


def find_tree(root: int) -> list[int]:
    """The process and all its living descendants."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    parents = {pid: stat.parent for pid in pids if (stat := read_stat(pid))}
    tree = [root]
    for pid in tree:  # The list grows while it is walked: children are appended after their parents.
        tree.extend(child for child, parent in parents.items() if parent == pid)
    return tree


def is_running(pid: int, started_at_ticks: int) -> bool:
    """False if the process has ended, is a zombie, or its number now belongs to another process."""
    stat = read_stat(pid)
    return stat is not None and stat.started_at_ticks == started_at_ticks and stat.state != "Z"


def measure_cpu_s(*pids: int) -> float:
    """CPU seconds of these processes so far, user and system, all their threads. Raises: ProcessLookupError."""
    stats = [read_stat(pid) for pid in pids]
    if None in stats:
        raise ProcessLookupError(f"one of the processes {pids} has ended")
    return sum(stat.cpu_ticks for stat in stats if stat) / _TICKS_PER_S


def measure_tree_cpu_s(root: int) -> float:
    """CPU seconds of a process and all its descendants so far, ended ones included (their parents have waited)."""
    stats = (read_stat(pid) for pid in find_tree(root))
    return sum(stat.cpu_ticks + stat.waited_ticks for stat in stats if stat) / _TICKS_PER_S


def measure_memory_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def measure_tree_memory_bytes(root: int) -> list[int]:
    """Memory of each process of the tree now: proportional set size, so that shared pages count once."""
    return [_measure_share_bytes(pid) for pid in find_tree(root)]


def _measure_share_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")]
        return sizes[0] if sizes else measure_memory_bytes(pid)  # Some kernels give no proportional size.
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def count_files(pid: int) -> int:
    """Open descriptors of a process: sockets, databases, and those that Trio needs."""
    return len(os.listdir(f"/proc/{pid}/fd"))
