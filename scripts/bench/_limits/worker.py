"""One worker process, seen from outside: its CPU time, its memory, its open files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pg_trio.server.status_file import FILE_NAME

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def find_workers(data_dir: Path) -> tuple[int, ...]:
    """The pids of the workers of the gateway that serves with this data directory."""
    return tuple(json.loads((data_dir / FILE_NAME).read_text())["workers"])


def measure_cpu_s(pid: int) -> float:
    """CPU seconds so far, user and system, of all its threads (proc(5), `stat`, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def measure_memory_bytes(pid: int) -> int:
    """Resident memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def count_files(pid: int) -> int:
    """Open descriptors: sockets, databases, what Trio needs."""
    return len(os.listdir(f"/proc/{pid}/fd"))
