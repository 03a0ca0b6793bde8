"""A gateway of several workers and the simulator as its provider, as real processes, and a client that counts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import trio
from attrs import frozen

from pg_trio.store.token_admin import TokenAdmin

PROJECT = UUID("6f1c0000-0000-4000-8000-000000000001")
ENDPOINT = UUID("6f1c0000-0000-4000-8000-0000000000aa")
WORKERS = 4
START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
READ_BYTES = 65_536

_CONFIGURATION = """
[gateway]
data_dir = "data"
[[credentials]]
name = "sim"
provider = "openai"
api_key = "sk-simulated-key-0000"
base_url = "{base_url}"
[[projects]]
uuid = "{project}"
name = "Bench"
[[projects.endpoints]]
uuid = "{endpoint}"
slug = "e"
credential = "sim"
streaming_enabled = true
{settings}
"""
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


@frozen
class Site:
    """A gateway that runs."""

    folder: Path
    port: int
    token: str

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def write_request(self, body: Mapping[str, object]) -> bytes:
        """One call of the endpoint, on a connection that stays."""
        payload = json.dumps(body).encode()
        lines = [
            f"POST /api/{PROJECT}/e HTTP/1.1",
            "Host: bench",
            f"Authorization: Bearer {self.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(payload)}",
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload


@asynccontextmanager
async def open_site(folder: Path, **settings: object) -> AsyncIterator[Site]:
    """`pg-trio serve` with an endpoint of these settings, an empty data directory, and 4 workers."""
    async with AsyncExitStack() as stack:
        base_url = await _start(stack, folder, "simulate", "--bind", "127.0.0.1:0", "--seed", "1")
        lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
        configuration = folder / "gateway.toml"
        configuration.write_text(
            _CONFIGURATION.format(base_url=base_url + "/v1", project=PROJECT, endpoint=ENDPOINT, settings=lines)
        )
        with TokenAdmin(folder / "data") as admin:
            _, token = admin.create(PROJECT, "bench")
        serve = ("serve", "--config", str(configuration), "--bind", "127.0.0.1:0", "--workers", str(WORKERS))
        url = await _start(stack, folder, *serve)
        yield Site(folder, int(url.rpartition(":")[2]), token)


async def _start(stack: AsyncExitStack, folder: Path, *arguments: str) -> str:
    """The address that the command prints; the end of the stack stops it."""
    log = folder / f"{arguments[0]}.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG_TRIO_")}
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "pg_trio", *arguments], stdout=output, stderr=subprocess.STDOUT, env=clean
        )
    stack.push_async_callback(_stop, process)
    with trio.fail_after(START_LIMIT_S):
        while not (match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            if process.returncode is not None:
                raise RuntimeError(log.read_text())
            await trio.sleep(0.05)
    return match[0]


async def _stop(process: trio.Process) -> None:
    with trio.move_on_after(STOP_LIMIT_S, shield=True) as scope:
        process.send_signal(signal.SIGTERM)
        await process.wait()
    if scope.cancelled_caught:
        process.kill()


async def ask(stream: trio.SocketStream, request: bytes) -> int:
    """The status of one answer on a connection that stays. Raises OSError, trio.BrokenResourceError."""
    await stream.send_all(request)
    received = b""
    while b"\r\n\r\n" not in received:
        received += await _receive(stream)
    head, _, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    while not _is_whole(length, body):
        body += await _receive(stream)
    return int(head[9:12])


def _is_whole(length: re.Match[bytes] | None, body: bytes) -> bool:
    # Without a length it is a stream of events in chunks.
    return body.endswith(b"0\r\n\r\n") if length is None else len(body) >= int(length[1])


async def _receive(stream: trio.SocketStream) -> bytes:
    received = await stream.receive_some(READ_BYTES)
    if not received:
        raise trio.BrokenResourceError("closed by the gateway")
    return bytes(received)
