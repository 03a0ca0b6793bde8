"""The moving parts of scripts/bench/growth, overload and soak, with real processes and sockets."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts.bench.harness.gateway import name_token, set_up_wide
from scripts.bench.harness.machine import Cores
from scripts.bench.harness.open_loop import OpenLoad, OpenLoop
from scripts.bench.harness.process_stats import count_files, measure_cpu_s, measure_memory_bytes
from scripts.bench.harness.processes import HOST
from scripts.bench.harness.site import Site
from scripts.bench.harness.target import Target
from scripts.bench.harness.wrk import VALUE, Load, run_load

CORE = min(os.sched_getaffinity(0))
REQUEST = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class Upstream(ThreadingHTTPServer):
    """Answers like a provider; of each three, one is shed with and one without Retry-After if asked to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), Answer)
        self.paths: list[str] = []
        self.tokens: list[str | None] = []
        self.sheds = False


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.tokens.append(self.headers["Authorization"])
        kind = len(self.server.paths) % 3 if self.server.sheds else 0
        head = ("HTTP/1.1 200 X", "HTTP/1.1 503 X\r\nRetry-After: 1", "HTTP/1.1 503 X")[kind]
        body = (
            b'{"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0,'
            b' "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}'
        )
        self.wfile.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_flood_counts_what_was_shed(upstream: Upstream) -> None:
    upstream.sheds = True
    load = OpenLoad(upstream.server_port, REQUEST, rate_per_s=300, duration_s=0.1, connections=40)

    result = OpenLoop(load).run()

    assert [30, 10, 20, 10] == [result[f"{kind}_sum"] for kind in ("sent", "ok", "shed", "bare")]


def test_flood_without_free_connection_is_unsent(upstream: Upstream) -> None:
    load = OpenLoad(upstream.server_port, REQUEST, rate_per_s=1_000_000, duration_s=0.001, connections=3)

    result = OpenLoop(load).run()

    assert 1_000 == result["sent_sum"] + result["unsent_sum"]
    assert result["sent_sum"] == len(upstream.paths) < 1_000


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_values_take_turns(upstream: Upstream, tmp_path: Path) -> None:
    target = Target(upstream.server_port, f"/{VALUE}", {}, "{}")

    started_at = time.monotonic()
    result = run_load(Load(target, 1, 30, values=("a", "b", "c"), stop_after=5), tmp_path / "load", CORE)

    # wrk asks for one request at its start and does not send it.
    assert ["/b", "/c", "/a", "/b", "/c"] == upstream.paths[:5]
    assert 5 <= result.requests <= len(upstream.paths)
    assert 0 == result.errors
    assert time.monotonic() - started_at < 20


def test_inserted_tokens_and_endpoints_work(upstream: Upstream, tmp_path: Path) -> None:
    files = set_up_wide(tmp_path, f"http://{HOST}:{upstream.server_port}/v1", endpoints=3, tokens=5)

    with Site(Cores(CORE, CORE), tmp_path).run_gateway(files) as gateway:
        worker = gateway.worker
        status, said = gateway.target("e2", {"message": "Hello there."}, token=name_token(4)).call()
        measured = (measure_cpu_s(worker), measure_memory_bytes(worker), count_files(worker))

    assert 200 == status, said
    assert all(value > 0 for value in measured)
