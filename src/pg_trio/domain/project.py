"""The configured values: credentials, candidates, endpoints, projects; and the tokens for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Literal, TypeAlias
from uuid import UUID

from attrs import evolve, field, frozen

from pg_trio.domain.caller import CHAT_ACCESS, Access, Caller, Token, TokenEnv, TokenLimits
from pg_trio.domain.chat import JsonObject
from pg_trio.domain.guardrails import GuardrailRules
from pg_trio.domain.json_value import json_texts
from pg_trio.domain.log_body import LogBodies
from pg_trio.domain.options import ResponseFormat
from pg_trio.domain.origins import AllowedOrigins
from pg_trio.domain.prices import TokenPrice
from pg_trio.domain.secret import Secret
from pg_trio.domain.strict_subset import enforced_format

# Beside what is defined here.
__all__ = ["CHAT_ACCESS", "Access", "Caller", "Token", "TokenEnv", "TokenLimits"]

# What happens to a stream that fails after its first token.
OnStreamFailure: TypeAlias = Literal["error", "restart", "continue"]
# What is done about an answer that is not JSON before the schema is checked.
OutputRepair: TypeAlias = Literal["off", "lenient"]
# The two names that OpenAI's wire has for the limit of an answer's tokens.
TokensField: TypeAlias = Literal["max_tokens", "max_completion_tokens"]
ProjectType: TypeAlias = Literal["ai_gateway", "ai_wrapper", "api_gateway", "mcp_gateway"]

# Words of the routes, which cannot be slugs of endpoints (contract, "Routes").
_ROUTES = ["chat", "v1", "mcp", "proxy", "info", "endpoints", "tokens", "models", "admin", "control", "ws", "streams"]
RESERVED_SLUGS: frozenset[str] = frozenset([*_ROUTES, "client-tokens"])
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
# Twice the longest model id of a public provider (Together's and Hugging Face's have paths).
MODEL_NAME_CHARS = 256
# As in a URL's path and in a header: letters, digits and the signs that providers use in their models' ids.
MODEL_NAME = re.compile(rf"[A-Za-z0-9._:/@+-]{{1,{MODEL_NAME_CHARS}}}")
SCOPES: tuple[str, ...] = ("chat", "models", "admin", "proxy", "mcp", "mint")


@frozen(slots=True)
class HttpxOptions:
    """How the httpx transport reaches one credential's provider. Certificates and keys are PEM texts.

    `proxy` is a URL, which may hold a password; None: the environment's proxy. `http2`: used if the provider offers it.
    """

    proxy: Secret | None = None
    http2: bool = True
    ca_pem: str | None = field(default=None, repr=False)
    certificate_pem: str | None = field(default=None, repr=False)
    key_pem: Secret | None = None


def _identity_of(secret: Secret | None) -> tuple[str, str] | None:
    return None if secret is None else secret.identity


def _identities_of(pairs: tuple[tuple[str, Secret], ...]) -> tuple[tuple[str, tuple[str, str]], ...]:
    return tuple([(name, secret.identity) for name, secret in pairs])


@frozen(slots=True, cache_hash=True)
class Credential:
    """A named key to a provider. `base_url` has no trailing slash; `api_key` is None only if the provider needs none.

    `transport` names the implementation for its calls. `allow_private_addresses` lets calls reach loopback and private
    networks; the configuration sets it if `base_url` names such an address literally. `httpx` is None if that transport
    needs no options. Each worker keeps `prewarm_connections` idle connections open. `headers` and `query` go with every
    call, and `hidden` are the values among them that must not show; `max_tokens_field` carries the answer's limit in
    place of the provider's own field. All are OpenAI's wire's alone. All workers together run at most `max_concurrent`
    calls at once (None: any number). In each worker up to `max_waiting` requests wait for a slot, each at most
    `slot_wait_ms`. `send_deadline` sends the time left with each call.
    """

    name: str
    provider: str
    base_url: str
    # Two credentials are equal if their secrets are of the same file or, without a file, have the same value.
    api_key: Secret | None = field(default=None, eq=_identity_of)
    transport: Literal["direct", "httpx"] = "direct"
    allow_private_addresses: bool = False
    max_concurrent: int | None = None
    max_waiting: int = 100
    slot_wait_ms: int = 1_000
    send_deadline: bool = False
    prewarm_connections: int = 0
    httpx: HttpxOptions | None = field(default=None, eq=False)
    headers: tuple[tuple[str, Secret], ...] = field(default=(), eq=_identities_of)
    query: tuple[tuple[str, Secret], ...] = field(default=(), eq=_identities_of)
    max_tokens_field: TokensField | None = None
    # Follows from the fields above.
    hidden: tuple[Secret, ...] = field(default=(), eq=False)
    # All secrets, if none of them is read again from a file; None if one is.
    fixed_secrets: tuple[Secret, ...] | None = field(init=False, eq=False, repr=False)

    @fixed_secrets.default
    def _find_fixed_secrets(self) -> tuple[Secret, ...] | None:
        secrets = self.hidden if self.api_key is None else (*self.hidden, self.api_key)
        return None if any(secret.source is not None for secret in secrets) else secrets

    @property
    def carrier(self) -> str:
        """The name of the transport for its calls; a credential with options has its own."""
        return self.transport if self.httpx is None else f"{self.transport} of {self.name}"

    @property
    def secrets(self) -> list[Secret]:
        """Everything of it that must not show in what its provider says."""
        secrets = list(self.hidden) if self.api_key is None else [*self.hidden, self.api_key]
        for secret in secrets.copy():
            if secret.source is not None:
                # `reveal` may read a new value from the file; only then is the old one `previous`.
                secret.reveal()
                secrets += [] if secret.previous is None else [secret.previous]
        return secrets

    @property
    def changes(self) -> bool:
        """Whether its headers or query may change while the gateway runs, because a file has a secret of it."""
        pairs = (*self.headers, *self.query)
        own = self.api_key is not None and self.api_key.source is not None
        return own or any(secret.source is not None for _, secret in pairs)

    def fingerprint(self) -> bytes:
        """16 bytes that depend on the address and the key; the key cannot be derived from them.

        Of a secret in a file its path counts: workers that read it at different times have the same credential.
        """
        key = "" if self.api_key is None else self.api_key.identity[1]
        more = [part for name, value in (*self.headers, *self.query) for part in (name, value.identity[1])]
        return blake2b("\0".join([self.base_url, key, *more]).encode(), digest_size=16).digest()


@frozen(slots=True, cache_hash=True)
class Candidate:
    """A candidate for calls: a model with a credential.

    `remembered_as` is the name under which its results are remembered (breakers, latencies) in place of the model's, so
    that clients who name models themselves cannot fill the memory.
    """

    credential: Credential
    model: str
    remembered_as: str | None = None

    @property
    def memory_name(self) -> str:
        return self.model if self.remembered_as is None else self.remembered_as

    @property
    def provider(self) -> str:
        return self.credential.provider


@frozen(slots=True, eq=False)
class Endpoint:
    """One endpoint of a project, with the contract's field names. Compared and hashed by identity.

    `candidates`: its own first, then its failover. Money is exact decimals in US dollars; limits None mean no limit.
    `prices`: one for each candidate, None where none is known; or none at all, where only the flat rate can hold.
    """

    uuid: UUID
    slug: str
    name: str
    candidates: tuple[Candidate, ...]
    description: str = ""
    is_active: bool = True
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    usage_hard_limit_tokens: int | None = None
    monthly_budget_usd: Decimal | None = None
    estimated_cost_per_1k_tokens_usd: Decimal | None = None
    rate_limit_per_minute: int | None = None
    rate_limit_per_hour: int | None = None
    sessions_enabled: bool = False
    session_ttl_seconds: int = 3_600
    session_max_messages: int = 100
    session_max_tokens: int | None = None
    prompt: str | None = None
    user_prompt_template: str | None = None
    input_schema: JsonObject | bool | None = None
    output_schema: JsonObject | bool | None = None
    # Whether `output_schema` is sent along, as the provider's own mechanism.
    enforce_output_schema: bool = False
    output_repair: OutputRepair = "off"
    output_repair_attempts: int = 0
    # OpenAI's word, and an exact budget of tokens. Where one is set, neither of the client's holds.
    reasoning_effort: str | None = None
    thinking_budget_tokens: int | None = None
    guardrails: GuardrailRules = field(factory=GuardrailRules)
    streaming_enabled: bool = False
    deadline_ms: int = 120_000
    stream_deadline_ms: int = 600_000
    attempt_timeout_ms: int = 60_000
    # None: a quarter of the deadline.
    reserve_ms: int | None = None
    first_token_timeout_ms: int = 30_000
    idle_timeout_ms: int = 30_000
    # 0: only with the first token.
    stream_head_after_ms: int = 15_000
    stream_reasoning: bool = True
    # Whether clients may leave a stream and come back; how long and how much of it is kept; how long it runs alone.
    resumable_streams: bool = False
    resume_window_ms: int = 300_000
    resume_bytes: int = 1024 * 1024
    orphan_grace_ms: int = 10_000
    on_stream_failure: OnStreamFailure = "error"
    hedge_after_ms: int | None = None
    hedge_after: str | None = None
    hedge_tools: bool = False
    # None: four times the number of candidates.
    max_attempts: int | None = None
    log_bodies: LogBodies = "none"
    prices: tuple[TokenPrice | None, ...] = ()
    # Globs over the names of models for which it answers on `/v1`, beside its slug.
    model_names: tuple[str, ...] = ()
    # Whether fields of a request that the gateway does not know go on to a provider of the same wire.
    pass_unknown_fields: bool = False

    # What every request is asked for in place of the client's own `response_format`; None where nothing is enforced.
    answer_format: ResponseFormat | None = field(init=False, repr=False)
    # Characters that the endpoint adds to a request; estimates count them in addition to the client's.
    prompt_chars: int = field(init=False, repr=False)

    @answer_format.default
    def _make_answer_format(self) -> ResponseFormat | None:
        if self.output_schema is None or not self.enforce_output_schema:
            return None
        # Of an opened provider's, the slug has characters that a format's name must not have.
        return enforced_format(_NOT_IN_NAMES.sub("-", self.slug)[:64], self.output_schema)

    @property
    def more_rounds(self) -> int:
        """How often a model may be asked again because its answer does not match."""
        return 0 if self.output_schema is None else self.output_repair_attempts

    @prompt_chars.default
    def _count_prompt_chars(self) -> int:
        wanted = self.answer_format
        added = 0 if wanted is None else sum(map(len, json_texts(wanted.raw)))
        return len(self.prompt or "") + len(self.user_prompt_template or "") + added


@frozen(slots=True)
class ModelName:
    """What a request may name as its model: an endpoint's slug (`is_alias`), or `provider:model`."""

    id: str
    is_alias: bool


