"""Metrics of one worker, composed: its table, what counts requests there, and the page that shows all workers'."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING
from uuid import UUID

from attrs import frozen

from pg_trio import __version__
from pg_trio.config.settings import Settings
from pg_trio.domain.prices import Rates
from pg_trio.domain.project import Candidate, Endpoint, Project
from pg_trio.errors import Overloaded
from pg_trio.ledger.protocols import Spend
from pg_trio.observe.gateway_gauges import GatewayGauges
from pg_trio.observe.metric_families import STORAGE_UP
from pg_trio.observe.metric_series import ConfiguredNames, SeriesBook
from pg_trio.observe.metric_shapes import ShapeMaker
from pg_trio.observe.metrics import RequestMetrics
from pg_trio.observe.metrics_page import MetricsPage
from pg_trio.observe.sampling import Sampler
from pg_trio.overrides import Overrides, endpoint_target
from pg_trio.pipeline import Pipeline
from pg_trio.recorder import Recorders
from pg_trio.shared_memory.metric_file import METRICS_NAME, MetricReader
from pg_trio.shared_memory.segment_file import SEGMENT_NAME
from pg_trio.stages.budget import SpendPlan
from pg_trio.stores.store_protocols import Lifetime, Stores

if TYPE_CHECKING:
    from pg_trio.observe.exposition import MetricsText


@frozen(eq=False)
class MeteredParts:
    """The parts of a gateway that are sampled."""

    settings: Settings
    pipeline: Pipeline
    stores: Stores
    recorders: Recorders
    overrides: Overrides
    count_connections: Callable[[], int]
    count_sockets: Callable[[], int]


@frozen(eq=False)
class Metering:
    """One worker's metrics. `subscriber` counts its requests. `last` closes after all stores: what they count when they
    are closed must be seen, too."""

    book: SeriesBook
    subscriber: RequestMetrics
    last: ExitStack

    @classmethod
    def open(cls, settings: Settings, seat: int | None, last: ExitStack) -> Metering:
        """Take a table of the seat (see SeriesBook.open), which `last` lets go. Raises StoreError."""
        book = SeriesBook.open(settings.gateway.data_dir, seat)
        last.callback(book.close)

        def rates_of(endpoint: Endpoint) -> Mapping[Candidate, Rates]:
            return SpendPlan.of(endpoint, settings.gateway.default_output_tokens).rates

        names = ConfiguredNames.of(settings.projects.values())
        return cls(book, RequestMetrics(ShapeMaker(book, names, rates_of)), last)

    def make_page(
        self, parts: MeteredParts, lifetime: Lifetime, counts: Mapping[str, Callable[[], float]]
    ) -> MetricsPage:
        """The page of all workers' metrics. `counts` are further counters, by the metrics' names."""
        data_dir = parts.settings.gateway.data_dir
        sampler = Sampler(self.book, _gauges_of(parts), {**_counts_of(parts), **counts}, data_dir / METRICS_NAME)
        gauges = GatewayGauges(
            projects=parts.settings.projects,
            describe=parts.pipeline.provider_call.describe,
            find_endpoint=_find_endpoint(parts),
            read_spends=_read_spends(parts.pipeline),
        )
        page = MetricsPage(
            MetricReader(data_dir / METRICS_NAME),
            load_text,
            sampler.sample,
            gauges.read,
            data_dir / SEGMENT_NAME,
        )
        sampler.sample()
        self.last.callback(sampler.sample_counts)
        lifetime.run(sampler.run)
        lifetime.close_with(page.aclose)
        return page


def load_text() -> MetricsText:
    """What writes the text. Imports Prometheus' library, 3 MB, which only a scrape needs."""
    from pg_trio.observe.exposition import MetricsText

    return MetricsText(__version__)


def _gauges_of(parts: MeteredParts) -> Mapping[str, Callable[[], float]]:
    stores = parts.stores

    def is_storage_up() -> bool:
        # Another engine's store may not say.
        return all(getattr(store, "is_up", True) for store in (stores.tokens, stores.log, stores.sessions))

    return {
        "pg_trio_requests_active": lambda: parts.pipeline.admission.under_way,
        "pg_trio_streams_active": lambda: parts.pipeline.admission.streams,
        "pg_trio_connections_open": parts.count_connections,
        "pg_trio_websockets_open": parts.count_sockets,
        "pg_trio_log_queue_rows": lambda: getattr(stores.log, "waiting", 0),
        STORAGE_UP[0]: is_storage_up,
        **stores.ledger.gauges,
    }


def _counts_of(parts: MeteredParts) -> Mapping[str, Callable[[], float]]:
    return {
        "process_cpu_seconds": time.process_time,
        "pg_trio_log_dropped": lambda: getattr(parts.stores.log, "dropped", 0),
    }


def _find_endpoint(parts: MeteredParts) -> Callable[[Project, str], Endpoint]:
    overrides = parts.overrides

    def find_endpoint(project: Project, slug: str) -> Endpoint:
        is_changed = endpoint_target(project.uuid, slug) in overrides.held
        return overrides.endpoint(project, slug) if is_changed else project.endpoints[slug]

    return find_endpoint


def _read_spends(pipeline: Pipeline) -> Callable[[Iterable[Endpoint]], Awaitable[Mapping[UUID, Spend]]]:
    async def read_spends(endpoints: Iterable[Endpoint]) -> Mapping[UUID, Spend]:
        try:
            return await pipeline.budget.read(endpoints)
        except Overloaded:
            # What else there is to see must be seen above all when something is wrong.
            return {}

    return read_spends
