"""Closed-loop load with wrk: how much a peer can answer, and how long one request at a time takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from attrs import frozen

from scripts.bench._peers.errors import BenchError, PeerUnavailableError
from scripts.bench._peers.ports import HOST
from scripts.bench._peers.processes import Pinned
from scripts.bench._peers.target import Target

_RESULT = "RESULT "
# What wrk may take beyond its duration to start, to stop and to count.
SLACK_S = 15.0

_SCRIPT = """\
wrk.method = "POST"
wrk.body = {body}
{headers}
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{result}{{"requests": %d, "duration_us": %d, "p50_us": %.1f, "p99_us": %.1f, "not_ok": %d, "broken": %d}}\\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@frozen(slots=True)
class WrkResult:
    """One run. `not_ok`: answers with a status over 399 (all that wrk counts); `broken`: connections and time-outs."""

    requests: int
    duration_us: int
    p50_us: float
    p99_us: float
    not_ok: int
    broken: int

    @property
    def per_s(self) -> float:
        return self.requests / self.duration_us * 1e6

    @property
    def errors(self) -> int:
        return self.not_ok + self.broken


def find_wrk() -> str:
    """Path of wrk. Raises: BenchError with how to install it."""
    found = shutil.which("wrk")
    if found is None:
        raise BenchError("wrk is missing; it makes the load. On Debian: apt-get install wrk")
    return found


def make_wrk_command(target: Target, folder: Path, connections: int, duration_s: int) -> list[str]:
    """A command that loads the target over so many connections, each sending when the last answer is in."""
    script = folder / "load.lua"
    headers = {"Content-Type": "application/json", **target.headers}
    script.write_text(
        _SCRIPT.format(
            body=_quote(target.body),
            headers="\n".join(f"wrk.headers[ {_quote(name)} ] = {_quote(value)}" for name, value in headers.items()),
            result=_RESULT,
        )
    )
    url = f"http://{HOST}:{target.port}{target.path}"
    shape = ["--threads", "1", "--connections", str(connections), "--duration", f"{duration_s}s", "--timeout", "10s"]
    return [find_wrk(), *shape, "--script", str(script), url]


def read_result(process: Pinned) -> WrkResult:
    """What a finished wrk found. Raises: PeerUnavailableError with what it said instead."""
    for line in process.read_log().splitlines():
        if line.startswith(_RESULT):
            return WrkResult(**json.loads(line.removeprefix(_RESULT)))
    raise PeerUnavailableError(f"wrk gave no result:\n{process.read_log()[:1000]}")


def _quote(text: str) -> str:
    # A Lua long string takes everything as it stands; none of ours holds the closing bracket. (As a key it needs a
    # space before it: two brackets in a row begin a long string themselves.)
    return f"[==[{text}]==]"
