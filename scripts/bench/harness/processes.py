"""Processes that a bench starts: pinned to cores, measured as a tree, and stopped when their block ends.

Rules
1. Each process started here leads its own session. Ctrl-C reaches only us, and we stop the processes in order.
2. Leaving the block sends SIGTERM to the leader, then kills what is left of its group and its tree.
3. What a process prints goes to a file. The end of that file explains why the process died.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen

from scripts.bench.harness.process_stats import (
    find_tree,
    is_running,
    measure_tree_cpu_s,
    measure_tree_memory_bytes,
    read_stat,
)

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[3]
# A gateway without requests needs about a second to stop; this is the slowest peer's time, and some.
STOP_LIMIT_S = 5.0
_KILL_LIMIT_S = 2.0
_READY_LIMIT_S = 40.0
_OUR_VARIABLES = ("PYTHON", "PG_TRIO_")


class BenchError(Exception):
    """Nothing can be measured: a tool is missing, there is only one core, or the upstream does not start."""


class PeerUnavailableError(Exception):
    """One process cannot be installed, started or called. Where several are compared, the others are measured."""


@frozen(slots=True, eq=False)
class Pinned:
    """A running process tree; what it prints is in `log`."""

    name: str
    log: Path
    leader: subprocess.Popen[bytes] = field(repr=False)

    def is_alive(self) -> bool:
        return self.leader.poll() is None

    def read_log(self) -> str:
        return self.log.read_text(errors="replace")

    def read_log_end(self, lines: int = 5) -> str:
        return "\n".join(self.read_log().splitlines()[-lines:])

    def measure_cpu_s(self) -> float:
        """CPU seconds of the whole tree so far."""
        return measure_tree_cpu_s(self.leader.pid)

    def measure_memory_bytes(self) -> list[int]:
        return measure_tree_memory_bytes(self.leader.pid)


@contextlib.contextmanager
def run_pinned(
    name: str, command: Sequence[str], *, core: int | str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Pinned]:
    """A process tree on `core` (or cores, as taskset lists them) for the length of the block."""
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


def run_module(
    name: str, module: str, *arguments: str, core: int | str, log: Path
) -> contextlib.AbstractContextManager[Pinned]:
    """`python -m module` as `run_pinned` runs a command."""
    command = [sys.executable, "-m", module, *arguments]
    return run_pinned(name, command, core=core, log=log, environment={"PYTHONPATH": str(ROOT)})


def ask_module(
    module: str,
    value: Any,
    *,
    core: int,
    folder: Path,
    limit_s: float,
    look: tuple[float, Callable[[], None]] | None = None,
) -> dict[str, Any]:
    """What the module printed: it gets an attrs value as a JSON file and answers with a line of JSON.

    `look`: after how many seconds what is called, once. Raises: PeerUnavailableError with what the module printed
    instead, TimeoutError.
    """
    name = module.rpartition(".")[2]
    file = folder / f"{name}.json"
    file.write_text(json.dumps(asdict(value)))
    with run_module(name, module, str(file), core=core, log=folder / f"{name}.log") as process:
        if look:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.leader.wait(look[0])
            look[1]()
        wait_finished(process, limit_s)
        if process.leader.returncode != 0:
            raise PeerUnavailableError(process.read_log_end(20))
        answer: dict[str, Any] = json.loads(process.read_log().splitlines()[-1])
    return answer


def clean_environment() -> dict[str, str]:
    """Our environment without Python's settings, configured gateways and API keys, which would reach a child."""
    kept = (name for name in os.environ if not name.startswith(_OUR_VARIABLES) and not name.endswith("_API_KEY"))
    return {name: os.environ[name] for name in kept}


def find_free_port(host: str = HOST) -> int:
    """A port for a server that is told its number. This process holds it to its end.

    Between a look for a free port and the server's start, the kernel may give that port to an outgoing connection or
    to another listener. So a socket stays bound to it and does not listen. Then only a server that asks for this very
    port gets it, as often as it starts, if it sets SO_REUSEADDR as servers do. Until then connections are refused.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, 0))
    port: int = held.getsockname()[1]
    if sys.platform == "linux":
        # The descriptor stays open.
        held.detach()
    else:
        # Other systems let a second socket in by SO_REUSEPORT alone.
        held.close()
    return port


def wait_finished(process: Pinned, limit_s: float) -> None:
    try:
        process.leader.wait(limit_s)
    except subprocess.TimeoutExpired as exc:
        raise TimeoutError(f"{process.name} did not end within {limit_s:.0f} s") from exc


def wait_said(process: Pinned, pattern: str) -> re.Match[str]:
    """The first match of a pattern in what the process prints. Raises: TimeoutError with what it printed instead."""
    give_up_at = time.monotonic() + _READY_LIMIT_S
    is_alive = True
    while is_alive and time.monotonic() < give_up_at:
        is_alive = process.is_alive()
        if found := re.search(pattern, process.read_log()):
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{process.name} was not ready:\n{process.read_log_end()}")


def _stop_tree(leader: subprocess.Popen[bytes]) -> None:
    # A leader that ends first leaves its children to init, where they no longer belong to the tree: look before.
    tree = {pid: stat.started_at_ticks for pid in find_tree(leader.pid) if (stat := read_stat(pid))}
    try:
        leader.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            leader.wait(STOP_LIMIT_S)
    finally:  # A second Ctrl-C ends the wait, not the clean-up.
        # Of a process that ended meanwhile, the number may belong to another one by now.
        left = {pid: ticks for pid, ticks in tree.items() if is_running(pid, ticks)}
        for kill, pid in ((os.killpg, leader.pid), *((os.kill, pid) for pid in left)):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        leader.wait()
        # A process that is inside the kernel ends a moment after its signal.
        give_up_at = time.monotonic() + _KILL_LIMIT_S
        while time.monotonic() < give_up_at and any(is_running(pid, ticks) for pid, ticks in left.items()):
            time.sleep(0.01)
