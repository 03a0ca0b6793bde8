"""The moving parts of scripts/bench/peers, with real processes and sockets: what they do to the other side."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts.bench.benches.peers import floor
from scripts.bench.benches.peers.install import install_portkey
from scripts.bench.harness import streams
from scripts.bench.harness.machine import Cores, find_tool
from scripts.bench.harness.open_loop import OpenLoad, OpenLoop, run_open_loop
from scripts.bench.harness.process_stats import find_tree
from scripts.bench.harness.processes import (
    HOST,
    BenchError,
    PeerUnavailableError,
    Pinned,
    find_free_port,
    run_pinned,
    wait_finished,
)
from scripts.bench.harness.site import Site
from scripts.bench.harness.streams import StreamLoad
from scripts.bench.harness.target import StreamOrder, Target, wait_ready

ROOT = Path(__file__).resolve().parents[2]
HAS_TOOLS = bool(
    shutil.which("wrk")
    and shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    and len(os.sched_getaffinity(0)) > 1
)
CORE = min(os.sched_getaffinity(0))
# A process that has printed nothing by then never will.
LOG_LIMIT_S = 40.0
REQUEST = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
# Prints its child's number, and neither of the two ends when asked to.
STUBBORN = "trap '' TERM; sh -c \"trap '' TERM; while :; do sleep 1; done\" & echo $!; while :; do sleep 1; done"


class Upstream(ThreadingHTTPServer):
    """Answers every POST with its own body; every third one, or all, with 500 if asked to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), Echo)
        self.bodies: list[bytes] = []
        self.fails_every_third = False
        self.fails_always = False


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        is_third = len(self.server.bodies) % 3 == 0
        fails = self.server.fails_always or (self.server.fails_every_third and is_third)
        head = f"HTTP/1.1 {500 if fails else 200} X\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

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


def make_load(upstream: Upstream, count: int) -> OpenLoad:
    return OpenLoad(upstream.server_port, REQUEST, count * 10, duration_s=0.1, connections=4, waits=True)


def wait_for_log(process: Pinned) -> str:
    give_up_at = time.monotonic() + LOG_LIMIT_S
    while not process.read_log().endswith("\n") and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return process.read_log()


def test_stubborn_tree_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.bench.harness.processes.STOP_LIMIT_S", 0.1)

    with run_pinned("stubborn", ["sh", "-c", STUBBORN], core=CORE, log=tmp_path / "log") as process:
        child = int(wait_for_log(process))
        tree = find_tree(process.leader.pid)

    assert child in tree
    assert not any(_is_running(pid) for pid in tree)


def test_tree_runs_on_its_core(tmp_path: Path) -> None:
    show = "import os; print(sorted(os.sched_getaffinity(0)))"

    with run_pinned("show", [sys.executable, "-c", show], core=CORE, log=tmp_path / "log") as process:
        wait_finished(process, LOG_LIMIT_S)

    assert f"[{CORE}]\n" == process.read_log()


def test_cpu_of_ended_children_counts(tmp_path: Path) -> None:
    burn = f"{sys.executable} -c 'import time\nwhile time.process_time() < 0.3: pass'; echo; exec sleep 60"

    with run_pinned("burn", ["sh", "-c", burn], core=CORE, log=tmp_path / "log") as process:
        wait_for_log(process)
        cpu_s = process.measure_cpu_s()

    assert cpu_s >= 0.25


def test_dead_peer_says_why(tmp_path: Path) -> None:
    port = find_free_port()
    command = ["sh", "-c", "echo no such model; exit 3"]

    with (
        run_pinned("dead", command, core=CORE, log=tmp_path / "log") as process,
        pytest.raises(PeerUnavailableError, match=r"(?s)ended with status 3.*no such model"),
    ):
        wait_ready(process, Target(port))


