"""Open all stores, with the engines that the configuration names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from uuid import UUID

from attrs import evolve

from pg_trio.config.settings import Settings
from pg_trio.domain.project import Endpoint
from pg_trio.errors import StoreError
from pg_trio.stores.administration import CLUSTER_EXTRA
from pg_trio.stores.embedded import EMBEDDED
from pg_trio.stores.late_answers import LateAnswers
from pg_trio.stores.store_protocols import Engines, Lifetime, Stores

# The folder of `data_dir` for answers of requests with an `Idempotency-Key`.
KEYED_FOLDER = "idempotency"


def choose_engines(settings: Settings) -> Engines:
    """The engines of a configuration. Raises StoreError if their packages are missing."""
    if settings.cluster is None:
        return EMBEDDED
    try:
        # Only here: a gateway of one machine loads nothing of it.
        from pg_trio.stores.clustered import open_cluster
    except ModuleNotFoundError as missing:
        raise StoreError(f"[cluster]: {missing.name} is not installed; {CLUSTER_EXTRA}") from missing
    return open_cluster(settings.cluster)


async def open_stores(settings: Settings, lifetime: Lifetime, engines: Engines | None = None) -> Stores:
    """All stores, open. `lifetime` runs and closes them. `engines=None` means the engines of the configuration.

    Raises StoreError.
    """
    chosen = engines or choose_engines(settings)
    limits = settings.gateway
    endpoints = [endpoint for project in settings.projects.values() for endpoint in project.callable_endpoints]
    tokens = await chosen.tokens(limits, lifetime)
    log = await chosen.log(limits, lifetime)
    sessions = None
    # The sessions' file is created only if an endpoint has sessions.
    if any(endpoint.sessions_enabled for endpoint in endpoints):
        sessions = await chosen.sessions(limits, session_keep_s(endpoints), lifetime)
    answers = await chosen.answers(limits, lifetime, "streams") if keeps_answers(settings) else None
    # Bounds of their own: a day of them must not push out the streams of the last minutes.
    keyed = evolve(
        limits,
        data_dir=limits.data_dir / KEYED_FOLDER,
        max_kept_bytes=limits.max_idempotent_bytes,
        max_kept_answers=limits.max_idempotent_answers,
    )
    keyed_answers = LateAnswers(partial(chosen.answers, keyed, kind="keyed"))
    lifetime.run(keyed_answers.run)
    ledger = await chosen.ledger(settings, log, lifetime)
    operators = await chosen.operators(limits, lifetime)
    log_view = await chosen.log_view(limits, lifetime)
    return Stores(tokens, log, sessions, ledger, operators, log_view, answers, keyed_answers.open)


def keeps_answers(settings: Settings) -> bool:
    """Whether anything asks for kept answers."""
    projects = settings.projects.values()
    return any(endpoint.resumable_streams for project in projects for endpoint in project.callable_endpoints)


def session_keep_s(endpoints: Iterable[Endpoint]) -> dict[UUID, float]:
    """How long a session without a turn is kept: its TTL plus the longest possible call."""
    return {
        endpoint.uuid: endpoint.session_ttl_seconds + max(endpoint.deadline_ms, endpoint.stream_deadline_ms) / 1000
        for endpoint in endpoints
        if endpoint.sessions_enabled
    }