@frozen(slots=True, eq=False)
class OpenedProvider:
    """A credential that a project opens to its clients: they name the model themselves, as `provider:model`.

    `models` are globs over model ids; none: all. `endpoint` has the settings of its calls; its limits and its budget
    count for all of them together. `find_price` gives a candidate's price.
    """

    models: tuple[str, ...]
    endpoint: Endpoint
    find_price: Callable[[Candidate], TokenPrice | None] = field(repr=False)

    @property
    def credential(self) -> Credential:
        return self.endpoint.candidates[0].credential

    def names(self) -> list[str]:
        """What clients may name: each model as `provider:model`, or `provider:*` if any of them is a glob."""
        literal = bool(self.models) and not any(sign in glob for sign in "*?[" for glob in self.models)
        return [f"{self.credential.provider}:{model}" for model in (self.models if literal else ("*",))]

    def globs(self) -> list[str]:
        """The globs of what clients may name, as `provider:glob`."""
        return [f"{self.credential.provider}:{glob}" for glob in self.models or ("*",)]

    def takes(self, model: str) -> bool:
        """Whether clients may name this model."""
        return not self.models or any(fnmatchcase(model, glob) for glob in self.models)

    def endpoint_for(self, model: str, *, remembered_as: str | None = None) -> Endpoint:
        """The endpoint of the calls to this model. `remembered_as`: see Candidate."""
        endpoint, own = self.endpoint, Candidate(self.credential, model, remembered_as)
        candidates = (own, *endpoint.candidates[1:])
        slug = f"{own.provider}:{model}"
        return evolve(endpoint, slug=slug, candidates=candidates, prices=(self.find_price(own), *endpoint.prices[1:]))


@frozen(slots=True, eq=False)
class Project:
    """A project, its endpoints by slug, and the credentials that it opens to its clients, in the file's order."""

    uuid: UUID
    name: str
    slug: str
    project_type: ProjectType = "ai_gateway"
    env: Literal["dev", "staging", "prod"] = "prod"
    is_active: bool = True
    metadata: JsonObject = field(factory=dict)
    endpoints: dict[str, Endpoint] = field(factory=dict)
    providers: tuple[OpenedProvider, ...] = ()

    @property
    def callable_endpoints(self) -> list[Endpoint]:
        """Its endpoints, and those of the opened providers, which have the settings of all calls to their models."""
        return [*self.endpoints.values(), *[entry.endpoint for entry in self.providers]]

    # From where browsers may call it; None: from nowhere but its own origin.
    cors_origins: AllowedOrigins | None = None
