"""The TOML file's tables, before references are resolved and levels merged.

None means: not in the file, or wrong and already reported. The defaults are only in `domain` and `settings`, and the
code after structuring accepts None. A field without a default here is required. A wrong item of a list is None, so that
the items after it keep their number.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from attrs import field, frozen

from pg_trio.config.bounds import DAY_MS, Between, Count, Length, Milliseconds, Money, Name, Shape, Text
from pg_trio.config.guardrail_tables import GuardrailTables
from pg_trio.domain.log_body import LogBodies
from pg_trio.domain.project import (
    MODEL_NAME_CHARS,
    SLUG_PATTERN,
    OnStreamFailure,
    OutputRepair,
    ProjectType,
    TokensField,
)

Slug = Annotated[
    str, Shape(re.compile(SLUG_PATTERN), "a slug: 1–64 of a-z, 0-9 and -, starting and ending with a letter or digit")
]
# Below the median most calls would be hedged; p100 would never hedge.
Percentile = Annotated[str, Shape(re.compile(r"p[5-9][0-9]"), "a percentile from p50 to p99")]
# Each wire maps the words that it does not have to the nearest one.
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
# As long as the longest model id that a request may name (domain.project.MODEL_NAME_CHARS).
ModelGlob = Annotated[str, Length(1, MODEL_NAME_CHARS)]
# A million dollars for a million tokens: a dollar a token. The dearest model of 2026 costs 600.
TokenMoney = Annotated[Decimal, Between(0, 1_000_000)]


# ── credentials and providers ────────────────────────────────────────────────────────────────────────────────────────


@frozen(slots=True)
class CredentialTable:
    """One `[[credentials]]`. `api_key` is `env:NAME`, `file:PATH` or the key itself: never shown."""

    name: Name | None
    provider: str | None
    api_key: str | None = field(default=None, repr=False)
    # A user and password in it are a mistake, and must not be shown.
    base_url: Annotated[str, Length(1, 2000)] | None = field(default=None, repr=False)
    transport: Literal["direct", "httpx"] | None = None
    allow_private_addresses: bool | None = None
    max_concurrent: Annotated[int, Between(1, 1_000_000)] | None = None
    # 0: no request waits.
    max_waiting: Annotated[int, Between(0, 1_000_000)] | None = None
    slot_wait_ms: Milliseconds | None = None
    send_deadline: bool | None = None
    # 1,000: more handshakes at a start could offend a provider.
    prewarm_connections: Annotated[int, Between(0, 1_000)] | None = None
    # The URL may hold a password.
    proxy: str | None = field(default=None, repr=False)
    http2: bool | None = None
    ca_file: str | None = field(default=None, repr=False)
    client_certificate: str | None = field(default=None, repr=False)
    client_key: str | None = field(default=None, repr=False)
    # They may hold keys.
    headers: dict[str, str | None] | None = field(default=None, repr=False)
    query: dict[str, str | None] | None = field(default=None, repr=False)
    max_tokens_field: TokensField | None = None


@frozen(slots=True)
class ProviderTable:
    """`[providers.NAME]`."""

    enabled: bool | None = None


@frozen(slots=True)
class PriceTable:
    """One `[[prices]]`: US dollars for a million tokens. `model` is a glob."""

    provider: str | None
    model: Name | None
    input_usd_per_1m: TokenMoney | None
    output_usd_per_1m: TokenMoney | None
    # Absent: the input's.
    cached_input_usd_per_1m: TokenMoney | None = None
    cache_write_usd_per_1m: TokenMoney | None = None


# ── projects and endpoints ───────────────────────────────────────────────────────────────────────────────────────────


@frozen(slots=True)
class FailoverTable:
    """One item of an endpoint's `failover`."""

    credential: Name | None
    model: Name | None


