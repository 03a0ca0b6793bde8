"""This machine: its cores, its tools, and the facts without which figures mean nothing."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from scripts.bench.harness.processes import ROOT, BenchError

# Debian keeps nginx in /usr/sbin, which is not on every user's path.
_MORE_FOLDERS = "/usr/sbin:/usr/local/sbin"
_PACKAGES = {"taskset": "util-linux"}


@frozen(slots=True)
class Cores:
    """One core for what is measured, another for the load and the upstream; `both` as taskset lists them."""

    gateway: int
    load: int

    @property
    def both(self) -> str:
        return f"{self.gateway},{self.load}"


def choose_cores() -> Cores:
    """The first two cores that we may use. Raises: BenchError if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("two cores are needed: one for what is measured, one for the load and the upstream")
    return Cores(gateway=allowed[0], load=allowed[1])


def find_tool(name: str) -> str:
    """The path of a program. Raises: BenchError with how to install it."""
    found = shutil.which(name) or shutil.which(name, path=_MORE_FOLDERS)
    if found is None:
        raise BenchError(f"{name} is missing. On Debian: apt-get install {_PACKAGES.get(name, name)}")
    return found


def allow_open_files(wanted: int | None = None) -> None:
    """We, and the processes that we start, may open so many files, or all that the hard limit allows.

    Raises: BenchError if the hard limit allows fewer.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted is not None and resource.RLIM_INFINITY != hard < wanted:
        raise BenchError(f"{wanted} open files are needed and {hard} are allowed; raise the hard limit (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe_machine() -> dict[str, str]:
    """Names and versions of what figures depend on, and how busy the machine was."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    versions = {"node": "--version", "nginx": "-v", "wrk": "-v"}
    return {
        "cpu": found[1] if found else platform.machine(),
        "cores": str(os.cpu_count()),
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{
            name: (re.findall(r"\d+(?:\.\d+)+", _ask(name, option)) or ["none"])[0] for name, option in versions.items()
        },
        "commit": _ask("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") or "unknown",
    }


def _ask(name: str, *arguments: str) -> str:
    try:
        # nginx and wrk print their version on standard error or end with a failing status.
        command = [find_tool(name), *arguments]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, BenchError):
        return ""
    return (asked.stdout + asked.stderr).strip() if asked.returncode in (0, 1) else ""
