"""One visit to one peer: a fresh process, ready and warm, then each measurement after the other, then its end."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path

from attrs import evolve, frozen

from scripts.bench.benches.peers.catalogue import Launch, Peer, Spot
from scripts.bench.benches.peers.plan import Plan
from scripts.bench.benches.peers.request_visit import Requests, Visit
from scripts.bench.benches.peers.stream_visit import Streams, StreamVisit
from scripts.bench.harness.processes import PeerUnavailableError, Pinned, find_free_ports, run_pinned
from scripts.bench.harness.site import Site
from scripts.bench.harness.target import StreamOrder, Target, wait_ready


@frozen(slots=True, eq=False)
class Visitor:
    """The upstream and the source of streams, running, and where and how all peers are measured against them."""

    site: Site
    plan: Plan
    cache: Path
    upstream: tuple[Pinned, int]
    source: tuple[Pinned, int]

    def visit(self, peer: Peer, number: int) -> Visit:
        """Start the peer, measure its requests, stop it. Raises: PeerUnavailableError, TimeoutError."""
        baseline, port = self.upstream
        launch, folder = self._set_up(peer, port)
        with self._start(peer, launch, folder, baseline) as process:
            wait_ready(process, launch.target)
            visit = Requests(self.site, self.plan, process, launch.target, folder).measure(peer.name, number)
            _expect_answer(process, launch.target)
        if launch.count_logged:
            visit = evolve(visit, logged=launch.count_logged())
        return evolve(visit, said=process.read_log_end()) if visit.errors or visit.lost_rows else visit

    def visit_streams(self, peer: Peer, number: int) -> StreamVisit:
        """The same for streams, from the source. Raises: PeerUnavailableError, TimeoutError."""
        baseline, port = self.source
        launch, folder = self._set_up(peer, port)
        launch = evolve(launch, environment={**launch.environment, **launch.stream_environment})
        with self._start(peer, launch, folder, baseline) as process:
            wait_ready(process, launch.target.ask_stream(0, StreamOrder(streams=1, tokens=2, pace_us=0)))
            visit = Streams(self.site, self.plan.streams, process, launch.target, folder).measure(peer.name, number)
        return evolve(visit, logged=launch.count_logged()) if launch.count_logged else visit

    def _set_up(self, peer: Peer, upstream_port: int) -> tuple[Launch, Path]:
        folder = self.site.make_folder(peer.name)
        (port,) = find_free_ports(1)
        return peer.set_up(Spot(folder, self.cache, port, upstream_port)), folder

    def _start(
        self, peer: Peer, launch: Launch, folder: Path, baseline: Pinned
    ) -> contextlib.AbstractContextManager[Pinned]:
        """The peer's process on the core that is measured; for the baseline its own, which runs already."""
        if not launch.command:
            return contextlib.nullcontext(baseline)
        core, log = self.site.cores.gateway, folder / "output.log"
        return run_pinned(peer.name, launch.command, core=core, log=log, environment=launch.environment)


def _expect_answer(process: Pinned, target: Target) -> None:
    """The peer still answers after the load: one that broke under it has no figures worth printing."""
    try:
        status, said = target.call()
    except (OSError, http.client.HTTPException) as exc:
        raise PeerUnavailableError(f"{process.name} no longer answers after the load: {exc}") from exc
    if status != 200:
        raise PeerUnavailableError(f"{process.name} answers {status} after the load: {said[:300]}")