@frozen(slots=True, kw_only=True)
class CallTable:
    """The settings that endpoints and opened providers share, with the contract's field names and ranges.

    A field of the same name in `domain.project.Endpoint` gets the value unchanged.
    """

    uuid: UUID | None = None
    name: Name | None = None
    description: Text | None = None
    is_active: bool | None = None
    failover: list[FailoverTable | None] | None = None
    temperature: Annotated[float, Between(0, 2)] | None = None
    top_p: Annotated[float, Between(0, 1)] | None = None
    max_output_tokens: Annotated[int, Between(1, 200_000)] | None = None
    usage_hard_limit_tokens: Count | None = None
    monthly_budget_usd: Money | None = None
    estimated_cost_per_1k_tokens_usd: Money | None = None
    rate_limit_per_minute: Count | None = None
    rate_limit_per_hour: Count | None = None
    streaming_enabled: bool | None = None
    sessions_enabled: bool | None = None
    session_ttl_seconds: Annotated[int, Between(60, 604_800)] | None = None
    session_max_messages: Annotated[int, Between(1, 500)] | None = None
    session_max_tokens: Count | None = None
    prompt: Text | None = None
    user_prompt_template: Text | None = None
    # A table, a boolean, JSON text or `file:PATH`: `schemas` reads and checks it.
    input_schema: Any = None
    output_schema: Any = None
    enforce_output_schema: bool | None = None
    output_repair: OutputRepair | None = None
    # 5: each is a whole call, and a model that has failed so often does not get it right.
    output_repair_attempts: Annotated[int, Between(0, 5)] | None = None
    reasoning_effort: Effort | None = None
    # As much as max_output_tokens may be. 0: none.
    thinking_budget_tokens: Annotated[int, Between(0, 200_000)] | None = None
    guardrails: GuardrailTables | None = None
    deadline_ms: Milliseconds | None = None
    stream_deadline_ms: Milliseconds | None = None
    attempt_timeout_ms: Milliseconds | None = None
    # Absent: a quarter of the deadline. 0: the first candidate may use the whole deadline.
    reserve_ms: Annotated[int, Between(0, DAY_MS)] | None = None
    first_token_timeout_ms: Milliseconds | None = None
    idle_timeout_ms: Milliseconds | None = None
    # 0: only with the first token.
    stream_head_after_ms: Annotated[int, Between(0, DAY_MS)] | None = None
    stream_reasoning: bool | None = None
    resumable_streams: bool | None = None
    resume_window_ms: Annotated[int, Between(1_000, DAY_MS)] | None = None
    # 64 MiB: as a part of `max_kept_bytes`, which all answers share.
    resume_bytes: Annotated[int, Between(1_024, 64 * 1024 * 1024)] | None = None
    # 0: a client that leaves cancels its request, as without resumable streams.
    orphan_grace_ms: Annotated[int, Between(0, DAY_MS)] | None = None
    on_stream_failure: OnStreamFailure | None = None
    # 0: all candidates at once.
    hedge_after_ms: Annotated[int, Between(0, DAY_MS)] | None = None
    # The same, learned: a percentile of the candidate's own recent times.
    hedge_after: Percentile | None = None
    hedge_tools: bool | None = None
    # Tries of one request, retries included. 50: at the longest pause, most of the default deadline.
    max_attempts: Annotated[int, Between(1, 50)] | None = None
    log_bodies: LogBodies | None = None
    pass_unknown_fields: bool | None = None


@frozen(slots=True, kw_only=True)
class EndpointTable(CallTable):
    """One `[[projects.endpoints]]`."""

    slug: Slug | None
    credential: Name | None
    model: Name | None
    # Globs over the names that clients send as `model`.
    model_names: list[ModelGlob | None] | None = None


@frozen(slots=True, kw_only=True)
class OpenedProviderTable(CallTable):
    """One `[[projects.providers]]`: a credential whose models clients name themselves. `models` are globs."""

    credential: Name | None
    models: list[ModelGlob | None] | None = None


@frozen(slots=True)
class ProjectTable:
    """One `[[projects]]`."""

    uuid: UUID | None
    name: Name | None
    slug: Slug | None = None
    project_type: ProjectType | None = None
    env: Literal["dev", "staging", "prod"] | None = None
    is_active: bool | None = None
    metadata: dict[str, Any] | None = None
    guardrails: GuardrailTables | None = None
    cors_origins: list[Annotated[str, Length(1, 300)] | None] | None = None
    endpoints: list[EndpointTable | None] | None = None
    providers: list[OpenedProviderTable | None] | None = None


@frozen(slots=True)
class FileTable:
    """The whole file. The plain sections are not structured yet, because the environment is laid over them first."""

    gateway: dict[str, Any] | None = None
    upstream: dict[str, Any] | None = None
    server: dict[str, Any] | None = None
    observe: dict[str, Any] | None = None
    cluster: dict[str, Any] | None = None
    credentials: list[CredentialTable | None] | None = None
    providers: dict[str, ProviderTable | None] | None = None
    prices: list[PriceTable | None] | None = None
    guardrails: GuardrailTables | None = None
    projects: list[ProjectTable | None] | None = None
