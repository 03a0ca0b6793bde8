"""Nodes as `pg-trio serve` runs them, which are killed."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from attrs import define

from tests.support.processes import PG_TRIO

START_LIMIT_S = 40.0


@define(eq=False)
class ServedNode:
    """One node: its files, and its processes while it runs."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "output.log").open("ab") as log:
            command = [*PG_TRIO, "serve", "--config", str(self.folder / "pg.toml"), "--admin-bind", ""]
            self.process = subprocess.Popen(
                [*command, "--bind", f"127.0.0.1:{self.port}", "--workers", "2"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """The whole node at once: its supervisor and its workers."""
        if self.process is not None:
            pids = [*children_of(self.process.pid), self.process.pid]
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            self.process.wait(START_LIMIT_S)
            self.process = None


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *children_of(child)]
    return found
