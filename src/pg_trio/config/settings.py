"""All settings, frozen, each with its default and the precedent of that default.

Times are integer milliseconds (`_ms`), sizes bytes (`_bytes`), each with its range beside it (`bounds`).
docs/configuration.md describes each for users.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from attrs import field, frozen

from pg_trio.config.bounds import (
    DAY_MS,
    GIB,
    KIB,
    MIB,
    Between,
    BodyBytes,
    HeadBytes,
    HostPort,
    HostPortOrNone,
    Milliseconds,
    Network,
    Shape,
    UrlOrNone,
    UrlPrefix,
)
from pg_trio.config.cluster_settings import ClusterSettings
from pg_trio.config.time_zone import TimeZone
from pg_trio.domain.project import Credential, Project

# A folder of pg_trio, or a module in it, and the least level that it logs.
ROOM_LEVEL = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*=(?:debug|info|warning|error)")
# Kinds of requests whose traces are kept.
KeptTrace: TypeAlias = Literal["error", "deadline", "hedged"]
# Where this address is taken, the gateway starts without it; any other address was asked for.
DEFAULT_ADMIN_BIND = "127.0.0.1:8081"


@frozen(slots=True)
class GatewaySettings:
    """`[gateway]`: settings for every project."""

    data_dir: Path = Path("data")
    # 4 MiB: the contract's default.
    max_body_bytes: BodyBytes = 4 * MIB
    # 256 MiB for each worker, 64 bodies of 4 MiB; as much again for providers' whole answers. Elasticsearch bounds its
    # requests in flight too, by its whole heap; nginx bounds each body only.
    max_inflight_body_bytes: Annotated[int, Between(KIB, 1024 * GIB)] = 256 * MIB
    # 30 s for a body whose endpoint is not known yet: Go's common ReadTimeout; nginx waits 60 s between two reads.
    body_timeout_ms: Milliseconds = 30_000
    # 1,000: Envoy's circuit breaker stops at 1,024 requests. With more, a worker makes all requests late.
    max_concurrent_requests: Annotated[int, Between(1, 1_000_000)] = 1_000
    # The longest wait for admission. HAProxy's `timeout queue` is that of connecting, commonly 5 s.
    admission_wait_ms: Milliseconds = 2_000
    # OpenAI accepts 2,048 messages in an assistants thread's request; a longer chat is a mistake.
    max_messages: Annotated[int, Between(1, 1_000_000)] = 2_048
    # Levels of nesting in a request body. 64: PHP's json_decode stops at 512, MongoDB documents at 100.
    max_json_depth: Annotated[int, Between(2, 200)] = 64
    # The output tokens that a budget reserves if the endpoint sets no `max_output_tokens`.
    default_output_tokens: Annotated[int, Between(1, 200_000)] = 1_024
    # The time zone in which budget months begin. UTC: used by OpenAI's and most clouds' bills.
    timezone: Annotated[str, TimeZone()] = "UTC"
    # 4 MiB: the part of a conversation that a client without a session may send at once (`max_body_bytes`).
    max_session_bytes: BodyBytes = 4 * MIB
    # 256 MiB for the kept answers of all workers, 256 of the default `resume_bytes`; 20,000 of them, some 70 a second
    # for five minutes. A walk over as many files takes 0.1 s. Redis and memcached, which others use for this, are
    # bounded by bytes alone.
    max_kept_bytes: Annotated[int, Between(MIB, 1024 * GIB)] = 256 * MIB
    max_kept_answers: Annotated[int, Between(1, 10_000_000)] = 20_000
    # A day, as Stripe keeps the answers to its keys; 1 MiB of each: 250,000 tokens of text.
    idempotency_ttl_seconds: Annotated[int, Between(1, 7 * 86_400)] = 86_400
    idempotency_bytes: Annotated[int, Between(KIB, GIB)] = MIB
    # Of all workers together. 50,000: one every 2 s for a day. A walk over as many files takes 0.25 s.
    max_idempotent_bytes: Annotated[int, Between(MIB, 1024 * GIB)] = 256 * MIB
    max_idempotent_answers: Annotated[int, Between(1, 10_000_000)] = 50_000
    # How often a worker looks for revoked tokens; the promise is one second.
    token_poll_ms: Milliseconds = 250
    # 5 %: hedges over requests, of all workers; tower and gRPC's retry budgets allow 10 to 20 %.
    hedge_budget_percent: Annotated[int, Between(0, 100)] = 5
    # 20 %: retries over a credential's recent calls, and 10 a second at least: linkerd's defaults. 0: no retries.
    retry_budget_percent: Annotated[int, Between(0, 100)] = 20
    # `last_used_at` is written at most this often, for all tokens at once.
    token_used_flush_ms: Milliseconds = 10_000
    # Tokens in each worker's cache (about 500 bytes each); others are looked up in the file each time.
    token_cache_entries: Annotated[int, Between(1, 10_000_000)] = 10_000
    # Subjects of client tokens with a limit or a budget, counted in 1.5 KiB each of a shared file, and 0.5 KiB more for
    # each worker: 30 MiB with four. 10,000: the users of a day of most chats.
    client_subjects: Annotated[int, Between(100, 10_000_000)] = 10_000
    # Rows waiting for the log's writer; further rows are dropped and counted.
    log_queue_rows: Annotated[int, Between(1, 10_000_000)] = 10_000
    # The longest time from an answer to its row in the file.
    log_batch_ms: Milliseconds = 50
    # Characters kept of each body, if an endpoint keeps bodies. 16,384: a page of text is 2,000 to 3,000; LiteLLM cuts
    # each string of a logged prompt at 2,048, Google's log entries end at 256 KiB.
    log_body_chars: Annotated[int, Between(256, MIB)] = 16_384
    # Bodies waiting for the log's writer. Beyond it, and beyond half of `log_queue_rows`, rows are kept without bodies.
    log_queue_body_bytes: Annotated[int, Between(0, GIB)] = 16 * MIB
    # 30 days: how long OpenAI keeps API logs, and Google's Cloud Logging by default. 0: for ever.
    log_max_age_days: Annotated[int, Between(0, 36_500)] = 30
    # 4 GiB, some 8 million rows without bodies: journald's default maximum. 0: no limit.
    log_max_bytes: Annotated[int, Between(0, 1024 * 1024 * GIB)] = 4 * GIB


@frozen(slots=True)
class UpstreamSettings:
    """`[upstream]`: limits of every connection to a provider."""

    # 5 s: httpx's default for connecting.
    connect_timeout_ms: Milliseconds = 5_000
    tls_timeout_ms: Milliseconds = 5_000
    # 64 KiB: curl allows 100 KiB for one header, node 16 KiB for a head; some providers send long cookies.
    max_head_bytes: HeadBytes = 64 * 1024
    # 16 MiB: four times the limit of a request body; an answer of 200,000 tokens is about 1 MiB.
    max_body_bytes: BodyBytes = 16 * MIB
    # 256 MiB: a streamed token is some 300 bytes, and 200,000 of them are 60 MiB.
    max_stream_bytes: Annotated[int, Between(MIB, 1024 * 1024 * MIB)] = 256 * MIB
    # 30 s: most providers' load balancers keep an idle connection for 60 s or more (AWS: 60 s).
    pool_idle_ms: Milliseconds = 30_000
    # Idle connections kept per origin; busy ones are bounded by the requests under way.
    pool_idle_connections: Annotated[int, Between(0, 100_000)] = 100


@frozen(slots=True)
class ServerSettings:
    """`[server]`: limits of every connection from a client, in our own HTTP/1.1 lane."""

    bind: Annotated[str, HostPort()] = "127.0.0.1:8080"
    workers: Annotated[int, Between(1, 1024)] = 1
    # 10 s from the first byte to the end of the head: Apache's mod_reqtimeout gives 20 s, nginx 60 s.
    head_timeout_ms: Milliseconds = 10_000
    # 75 s between requests: nginx's keepalive_timeout; longer than the 60 s of common load balancers.
    idle_timeout_ms: Milliseconds = 75_000
    # 30 s for a client to read the written bytes: Apache and nginx give 60 s.
    write_timeout_ms: Milliseconds = 30_000
    # 32 KiB: nginx's 4 × 8 KiB for a whole head.
    max_head_bytes: HeadBytes = 32 * 1024
    # 100: Apache's LimitRequestFields.
    max_header_count: Annotated[int, Between(1, 10_000)] = 100
    # Per worker, and never more than half of the files it may open (ulimit -n). nginx: 512; Node and Go have no limit.
    # The limit protects memory: a connection that has sent a request takes 10 kB, besides the kernel's buffers.
    max_connections: Annotated[int, Between(1, 1_000_000)] = 10_000
    # Running requests get this long after SIGTERM: Kubernetes' default grace is 30 s.
    drain_ms: Milliseconds = 25_000
    # Proxies whose `X-Forwarded-For` is trusted. From other addresses the client may have written it. A wrong item is
    # None, as in tables.py; such a configuration is never used.
    trusted_proxies: list[Annotated[str, Network()] | None] = field(factory=list)
    # Before the drain, `/readyz` answers 503 for this time while everything is served. 0: no load balancer must notice.
    # Behind one: a few of its check intervals (Kubernetes' readiness probe: 10 s).
    drain_notice_ms: Annotated[int, Between(0, DAY_MS)] = 0
    # Answers under way on one WebSocket; a chat page needs one, a page with suggestions a few.
    websocket_max_in_flight: Annotated[int, Between(1, 1_000)] = 4
    # 20 s between pings: ws, websockets and uvicorn ping each 20 to 30 s; proxies close what is quiet for 60 s.
    websocket_heartbeat_ms: Milliseconds = 20_000
    # WebSockets of one worker: half of `max_connections`, so that requests find room beside them.
    websocket_max_open: Annotated[int, Between(1, 1_000_000)] = 5_000
    # Pages, metrics and the admin API; only of this machine by default, as of Envoy, Caddy and Traefik. Empty: off.
    admin_bind: Annotated[str, HostPortOrNone()] = DEFAULT_ADMIN_BIND
    # Where a proxy serves the pages under a path of its own.
    admin_root_path: Annotated[str, UrlPrefix()] = ""


@frozen(slots=True)
class ObserveSettings:
    """`[observe]`: what is shown and told of requests."""

    # Counting takes some 10 µs a request.
    metrics: bool = True
    # `/metrics` on the public address, too.
    metrics_public: bool = False
    # Where traces go, by OTLP over HTTP. Empty: where the SDK's environment variables say, or nowhere.
    otlp_endpoint: Annotated[str, UrlOrNone()] = ""
    # Of the requests whose client is in no trace: all, as of OpenTelemetry's own sampler.
    trace_ratio: Annotated[float, Between(0, 1)] = 1.0
    # Requests that are traced at any ratio. A wrong item is None, as in tables.py.
    keep_always: list[KeptTrace | None] = field(factory=lambda: ["error", "deadline", "hedged"])
    # Texts of prompts and answers in spans. Off, as the GenAI conventions demand.
    capture_content: bool = False
    # The server's own log: lines for people, or JSON.
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # Levels of single rooms. A wrong item is None, as in tables.py.
    log_levels: list[Annotated[str, Shape(ROOM_LEVEL, "ROOM=LEVEL")] | None] = field(factory=list)


@frozen(slots=True)
class Settings:
    """A whole configuration, checked: references resolved, secrets read, guardrails of all levels merged."""

    gateway: GatewaySettings = field(factory=GatewaySettings)
    upstream: UpstreamSettings = field(factory=UpstreamSettings)
    server: ServerSettings = field(factory=ServerSettings)
    observe: ObserveSettings = field(factory=ObserveSettings)
    # None: one machine, which needs neither Redis nor PostgreSQL.
    cluster: ClusterSettings | None = None
    credentials: dict[str, Credential] = field(factory=dict)
    disabled_providers: frozenset[str] = frozenset()
    projects: dict[UUID, Project] = field(factory=dict)
