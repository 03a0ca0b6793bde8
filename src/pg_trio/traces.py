"""Traces of one worker, composed: what decides, and the process that exports."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from attrs import frozen

from pg_trio import __version__
from pg_trio.config.settings import Settings
from pg_trio.domain.call import RequestHead
from pg_trio.domain.trace_context import AttemptTrace
from pg_trio.observe.trace_facts import write_servers
from pg_trio.observe.trace_feed import TraceFeed
from pg_trio.observe.tracing import Sampling, Tracing
from pg_trio.stores.store_protocols import Lifetime

# The SDK's own variables. The first is the address of traces alone, and taken as it is.
_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PATH = "/v1/traces"


@frozen(eq=False)
class Traces:
    """A worker's traces. `begin` gives a request its trace; `counts` are for metrics."""

    subscriber: Tracing
    begin: Callable[[RequestHead], AttemptTrace]
    counts: Mapping[str, Callable[[], float]]


def open_traces(settings: Settings, seat: int | None, lifetime: Lifetime) -> Traces | None:
    """The traces that the settings ask for; None if they go nowhere."""
    observe = settings.observe
    endpoint = find_endpoint(observe.otlp_endpoint)
    if endpoint is None:
        return None
    servers = {one.name: find_server(one.base_url) for one in settings.credentials.values()}
    feed = TraceFeed([endpoint, __version__, str(seat or 0)], write_servers(servers))
    lifetime.run(feed.run)
    sampling = Sampling(observe.trace_ratio, [kind for kind in observe.keep_always if kind is not None])
    tracing = Tracing(sampling, feed, observe.capture_content)
    return Traces(tracing, sampling.begin, {"pg_trio_traces_dropped": lambda: feed.dropped})


def find_endpoint(configured: str) -> str | None:
    """Where traces are posted; empty where the SDK finds it in its variables. None: nowhere."""
    if configured:
        return configured if configured.endswith(_PATH) else configured.rstrip("/") + _PATH
    return "" if any(os.environ.get(name) for name in _VARIABLES) else None


def find_server(base_url: str) -> tuple[str, int]:
    """`server.address` and `server.port` of a base URL."""
    url = urlsplit(base_url)
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
