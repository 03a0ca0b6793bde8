"""A gateway of four workers on both cores, with the simulator as its provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scripts.bench.harness.gateway import READY, Endpoint, Place, set_up
from scripts.bench.harness.site import RunningGateway, Site

WORKERS = 4
ENDPOINT = "6f1c0000-0000-4000-8000-0000000000aa"
SLUG = "e"


@contextmanager
def run_workers(site: Site, model: str, **settings: object) -> Iterator[RunningGateway]:
    """The gateway, with one endpoint of these settings and an empty data directory."""
    with site.run_provider("simulator", seed=1) as simulator:
        addresses = {READY: simulator.base_url, "sim": simulator.base_url}
        endpoint = Endpoint(SLUG, [Place("sim", model)], {"uuid": ENDPOINT, **settings})
        files = set_up(site.make_folder("gateway"), addresses, [endpoint])
        with site.run_gateway(files, workers=WORKERS, cores=site.cores.both) as gateway:
            yield gateway