def test_wrong_answers_end_the_wait(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.bench.harness.target.WRONG_LIMIT_S", 0.1)
    upstream.fails_always = True

    with (
        run_pinned("wrong", ["sleep", "60"], core=CORE, log=tmp_path / "log") as process,
        pytest.raises(PeerUnavailableError, match=r"not ready in time \(500"),
    ):
        wait_ready(process, Target(upstream.server_port))


def test_floor_passes_json_both_ways(upstream: Upstream, tmp_path: Path) -> None:
    port = find_free_port()
    ports = [str(port), str(upstream.server_port)]
    target = Target(port, body='{"messages": [ ]}')

    with run_pinned("floor", [sys.executable, floor.__file__, *ports], core=CORE, log=tmp_path / "log") as process:
        wait_ready(process, target)

    assert [b'{"messages":[]}'] == upstream.bodies


def test_streams_come_through_the_floor(tmp_path: Path) -> None:
    port = find_free_port()
    order = StreamOrder(streams=3, tokens=50, pace_us=0)

    with Site(Cores(CORE, CORE), tmp_path).run_source() as source:
        ports = [str(port), str(source.port)]
        with run_pinned("floor", [sys.executable, floor.__file__, *ports], core=CORE, log=tmp_path / "log") as process:
            wait_ready(process, Target(port).ask_stream(0, order))
            together = streams.run(StreamLoad(Target(port), order))
            in_turn = streams.run(StreamLoad(Target(port), order, duration_s=0.2))

    assert (3, 150) == (together["streams_sum"], together["tokens"])
    assert (3, 0) == (in_turn["unmeasured"], together["unmeasured"])
    assert in_turn["streams_sum"] > 3
    assert in_turn["tokens"] == 50 * in_turn["streams_sum"]


def test_answer_that_is_no_stream_says_why(upstream: Upstream) -> None:
    upstream.fails_always = True

    with pytest.raises(ConnectionError, match=r"stream 0 was answered: .* 500 "):
        streams.run(StreamLoad(Target(upstream.server_port), StreamOrder(streams=1, tokens=1, pace_us=0)))


def test_every_request_is_sent(upstream: Upstream) -> None:
    result = OpenLoop(make_load(upstream, 20)).run()

    assert 20 == len(upstream.bodies)
    assert (20, 0) == (result["due"], result["errors_sum"])


def test_other_statuses_are_errors(upstream: Upstream) -> None:
    upstream.fails_every_third = True

    result = OpenLoop(make_load(upstream, 20)).run()

    assert (6, 0, 6) == (result["other_sum"], result["missing_sum"], result["errors_sum"])


def test_load_from_a_process_of_its_own(upstream: Upstream, tmp_path: Path) -> None:
    result = run_open_loop(make_load(upstream, 10), tmp_path, CORE)

    assert (10, 10) == (result["due"], result["ok_sum"])


def test_missing_wrk_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BenchError, match="apt-get install wrk"):
        find_tool("wrk")


def test_failed_installation_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    break_npm(tmp_path, monkeypatch)

    with pytest.raises(PeerUnavailableError, match=r"(?s)Portkey .* failed.*no network"):
        install_portkey(tmp_path / "cache")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TOOLS, reason="needs nginx, wrk and two cores")
def test_failing_peer_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    break_npm(tmp_path, monkeypatch)
    options = ["--quick", "--rounds", "1", "--only", "portkey", "floor", "--cache", str(tmp_path / "cache")]

    done = subprocess.run(
        [ROOT / "scripts/bench/peers", *options], capture_output=True, text=True, check=False, timeout=120
    )

    assert 0 == done.returncode, done.stderr
    assert "| the floor (Trio + llhttp) " in done.stdout
    assert "LEFT OUT: installing Portkey" in done.stdout
    (raw,) = (tmp_path / "cache").glob("results-*.json")
    found = json.loads(raw.read_text())["figures"]
    assert {"direct": 0, "floor": 0} == {name: rounds[0]["errors_sum"] for name, rounds in found["requests"].items()}
    assert {"direct": 64, "floor": 64} == {name: rounds[0]["streams_sum"] for name, rounds in found["streams"].items()}


def break_npm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in ("node", "npm"):
        (folder / tool).write_text("#!/bin/sh\necho no network; exit 1\n")
        (folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # an orphan that init has not collected yet runs no more
