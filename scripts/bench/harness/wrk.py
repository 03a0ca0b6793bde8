"""Closed-loop load with wrk: each connection sends when its last answer has come."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from scripts.bench.harness.machine import find_tool
from scripts.bench.harness.processes import HOST, PeerUnavailableError, Pinned, run_pinned, wait_finished
from scripts.bench.harness.target import Target

# Where a request's own part goes: a token in the header, a slug in the path.
VALUE = "@VALUE@"
CONNECTIONS = 32
# What wrk may take beyond its duration to start, to stop and to count.
SLACK_S = 15.0
_RESULT = "RESULT "
_SCRIPT = """\
wrk.method, wrk.body = "{method}", {body}
{headers}
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{result}{{"requests": %d, "duration_us": %d, "p50_us": %.1f, "p99_us": %.1f, "not_ok": %d, "broken": %d}}\\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""
_ROTATE = """
local function read(path) return assert(io.open(path, "rb")):read("*a") end
local before, after, values, turn = read("{before}"), read("{after}"), {{}}, 0
for line in io.lines("{values}") do values[#values + 1] = line end
request = function()
    turn = turn % #values + 1
    return before .. values[turn] .. after
end
"""
# wrk's thread could be told to stop, but wrk itself would sleep until its duration is over: only a signal wakes it,
# and that a moment later, because system(3) ignores this signal until its own command has ended.
_STOP = """
local answered = 0
response = function()
    answered = answered + 1
    if answered == {count} then os.execute("(sleep 0.05; kill -INT $PPID) &") end
end
"""


@frozen(slots=True)
class Load:
    """With `values`, VALUE in path or headers is each of them in turn. wrk takes whole seconds only.

    `stop_after`: stop after so many answers and those of the next 50 ms; 0: never. A target without a body is a GET.
    """

    target: Target
    connections: int
    duration_s: int
    values: Sequence[str] = ()
    stop_after: int = 0


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


def run_load(load: Load, folder: Path, core: int) -> WrkResult:
    """What wrk found, on that core. Raises: PeerUnavailableError, TimeoutError."""
    with start_load(load, folder, core) as wrk:
        wait_finished(wrk, load.duration_s + SLACK_S)
        return read_result(wrk)


@contextlib.contextmanager
def start_load(load: Load, folder: Path, core: int) -> Iterator[Pinned]:
    """wrk works, or has ended, for the length of the block; `folder` takes its files."""
    folder.mkdir(parents=True, exist_ok=True)
    script, target = folder / "load.lua", load.target
    script.write_text(_write_script(load, folder))
    shape = ["--threads", "1", "--connections", str(load.connections), "--duration", f"{load.duration_s}s"]
    url = f"http://{HOST}:{target.port}{target.path}"
    command = [find_tool("wrk"), *shape, "--timeout", "10s", "--script", str(script), url]
    with run_pinned("wrk", command, core=core, log=folder / "wrk.log") as wrk:
        yield wrk


def read_result(process: Pinned) -> WrkResult:
    """What a wrk that has ended found. Raises: PeerUnavailableError with what it printed instead."""
    for line in process.read_log().splitlines():
        if line.startswith(_RESULT):
            return WrkResult(**json.loads(line.removeprefix(_RESULT)))
    raise PeerUnavailableError(f"wrk gave no result:\n{process.read_log()[:1000]}")


def _write_script(load: Load, folder: Path) -> str:
    headers = {"Content-Type": "application/json", **load.target.headers}
    lines = "\n".join(f"wrk.headers[ {_quote(name)} ] = {_quote(value)}" for name, value in headers.items())
    method, body = ("POST", _quote(load.target.body)) if load.target.body else ("GET", "nil")
    script = _SCRIPT.format(method=method, body=body, headers=lines, result=_RESULT)
    if load.values:
        before, _, after = load.target.as_bytes().decode().partition(VALUE)
        parts = {"before": before, "after": after, "values": "\n".join(load.values)}
        for name, text in parts.items():
            (folder / name).write_bytes(text.encode())
        script += _ROTATE.format(**{name: folder / name for name in parts})
    return script + (_STOP.format(count=load.stop_after) if load.stop_after else "")


def _quote(text: str) -> str:
    # A Lua long string takes everything as it stands; none of ours holds the closing bracket. (As a key it needs a
    # space before it, because two brackets in a row begin a long string themselves.)
    return f"[==[{text}]==]"
