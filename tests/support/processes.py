"""Real processes: `pg-trio serve` as a user starts it, with its output and its end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import trio
from attrs import define, field

# A process that has not done what it should within this time never will.
PROCESS_LIMIT_S = 90
PG_TRIO = (sys.executable, "-m", "pg_trio")


@define
class Served:
    """A server process: what it printed so far (both streams), and its port once it said so."""

    process: trio.Process
    output: str = ""
    port: int = 0
    grown: trio.Event = field(factory=trio.Event)

    async def wait_output(self, pattern: str) -> re.Match[str]:
        """Wait until the output matches. Fails with the output where it never does."""
        with trio.move_on_after(PROCESS_LIMIT_S):
            while not (match := re.search(pattern, self.output)):
                await self.grown.wait()
            return match
        raise AssertionError(f"no {pattern!r} in:\n{self.output}")

    async def stop(self, signal_number: int = 15) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(signal_number)
        with trio.fail_after(PROCESS_LIMIT_S):
            return await self.process.wait()


async def start(
    nursery: trio.Nursery, command: Sequence[str], environ: Mapping[str, str] | None = None, address: str = "http"
) -> Served:
    """Start a server and wait until it prints its address; `address` is what stands before `://host:port`."""
    # No keys: the demonstration must not ask a real provider in a test.
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    clean |= {"OLLAMA_BASE_URL": "http://127.0.0.1:9/v1", **(environ or {})}
    process = await trio.lowlevel.open_process(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean
    )
    served = Served(process)
    nursery.start_soon(_collect, served)
    served.port = int((await served.wait_output(rf"{address}://127\.0\.0\.1:(\d+)"))[1])
    return served


async def _collect(served: Served) -> None:
    assert served.process.stdout is not None
    try:
        async for chunk in served.process.stdout:
            served.output += chunk.decode("utf-8", "replace")
            grown, served.grown = served.grown, trio.Event()
            grown.set()
    finally:
        if served.process.returncode is None:
            served.process.kill()


async def run_command(*arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run `pg-trio …` to its end: exit status, standard output, standard error."""
    with trio.fail_after(PROCESS_LIMIT_S):
        done = await trio.run_process(
            [*PG_TRIO, *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, **(environ or {})},
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for an outside condition without an event, such as a file or a process. Checks every 20 ms."""
    with trio.fail_after(PROCESS_LIMIT_S):
        while not condition():  # noqa: ASYNC110  # nobody tells
            await trio.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
