"""Facts about this machine and its tools, without which figures mean nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from scripts.bench._peers.errors import BenchError
from scripts.bench._peers.measure import Cores
from scripts.bench._peers.nginx import find_nginx
from scripts.bench._peers.wrk import find_wrk


def choose_cores() -> Cores:
    """The first two cores we may run on. Raises: BenchError if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("two cores are needed: one for what is measured and one for the load and the upstream")
    return Cores(gateway=allowed[0], load=allowed[1])


def check_tools() -> None:
    """Everything that every measurement needs is there. Raises: BenchError with how to install what is not."""
    find_nginx()
    find_wrk()
    if shutil.which("taskset") is None:
        raise BenchError("taskset is missing; it pins processes to cores. On Debian: apt-get install util-linux")


def describe_machine() -> dict[str, str]:
    """Names and versions of what the figures depend on, and how busy the machine was."""
    return {
        "cpu": _read_cpu_model(),
        "cores": str(os.cpu_count()),
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "node": _ask_version(["node", "--version"]),
        "nginx": _ask_version([find_nginx(), "-v"]),
        "wrk": _ask_version([find_wrk(), "-v"]),
        "commit": _ask(["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]) or "unknown",
    }


def _read_cpu_model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _ask_version(command: list[str]) -> str:
    found = re.search(r"\d+(?:\.\d+)+", _ask(command))
    return found.group() if found else "none"


def _ask(command: list[str]) -> str:
    try:
        # nginx and wrk tell their version on standard error or with a failing status: take whatever they say.
        asked = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (asked.stdout + asked.stderr).strip() if asked.returncode in (0, 1) else ""
