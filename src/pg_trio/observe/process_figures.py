"""Figures of a worker's process, read from outside, so that they cost its event loop nothing.

Source: proc(5), /proc/pid/stat and /proc/pid/limits. Other systems than Linux have none of these figures.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
# Fields of /proc/pid/stat behind the command's name, which is the second.
_START_TIME, _VIRTUAL_BYTES, _RESIDENT_PAGES = 19, 20, 21


def read_process(pid: int) -> dict[str, float]:
    """Memory, files and start of a process, by the metrics' names. Empty if it is gone."""
    folder = _PROC / str(pid)
    try:
        fields = (folder / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return {
            "process_resident_memory_bytes": int(fields[_RESIDENT_PAGES]) * os.sysconf("SC_PAGE_SIZE"),
            "process_virtual_memory_bytes": float(fields[_VIRTUAL_BYTES]),
            "process_start_time_seconds": _boot_time_s() + int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK"),
            "process_open_fds": float(len(os.listdir(folder / "fd"))),
            "process_max_fds": _max_files(folder),
        }
    except (OSError, IndexError, ValueError):
        return {}


def _boot_time_s() -> float:
    for line in (_PROC / "stat").read_text(encoding="ascii").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    raise ValueError("no btime")


def _max_files(folder: Path) -> float:
    for line in (folder / "limits").read_text(encoding="ascii").splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return float("inf") if soft == "unlimited" else float(soft)
    raise ValueError("no limit of open files")
