"""Where a bench measures: two cores, a folder that is removed afterwards, and the processes that run there."""

from __future__ import annotations

import contextlib
import http.client
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from pg_trio.server.status_file import FILE_NAME
from scripts.bench.harness import source, upstream
from scripts.bench.harness.client import Answer, call
from scripts.bench.harness.gateway import PG_TRIO, READY, Endpoint, GatewayFiles, set_up
from scripts.bench.harness.machine import Cores, allow_open_files, choose_cores, find_tool
from scripts.bench.harness.process_stats import measure_cpu_s, measure_memory_bytes
from scripts.bench.harness.processes import (
    HOST,
    ROOT,
    PeerUnavailableError,
    Pinned,
    find_free_port,
    run_module,
    run_pinned,
    wait_said,
)
from scripts.bench.harness.target import Target, wait_ready
from scripts.bench.harness.wrk import Load, WrkResult, run_load

_BUILD = ROOT / "build"
_VIEW_LIMIT_S = 20.0


@frozen(slots=True, eq=False)
class Provider:
    """Something that runs and serves completions."""

    port: int
    process: Pinned

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    def view(self) -> dict[str, Any]:
        """What a simulator has received so far (docs/simulator.md, "From another process")."""
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=_VIEW_LIMIT_S)) as connection:
            connection.request("GET", "/requests")
            told: dict[str, Any] = json.loads(connection.getresponse().read())
        return told

    def count_calls(self) -> Counter[str]:
        return Counter(str(request["model"]) for request in self.view()["requests"])


@frozen(slots=True, eq=False)
class RunningGateway:
    """A gateway that answers, and what its start cost: seconds by the clock and of CPU until its first answer."""

    site: Site
    files: GatewayFiles
    process: Pinned
    port: int
    workers: tuple[int, ...]
    start_s: float
    start_cpu_s: float
    idle_bytes: int

    @property
    def worker(self) -> int:
        """The process id of its only worker."""
        (pid,) = self.workers
        return pid

    def target(self, slug: str, body: Mapping[str, object], *, token: str = "") -> Target:
        return self.files.target(self.port, slug, body, token)

    def request(self, slug: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> bytes:
        target = self.target(slug, body)
        return evolve(target, headers={**target.headers, **(headers or {})}).as_bytes()

    async def ask(
        self, slug: str, limit_s: float, *, stream: bool = False, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to a short message, or how it failed; see client.call."""
        return await call(self.port, self.request(slug, {"message": "Hello there", "stream": stream}, headers), limit_s)

    def run_load(self, load: Load) -> tuple[WrkResult, float]:
        """What wrk found, and the CPU seconds that the workers used meanwhile. Raises: PeerUnavailableError."""
        before_s = measure_cpu_s(*self.workers)
        result = run_load(load, self.site.folder / "load", self.site.cores.load)
        if not result.requests:
            raise PeerUnavailableError(f"nothing answered under load\n{self.process.read_log_end()}")
        return result, measure_cpu_s(*self.workers) - before_s


@frozen(slots=True)
class Site:
    """Two cores and a folder."""

    cores: Cores
    folder: Path

    def make_folder(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    @contextlib.contextmanager
    def run_upstream(self, answer: str = upstream.COMPLETION) -> Iterator[Provider]:
        """nginx on the load's core, which gives every request this answer. Raises: PeerUnavailableError."""
        folder, port = self.make_folder("upstream"), find_free_port()
        command = upstream.make_upstream_command(folder, port, answer)
        with run_pinned("upstream", command, core=self.cores.load, log=folder / "log") as process:
            wait_ready(process, Target(port))
            yield Provider(port, process)

    @contextlib.contextmanager
    def run_source(self) -> Iterator[Provider]:
        """The source of streams on the load's core. Raises: TimeoutError."""
        log = self.make_folder("source") / "log"
        with run_module("source", source.__name__, core=self.cores.load, log=log) as process:
            yield Provider(int(wait_said(process, r"port (\d+)\s")[1]), process)

    @contextlib.contextmanager
    def run_provider(
        self, name: str, *, keep: int = 100_000, seed: int = 0, default: str = "", core: int | None = None
    ) -> Iterator[Provider]:
        """`pg-trio simulate` on the load's core. `default` is the behaviour of a model without options.

        Raises: PeerUnavailableError.
        """
        port, core = find_free_port(), self.cores.load if core is None else core
        options = ["--bind", f"{HOST}:{port}", "--keep", str(keep), "--seed", str(seed)]
        options += ["--default", default] if default else []
        with run_pinned(name, [PG_TRIO, "simulate", *options], core=core, log=self.folder / f"{name}.log") as process:
            wait_ready(process, Target(port))
            yield Provider(port, process)

    @contextlib.contextmanager
    def run_providers(self, *names: str, keep: int = 100_000) -> Iterator[tuple[dict[str, Provider], dict[str, str]]]:
        """Simulators of these names, each with its own seed, and their addresses.

        The last one is READY too; nothing listens at the address of `refused`.
        """
        with contextlib.ExitStack() as stack:
            runs = {name: self.run_provider(name, keep=keep, seed=seed) for seed, name in enumerate(names)}
            providers = {name: stack.enter_context(run) for name, run in runs.items()}
            addresses = {name: provider.base_url for name, provider in providers.items()}
            refused = f"http://{HOST}:{find_free_port()}/v1"
            yield providers, {**addresses, READY: addresses[names[-1]], "refused": refused}

    @contextlib.contextmanager
    def run_gateway(
        self,
        files: GatewayFiles,
        *,
        workers: int = 1,
        cores: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[RunningGateway]:
        """`pg-trio serve` on the gateway's core, or on `cores`. Raises: PeerUnavailableError if it does not answer."""
        port = find_free_port()
        core, log = cores or self.cores.gateway, files.configuration.with_name("output.log")
        started_at, command = time.monotonic(), files.make_lane_command(port, workers)
        with run_pinned("pg-trio", command, core=core, log=log, environment=environment) as process:
            wait_ready(process, files.target(port, files.ready, files.ready_body))
            start_s, start_cpu_s = time.monotonic() - started_at, process.measure_cpu_s()
            pids = tuple(json.loads((files.data_dir / FILE_NAME).read_text())["workers"])
            idle_bytes = sum(map(measure_memory_bytes, pids))
            yield RunningGateway(self, files, process, port, pids, start_s, start_cpu_s, idle_bytes)

    @contextlib.contextmanager
    def open_gateway(
        self,
        addresses: Mapping[str, str],
        endpoints: Sequence[Endpoint],
        *,
        gateway: Mapping[str, object] | None = None,
        limits: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Iterator[RunningGateway]:
        """`set_up` and `run_gateway` in one: a worker on the gateway's core. Raises: PeerUnavailableError."""
        files = set_up(self.make_folder("gateway"), addresses, endpoints, gateway=gateway, limits=limits)
        with self.run_gateway(files) as running:
            yield running


@contextlib.contextmanager
def open_site(*tools: str) -> Iterator[Site]:
    """A site, once these programs are found. Raises: BenchError."""
    for tool in ("taskset", *tools):
        find_tool(tool)
    cores = choose_cores()
    allow_open_files()
    _BUILD.mkdir(exist_ok=True)
    # Not in /tmp, which may be memory: a database of a million tokens belongs on a disk.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_BUILD) as folder:
        yield Site(cores, Path(folder))
