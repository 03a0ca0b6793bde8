"""`[cluster]` -> `ClusterSettings`: where Redis and PostgreSQL are, and what a node does without them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pg_trio.config.bounds import show
from pg_trio.config.cluster_settings import (
    NODE,
    NODE_CALLED,
    ClusterSettings,
    ClusterTable,
    check_postgres_url,
    parse_redis_url,
)
from pg_trio.config.mistakes import Mistakes, Path
from pg_trio.config.reading import Outside, read_secret
from pg_trio.config.structuring import structure_sound

T = TypeVar("T")


def resolve_cluster(raw: dict[str, Any] | None, outside: Outside, mistakes: Mistakes) -> ClusterSettings | None:
    """The settings; None without the section, or with a mistake in it."""
    if not raw:
        if raw is not None:
            mistakes.add(("cluster",), "is empty: redis_url and postgres_url are both required")
        return None
    table = structure_sound(raw, ClusterTable, ("cluster",), mistakes)
    redis = _resolve_url("redis_url", table.redis_url, parse_redis_url, outside, mistakes)
    postgres = _resolve_url("postgres_url", table.postgres_url, check_postgres_url, outside, mistakes)
    node = table.node or _own_name(mistakes)
    if redis is None or postgres is None or node is None:
        return None
    return ClusterSettings(
        redis, postgres, node, table.when_redis_is_away, table.redis_timeout_ms, table.postgres_timeout_ms
    )


_OTHER: Mapping[str, str] = {"redis_url": "postgres_url", "postgres_url": "redis_url"}


def _resolve_url(
    key: str, reference: str | None, parse: Callable[[str], T], outside: Outside, mistakes: Mistakes
) -> T | None:
    path: Path = ("cluster", key)
    if reference is None:
        if not mistakes.has(path):
            mistakes.add(path, f"missing: a cluster needs both {key} and {_OTHER[key]} (env:NAME, file:PATH, the URL)")
        return None
    try:
        secret = read_secret(reference, outside.folder, outside.environ)
        mistakes.secrets.append(secret)
        return parse(secret.reveal())
    except ValueError as error:
        mistakes.add(path, str(error))
        return None


def _own_name(mistakes: Mistakes) -> str | None:
    name = platform.node()
    if not NODE.fullmatch(name):
        mistakes.add(("cluster", "node"), f"missing: the host's name {show(name)} is not {NODE_CALLED}")
        return None
    return name
