"""wrk, with what the comparison does not need: requests that differ from one another, and a number to stop at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from scripts.bench._peers.ports import HOST
from scripts.bench._peers.processes import Pinned, run_pinned, wait_finished
from scripts.bench._peers.target import Target
from scripts.bench._peers.wrk import SLACK_S, WrkResult, make_wrk_command, read_result

# Where a request's own part goes: a token in the header, a slug in the path.
VALUE = "@VALUE@"

_ROTATE = """
local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end
local before, after, values, turn = read("{before}"), read("{after}"), {{}}, 0
for line in io.lines("{values}") do values[#values + 1] = line end
request = function()
    turn = turn % #values + 1
    return before .. values[turn] .. after
end
"""
# Its thread could be told to stop, but wrk itself would sleep on until its duration is over: only a signal wakes it,
# and that a moment later, because system(3) ignores this one until its own command is done.
_STOP = """
local answered = 0
response = function()
    answered = answered + 1
    if answered == {count} then os.execute("(sleep 0.05; kill -INT $PPID) &") end
end
"""


@frozen(slots=True)
class Load:
    """What to send: with `values`, VALUE in path or headers is each of them in turn.

    `stop_after` so many answers, or some more: those of the next 50 ms. 0: never.
    """

    target: Target
    connections: int
    duration_s: int
    values: Sequence[str] = ()
    stop_after: int = 0


def write_request(target: Target) -> str:
    """The bytes of one request, as text."""
    headers = {
        "Host": f"{HOST}:{target.port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(target.body.encode())),
        **target.headers,
    }
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines) + "\r\n\r\n" + target.body


def run_load(load: Load, folder: Path, core: int) -> WrkResult:
    """What wrk found on that core. Raises: PeerUnavailableError, TimeoutError."""
    with start_load(load, folder, core) as wrk:
        wait_finished(wrk, load.duration_s + SLACK_S)
        return read_result(wrk)


@contextlib.contextmanager
def start_load(load: Load, folder: Path, core: int) -> Iterator[Pinned]:
    """wrk is at work, or done, for the length of the block; `folder` takes its files."""
    folder.mkdir(parents=True, exist_ok=True)
    command = make_wrk_command(load.target, folder, load.connections, load.duration_s)
    with (folder / "load.lua").open("a") as script:
        if load.values:
            script.write(_write_rotation(load, folder))
        if load.stop_after:
            script.write(_STOP.format(count=load.stop_after))
    with run_pinned("wrk", command, core=core, log=folder / "wrk.log") as wrk:
        yield wrk


def _write_rotation(load: Load, folder: Path) -> str:
    before, _, after = write_request(load.target).partition(VALUE)
    parts = {"before": before, "after": after, "values": "\n".join(load.values)}
    for name, text in parts.items():
        (folder / name).write_bytes(text.encode())
    return _ROTATE.format(**{name: folder / name for name in parts})
