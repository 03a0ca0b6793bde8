"""Every deliberate error of the gateway: its status, its exact text, its extra fields.

Rules:
1. One base, three children: the caller's mistake (`CallerError`), the provider's failure (`UpstreamError`), and our
   own state (`OwnStateError`). A class says when it is raised. Its fields are typed, and its text is made from its
   fields.
2. The texts are the contract's, byte for byte (docs/api.md, "Failures"). A changed text breaks clients.
3. No text contains a credential, a token, a trace or another project's data. A provider's message is already masked and
   cut when it arrives here (`domain.secret.mask_secrets`).
4. Any other exception is a bug: the web layer answers `InternalError` and logs the traceback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, Literal, TypeAlias

from attrs import define, field

# What a provider's refusal complains of, where that is the candidate rather than the request: its key, the account's
# credit or quota, a model that is unknown or retired, a context window that is too small for this request, or something
# in it that the candidate's wire or model cannot carry (`ability`).
Concern: TypeAlias = Literal["key", "credit", "model", "context", "ability"]

# 200: the endpoint's name in the message is the client's own text. A slug has at most 64 characters; a longer text is
# noise in a log.
SLUG_ECHO_CHARS = 200
# Candidates that an error names: more would not be read.
UNFIT_SHOWN = 5


@define(slots=False, eq=False)
class GatewayError(Exception):
    """Base of all deliberate errors. Catch it at the boundary; raise only its subclasses."""

    status: ClassVar[int] = 500

    @property
    def text(self) -> str:
        """The `error` field of the answer's body."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.text

    @property
    def code(self) -> str:
        """Stable name for logs and metrics: the class's name."""
        return type(self).__name__

    def fields(self) -> dict[str, object]:
        """More fields of the answer's body, after `ok` and `error`."""
        return {}

    def headers(self) -> dict[str, str]:
        """More headers of the answer."""
        return {}


class CallerError(GatewayError):
    """The caller's mistake: the same request fails again."""


class UpstreamError(GatewayError):
    """The provider's failure, after every candidate was tried."""


class OwnStateError(GatewayError):
    """The gateway's own state: overloaded, switched off, out of time, or a bug."""


# ── authentication ───────────────────────────────────────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class MissingToken(CallerError):
    """No `Authorization: Bearer …` at all. A bearer of the wrong shape is `MalformedToken`."""

    status = 401
    text = "Missing Bearer token."

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


@define(slots=False, eq=False)
class MalformedToken(CallerError):
    """A bearer that is not `pg_live_…`, `pg_test_…` or `pg_tmp_…`; it was not looked up."""

    status = 401
    text = "Invalid token format."

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}


@define(slots=False, eq=False)
class UnknownToken(CallerError):
    """A well-formed token that does not exist or was revoked; the answer does not say which."""

    status = 401
    text = "Invalid or revoked token."

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}


@define(slots=False, eq=False)
class ForeignToken(CallerError):
    """A valid token with another project's URL (or a URL of no project; the answer does not say which)."""

    status = 403
    text = "Token does not belong to this project."


@define(slots=False, eq=False)
class MissingScope(CallerError):
    """A valid token of this project without the scope for this request."""

    status = 403
    scope: str
    held: Sequence[str]

    @property
    def text(self) -> str:
        return f"Missing required scope: '{self.scope}'. Token has: {', '.join(self.held)}."


@define(slots=False, eq=False)
class EndpointNotGranted(CallerError):
    """A client token with an endpoint that it does not name. The answer does not say whether there is such an
    endpoint."""

    status = 403
    text = "Token is not valid for this endpoint."


@define(slots=False, eq=False)
class ProjectInactive(CallerError):
    """The token's project is switched off in the configuration."""

    status = 403
    text = "Project is inactive."


@define(slots=False, eq=False)
class WrongProjectType(CallerError):
    """The project is of a type that has no gateway endpoints."""

    status = 400
    text = "This project is not an AI Gateway. Use /api/{uuid}/v1/chat/completions for AI Wrapper projects."


@define(slots=False, eq=False)
class ModelsNotServed(CallerError):
    """The project is of a type that has no models, on a `/v1` route."""

    status = 400
    text = "This project does not serve models."


@define(slots=False, eq=False)
class ModelNotFound(CallerError):
    """No endpoint and no opened provider of the token's own project has the name that the request gives as `model`.

    `names` are names that there are, the nearest first. `model` is None if it could be no model's name.
    """

    status = 404
    model: str | None
    names: Sequence[str]

    @property
    def text(self) -> str:
        asked = "The model" if self.model is None else f"Model '{self.model[:SLUG_ECHO_CHARS]}'"
        if not self.names:
            return f"{asked} was not found: this project has no models."
        return f"{asked} was not found. This project has: {', '.join(self.names)}."


@define(slots=False, eq=False)
class EndpointNotFound(CallerError):
    """No active endpoint of that slug in the token's own project."""

    status = 404
    slug: str

    @property
    def text(self) -> str:
        return f"Endpoint '{self.slug[:SLUG_ECHO_CHARS]}' not found or inactive."


# ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class OperatorRefused(CallerError):
    """At the admin address: no key and no session, or a key or a session that is unknown, revoked or over."""

    status = 401
    text = "Missing or unknown operator key."

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


@define(slots=False, eq=False)
class RoleInsufficient(CallerError):
    """A viewer asked for a change."""

    status = 403
    text = "A viewer may not change anything."


@define(slots=False, eq=False)
class ReloadUnavailable(OwnStateError):
    """At the admin address of a gateway that `pg-trio serve` does not supervise: it cannot read its file again."""

    status = 503
    text = "This gateway cannot reload its configuration; start it again."


@define(slots=False, eq=False)
class CsrfMissing(CallerError):
    """A change by a page's session without the session's CSRF token, or from another origin."""

    status = 403
    text = "Missing or wrong CSRF token."


# ── the request itself ───────────────────────────────────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class BadRequest(CallerError):
    """The request cannot be understood: its headers, its JSON, or a field's type. Says which."""

    status = 400
    reason: str

    @property
    def text(self) -> str:
        return self.reason


@define(slots=False, eq=False)
class RouteNotFound(CallerError):
    """No route has this path."""

    status = 404
    text = "Not found."


@define(slots=False, eq=False)
class StreamingNotEnabled(CallerError):
    """A WebSocket to an endpoint that does not stream (`streaming_enabled`)."""

    status = 400
    text = "Streaming is not enabled for this endpoint."


@define(slots=False, eq=False)
class OriginNotAllowed(CallerError):
    """A WebSocket of a page whose origin is not among the project's `cors_origins`; or the project does not exist."""

    status = 403
    text = "Origin is not allowed."


@define(slots=False, eq=False)
class NoSubprotocol(CallerError):
    """A WebSocket that offers subprotocols, but none that the gateway speaks."""

    status = 400
    text = "Sec-WebSocket-Protocol must offer pg-chat.v1."


@define(slots=False, eq=False)
class MalformedFrame(CallerError):
    """A frame of a WebSocket that cannot be understood. `said` says which part is wrong."""

    status = 400
    said: str

    @property
    def text(self) -> str:
        return self.said


@define(slots=False, eq=False)
class TooManyInFlight(CallerError):
    """A message on a WebSocket that has as many answers under way as it may have (`server.websocket_max_in_flight`)."""

    status = 429
    most: int

    @property
    def text(self) -> str:
        return f"Too many answers in flight on this socket, at most {self.most}."

    def fields(self) -> dict[str, object]:
        return {"scope": "socket", "max_in_flight": self.most}


@define(slots=False, eq=False)
class MethodNotAllowed(CallerError):
    """The path is a route, but not with this method."""

    status = 405
    allowed: Sequence[str]
    text = "Method not allowed."

    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(self.allowed)}


@define(slots=False, eq=False)
class ContentCodingUnsupported(CallerError):
    """The body is encoded (`Content-Encoding: gzip`). The gateway does not decode request bodies."""

    status = 415
    coding: str

    @property
    def text(self) -> str:
        return f"Content-Encoding '{self.coding}' is not supported; send the body as it is."

    def headers(self) -> dict[str, str]:
        # RFC 9110, section 12.5.3: the accepted coding.
        return {"Accept-Encoding": "identity"}


@define(slots=False, eq=False)
class BodyTooLarge(CallerError):
    """The body is over `gateway.max_body_bytes`, by its declared length or by what arrived."""

    status = 413
    limit_bytes: int

    @property
    def text(self) -> str:
        return f"Request body exceeds {self.limit_bytes} bytes."


@define(slots=False, eq=False)
class BodyTooSlow(CallerError):
    """The body did not arrive within `gateway.body_timeout_ms`, and no endpoint's deadline was known yet."""

    status = 408
    limit_ms: int

    @property
    def text(self) -> str:
        return f"Request body not received within {self.limit_ms} ms."


@define(slots=False, eq=False)
class InputInvalid(CallerError):
    """The body does not match the endpoint's `input_schema`. `where` is a JSON path, `why` holds no client data."""

    status = 422
    where: str
    why: str

    @property
    def text(self) -> str:
        return f"Validation failed: {self.where}: {self.why}"


# ── limits and budgets ───────────────────────────────────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class RateLimited(CallerError):
    """A limit of the endpoint or of the token is used up; `scope` names it. `retry_after_s` is the time until there is
    more, rounded up."""

    status = 429
    scope: str
    retry_after_s: int
    text = "Rate limit exceeded."

    def fields(self) -> dict[str, object]:
        return {"scope": self.scope, "retry_after": self.retry_after_s}

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


@define(slots=False, eq=False)
class TokenCapExceeded(CallerError):
    """The request's estimated input is over the endpoint's `usage_hard_limit_tokens`."""

    status = 422
    estimated_tokens: int
    cap_tokens: int

    @property
    def text(self) -> str:
        return (
            f"Request exceeds endpoint per-request token limit: ~{self.estimated_tokens} tokens estimated,"
            f" cap is {self.cap_tokens}."
        )


@define(slots=False, eq=False)
class BudgetExhausted(CallerError):
    """The amount spent reaches the month's budget. If less is spent but the request does not fit:
    `BudgetWouldBeExceeded`."""

    status = 422
    spent_usd: Decimal
    budget_usd: Decimal

    @property
    def text(self) -> str:
        return (
            f"Endpoint monthly budget exhausted: ~${self.spent_usd:.4f} spent, budget ${self.budget_usd:.2f}."
            " Resets at the start of next month."
        )


@define(slots=False, eq=False)
class BudgetWouldBeExceeded(CallerError):
    """The month's budget is not spent, but the possible cost of this request does not fit into the rest.

    `reserved_usd` is reserved by other running requests, `estimated_usd` is the reservation that this one needs.
    """

    status = 422
    spent_usd: Decimal
    reserved_usd: Decimal
    estimated_usd: Decimal
    budget_usd: Decimal
    whose: ClassVar[str] = "Endpoint"

    @property
    def text(self) -> str:
        parts = (
            (self.spent_usd, "spent"),
            (self.reserved_usd, "reserved"),
            (self.estimated_usd, "estimated for this request"),
        )
        told = " + ".join(f"~${usd:.4f} {what}" for usd, what in parts if usd)
        return (
            f"{self.whose} monthly budget would be exceeded: {told}, budget ${self.budget_usd:.2f}."
            " Resets at the start of next month."
        )


@define(slots=False, eq=False)
class TokenBudgetExhausted(BudgetExhausted):
    """The same, of the month's budget of a client token's holder."""

    @property
    def text(self) -> str:
        return (
            f"Token monthly budget exhausted: ~${self.spent_usd:.2f} spent, budget ${self.budget_usd:.2f}."
            " Resets at the start of next month."
        )


@define(slots=False, eq=False)
class TokenBudgetWouldBeExceeded(BudgetWouldBeExceeded):
    """The same, of the month's budget of a client token's holder."""

    whose = "Token"


@define(slots=False, eq=False)
class TooManyHolders(OwnStateError):
    """Nothing more can be counted by subject this month: `gateway.client_subjects` have limits or a budget already.

    Tokens of those subjects, and tokens without limits, can still be minted.
    """

    status = 503
    text = "Too many subjects with limits."


# ── guardrails ───────────────────────────────────────────────────────────────────────────────────────────────────────


# What a refusal begins with, for each phase.
_BLOCKED = {"input": "Request blocked", "output": "Response blocked"}


@define(slots=False, eq=False)
class GuardrailBlocked(CallerError):
    """Base of what guardrails refuse. `phase` is `input` for a request, `output` for the answer to it.

    An answer is refused with the same status, because the endpoint's rules and not the provider's failure are the
    reason. `rule` is for the log: see domain.guardrails.GuardrailVerdict.
    """

    status = 422
    guardrail: ClassVar[str] = ""

    phase: Literal["input", "output"] = field(default="input", kw_only=True)
    rule: str = field(default="", kw_only=True)
    # The places that matched.
    count: int = field(default=1, kw_only=True)

    def _says(self, what: str) -> str:
        return f"{_BLOCKED[self.phase]}: {what}."


@define(slots=False, eq=False)
class PiiBlocked(GuardrailBlocked):
    """Personal data in the text, and the rule's mode is `block`. `label` is the kind, never the match."""

    guardrail: ClassVar[str] = "pii_filter"
    label: str

    @property
    def text(self) -> str:
        return self._says(f"{self.label} detected in {self.phase}")


@define(slots=False, eq=False)
class RedactionRefused(PiiBlocked):
    """Personal data where no placeholder can stand: in a name, an id or an object's key."""

    guardrail: ClassVar[str] = "reversible_redaction"


@define(slots=False, eq=False)
class InjectionBlocked(GuardrailBlocked):
    """A known prompt-injection phrase in the input."""

    guardrail: ClassVar[str] = "prompt_injection"

    @property
    def text(self) -> str:
        return self._says("prompt injection pattern detected")


@define(slots=False, eq=False)
class KeywordBlocked(GuardrailBlocked):
    """A configured word in the text; `word` is the configured spelling."""

    guardrail: ClassVar[str] = "keyword_blocklist"
    word: str

    @property
    def text(self) -> str:
        return self._says(f"keyword '{self.word}' detected in {self.phase}")


@define(slots=False, eq=False)
class SecretBlocked(GuardrailBlocked):
    """A key, a token or a password in the text. `label` is the kind, never the match."""

    guardrail: ClassVar[str] = "secret_scanner"
    label: str

    @property
    def text(self) -> str:
        return self._says(f"{self.label} detected in {self.phase}")


@define(slots=False, eq=False)
class InputTooLong(GuardrailBlocked):
    """The text has more characters than `content_length.max`."""

    guardrail: ClassVar[str] = "content_length"
    length_chars: int
    maximum_chars: int

    @property
    def text(self) -> str:
        return self._says(f"content length {self.length_chars} exceeds maximum {self.maximum_chars}")


@define(slots=False, eq=False)
class InputTooShort(GuardrailBlocked):
    """The text has fewer characters than `content_length.min`."""

    guardrail: ClassVar[str] = "content_length"
    length_chars: int
    minimum_chars: int

    @property
    def text(self) -> str:
        return self._says(f"content length {self.length_chars} is below minimum {self.minimum_chars}")


@define(slots=False, eq=False)
class PromptLeaked(GuardrailBlocked):
    """The answer repeats the endpoint's own prompt."""

    guardrail: ClassVar[str] = "prompt_leak"

    @property
    def text(self) -> str:
        return self._says(f"system prompt detected in {self.phase}")


@define(slots=False, eq=False)
class WebhookBlocked(GuardrailBlocked):
    """A webhook refused the text. `reason` is its own, cleaned and cut."""

    guardrail: ClassVar[str] = "webhook"
    reason: str

    @property
    def text(self) -> str:
        return f"{_BLOCKED[self.phase]}: {self.reason}"


@define(slots=False, eq=False)
class ModerationBlocked(GuardrailBlocked):
    """A moderation found this category in the text."""

    guardrail: ClassVar[str] = "moderation"
    category: str

    @property
    def text(self) -> str:
        return self._says(f"moderation category '{self.category}' in {self.phase}")


@define(slots=False, eq=False)
class GuardrailFailed(OwnStateError):
    """A guardrail that another service answers got no usable answer, and its rule says `on_failure = "closed"`."""

    status = 503
    text = "Guardrail unavailable."
    guardrail: str
    phase: Literal["input", "output"] = "input"

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class SessionsNotEnabled(CallerError):
    """`session_id` was sent to an endpoint without sessions."""

    status = 400
    text = "Sessions are not enabled for this endpoint."


@define(slots=False, eq=False)
class SessionIdInvalid(CallerError):
    """`session_id` is not a UUID."""

    status = 400
    text = "Invalid session_id."


@define(slots=False, eq=False)
class SessionNotAccessible(CallerError):
    """No session of that id, or another token's, or another endpoint's: the answer does not say which."""

    status = 403
    text = "Session not found or not accessible."


@define(slots=False, eq=False)
class StreamNotAccessible(CallerError):
    """No kept stream of that id, or another token's, or another endpoint's, or one that is not kept any more: the
    answer does not say which."""

    status = 404
    text = "Stream not found or not accessible."


@define(slots=False, eq=False)
class IdempotencyKeyReused(CallerError):
    """The same owner has sent another body with this `Idempotency-Key` on this route, and its answer is kept or is
    being made. A key that is malformed is `BadRequest`."""

    status = 422
    text = "Idempotency-Key was used with another request."


@define(slots=False, eq=False)
class Replayed(CallerError):
    """Only in the log: the client got the failure that an earlier request with the same `Idempotency-Key` got. That
    request's row says why."""

    replayed_status: int
    text = "The failure of an earlier request with the same Idempotency-Key was sent again."

    @property
    def status(self) -> int:  # type: ignore[override]
        return self.replayed_status


@define(slots=False, eq=False)
class SessionExpired(CallerError):
    """The session was idle for longer than `session_ttl_seconds`. It is deleted, so the next call gets
    `SessionNotAccessible`."""

    status = 410
    text = "Session expired."


@define(slots=False, eq=False)
class SessionMessagesReached(CallerError):
    """The session has `session_max_messages` messages, or the request's own messages would exceed them."""

    status = 429
    text = "Session message limit reached."


@define(slots=False, eq=False)
class SessionTokensReached(CallerError):
    """The tokens of the session's turns and the estimate of this request together exceed `session_max_tokens`."""

    status = 429
    text = "Session token limit reached."


@define(slots=False, eq=False)
class SessionMovedOn(CallerError):
    """The session has had a turn since the response that the request continues, or it never had that response."""

    status = 400
    text = "previous_response_id: only the latest response of a session can be continued."


@define(slots=False, eq=False)
class PreviousResponseNotFound(CallerError):
    """`previous_response_id` names no response, or one of another token or endpoint: the answer does not say which.

    On other surfaces, `SessionNotAccessible`.
    """

    status = 400
    text = "previous_response_id: no response of this id can be continued."


@define(slots=False, eq=False)
class QuoteNotFound(CallerError):
    """The input refers to a message of an earlier answer (`item_reference`) that is not stored, or not for the caller.

    Sessions are off, the session has expired, or it is another token's or endpoint's: the answer does not say which.
    """

    status = 400
    text = "input: an item_reference names no stored message; send the message itself (clients do with `store: false`)."


@define(slots=False, eq=False)
class CallsUnpaired(CallerError):
    """A request continues a response, and its conversation then has a call without an output, or an output without a
    call. Providers refuse both."""

    status = 400
    text = "input: each function_call of the continued response needs one function_call_output, and each output a call."


@define(slots=False, eq=False)
class SessionTooLarge(CallerError):
    """The session's messages take `gateway.max_session_bytes` or more. With images this comes long before the other
    limits."""

    status = 429
    text = "Session size limit reached."


# ── the provider's failures ──────────────────────────────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class ProviderCallFailed(UpstreamError):
    """Every candidate failed; `said` is the last one's message, masked and cut.

    `retry_after_s` is set if the time for a new try is known: each candidate asked for a pause, or the only candidate
    keeps failing and was not asked. `is_final`: the provider refuses this request, so a new try cannot help.
    """

    status = 502
    said: str
    retry_after_s: int | None = None
    is_final: bool = False

    @property
    def text(self) -> str:
        return f"Provider call failed: {self.said}"

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


@define(slots=False, eq=False)
class EmbeddingsUnsupported(CallerError):
    """No candidate's provider has embeddings. If one has them, but not a parameter, it is `ParameterUnsupported`."""

    status = 400
    provider: str

    @property
    def text(self) -> str:
        return f"Provider '{self.provider}' does not support embeddings."


@define(slots=False, eq=False)
class NoFitCandidate(CallerError):
    """No candidate's wire or model can carry what the request holds. None was asked.

    `reasons`: what is not supported (`audio`, `tools`, …), and by which `provider/model`, in the endpoint's order.
    """

    status = 422
    reasons: Sequence[tuple[str, str]] = field(converter=tuple[tuple[str, str], ...])

    @property
    def text(self) -> str:
        said = [f"{what} is not supported by {whom}" for what, whom in self.reasons]
        return f"No candidate can take this request: {'; '.join(said[:UNFIT_SHOWN])}{'; …' * (len(said) > UNFIT_SHOWN)}"


@define(slots=False, eq=False)
class ParameterUnsupported(CallerError):
    """No candidate's wire has a parameter of the request, and without it the answer would be another kind of answer.

    None was asked. `reasons`: as of NoFitCandidate, with the parameters' names.
    """

    status = 400
    reasons: Sequence[tuple[str, str]] = field(converter=tuple[tuple[str, str], ...])

    @property
    def text(self) -> str:
        said = [f"{what} is not supported by {whom}" for what, whom in self.reasons]
        return f"{self.reasons[0][0]}: {'; '.join(said[:UNFIT_SHOWN])}{'; …' * (len(said) > UNFIT_SHOWN)}."


@define(slots=False, eq=False)
class OutputInvalid(UpstreamError):
    """The answer is not JSON, or does not match the endpoint's `output_schema`."""

    status = 502
    where: str
    why: str

    @property
    def text(self) -> str:
        return f"Validation failed: {self.where}: {self.why}"


# ── our own state ────────────────────────────────────────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class ProviderDisabled(OwnStateError):
    """Every candidate's provider is switched off in this gateway. The text names the endpoint's own provider."""

    status = 503
    provider: str

    @property
    def text(self) -> str:
        return f"Provider '{self.provider}' is disabled in this gateway."


@define(slots=False, eq=False)
class Overloaded(OwnStateError):
    """The queue for admission is too long (`gateway.admission_wait_ms`), and no work was done for this request; or no
    slot of the last candidate's credential (`max_concurrent`) became free in time."""

    status = 503
    retry_after_s: int
    text = "Gateway is overloaded."

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


@define(slots=False, eq=False)
class OutOfResources(Overloaded):
    """A connection to a provider needs a file descriptor, a socket's buffer or memory that this process or the system
    does not have. The provider is not to blame, and the next candidate would need the same."""

    retry_after_s: int = 1


@define(slots=False, eq=False)
class StreamInterrupted(OwnStateError):
    """The rest of a resumed stream is not there: the worker that made it ended, or the stream has become too long to
    be kept. Only ever inside a stream."""

    status = 502
    text = "The rest of this stream is not available."


@define(slots=False, eq=False)
class SessionsUnavailable(OwnStateError):
    """The sessions' file cannot be read or written; the server's own log says why. Calls without sessions work."""

    status = 503
    text = "Session storage is unavailable."

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


@define(slots=False, eq=False)
class AnswersUnavailable(OwnStateError):
    """Only in a cluster: Redis is away, and this node cannot know whether another one keeps the answer that is asked
    for, or makes the one of this `Idempotency-Key`. It is not a 404, which would say that there is none."""

    status = 503
    text = "Answer storage is unavailable."

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


@define(slots=False, eq=False)
class TokensUnavailable(OwnStateError):
    """A token must be looked up, and its file cannot be read; the server's own log says why. Tokens in this worker's
    cache work. It is not a 401, which would make clients discard valid tokens."""

    status = 503
    text = "Token storage is unavailable."

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


@define(slots=False, eq=False)
class MetricsUnavailable(OwnStateError):
    """The file of metrics cannot be read; the server's own log says why. Requests are served."""

    status = 503
    text = "Metrics are unavailable."

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


@define(slots=False, eq=False)
class LogUnavailable(OwnStateError):
    """At the pages, the log of all nodes cannot be read, or not in time. Requests are served."""

    status = 503
    why: str

    @property
    def text(self) -> str:
        return f"The log cannot be shown: {self.why}."

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


@define(slots=False, eq=False)
class ShuttingDown(OwnStateError):
    """The server is stopping, and `server.drain_ms` ended before the answer began. Another server may accept the
    request now."""

    status = 503
    text = "Gateway is shutting down."

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


@define(slots=False, eq=False)
class DeadlineExceeded(OwnStateError):
    """The request's own deadline passed. A candidate's own limit is an `AttemptFailed` and starts the next one."""

    status = 504
    limit_ms: int

    @property
    def text(self) -> str:
        return f"Deadline exceeded: no answer within {self.limit_ms} ms."

    def headers(self) -> dict[str, str]:
        # For SDKs that repeat a 504: the caller has no time left.
        return {"x-should-retry": "false"}


@define(slots=False, eq=False)
class StillStarting(OwnStateError):
    """The pages were asked for before this worker's gateway ran."""

    status = 503
    text = "Gateway is starting."

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


@define(slots=False, eq=False)
class InternalError(OwnStateError):
    """Anything unexpected: a bug in the gateway. The log has the traceback under the request's id; the client gets no
    details."""

    status = 500
    text = "Internal error."


class ClientLeft(Exception):
    """The client closed the connection before it was answered. No answer is sent; the log has a row (499)."""


# ── one candidate's failure: never leaves the race ───────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class AttemptFailed(Exception):
    """One candidate failed. `said` is the message for people; the code that shows it masks it. `fails_over` says
    whether the next candidate is tried.

    `why` is the reason for the client, in a few fixed words. `may_pass`: the candidate may answer a moment later.
    Source: docs/api.md, "Failover"; the classes below are its list.
    """

    fails_over: ClassVar[bool] = True
    may_pass: ClassVar[bool] = True
    why: ClassVar[str] = "failed"
    said: str

    def __str__(self) -> str:
        return self.said


class UpstreamUnreachable(AttemptFailed):
    """No connection: refused, no route, no such name, TLS refused, or the limit on connecting passed."""

    why = "no connection"


class UpstreamBroken(AttemptFailed):
    """The connection ended or broke HTTP before the answer was whole."""

    why = "connection broke"


class UpstreamNonsense(AttemptFailed):
    """The provider's body is not a chat completion: not JSON, no choices, neither content nor a tool call, or over a
    size limit."""

    why = "unreadable answer"


class AttemptTimedOut(AttemptFailed):
    """The candidate's own limit passed (connect, attempt); the request's deadline has not."""

    why = "time limit"


class PassedOver(AttemptFailed):
    """The candidate was not asked, so this is not a try. `why` is the reason, from a fixed list."""


@define(slots=False, eq=False)
class CandidateAside(PassedOver):
    """Its breaker is open, or it asked for a pause (`Retry-After`) that is not over. `retry_after_s` is the time
    left."""

    retry_after_s: float
    why: str = "put aside"  # type: ignore[misc]


class RequestUnfit(PassedOver):
    """Its wire or its model cannot carry what the request holds (`NoFitCandidate` where that is so of all)."""

    why = "cannot take the request"


class RetriesSpent(PassedOver):
    """It failed a moment ago, and the retry budget of its credential (`gateway.retry_budget_percent`) is spent."""

    why = "retry budget spent"


class CandidateFull(PassedOver):
    """Its credential's `max_concurrent` calls are already running."""

    why = "no slot"


@define(slots=False, eq=False)
class UpstreamRefused(AttemptFailed):
    """The provider answered with a failure status.

    400, 413 and 422 cause no failover, because every candidate would refuse the request. The exception is a refusal
    that concerns this candidate alone: then `concerns` names the reason, and the next candidate is asked.
    """

    upstream_status: int
    retry_after_s: float | None = None
    concerns: Concern | None = None

    @property
    def fails_over(self) -> bool:  # type: ignore[override]
        return self.concerns is not None or self.upstream_status not in (400, 413, 422)

    @property
    def may_pass(self) -> bool:  # type: ignore[override]
        status = self.upstream_status
        return self.concerns is None and (status in (408, 409, 425, 429) or status >= 500)

    @property
    def why(self) -> str:  # type: ignore[override]
        words = _CONCERN_WORDS.get(self.concerns or _CONCERNS.get(self.upstream_status))
        return f"HTTP {self.upstream_status}, {words}" if words else f"HTTP {self.upstream_status}"

    @property
    def refuses_credential(self) -> bool:
        """Whether the key is refused, or its account has no credit, so that no model of the credential can be used."""
        return (self.concerns or _CONCERNS.get(self.upstream_status)) in ("key", "credit")


# The statuses that tell what a refusal concerns (contract, "Refused keys").
_CONCERNS: Mapping[int, Concern] = {401: "key", 402: "credit"}
_CONCERN_WORDS: Mapping[Concern | None, str] = {
    "key": "credential refused",
    "credit": "credential refused",
    "model": "model unknown",
    "context": "request too long for it",
}


class CandidateUnfit(UpstreamRefused):
    """It was not asked: its wire or its model cannot carry what the request holds. Another candidate may.

    It is a refusal by its nature: one that concerns this candidate alone, and blames nobody.
    """

    def __init__(self, provider: str, what: str) -> None:
        super().__init__(f"{provider} cannot take this request: {what}", 422, concerns="ability")


# ── configuration ────────────────────────────────────────────────────────────────────────────────────────────────────


@define(slots=False, eq=False)
class ConfigError(Exception):
    """A configuration that cannot be used. `mistakes` lists all mistakes, each as `path: what is wrong`."""

    source: str
    mistakes: Sequence[str] = field(converter=tuple[str, ...])

    def __str__(self) -> str:
        count = len(self.mistakes)
        head = f"{self.source}: {count} mistake{'s' if count != 1 else ''}"
        return "\n".join([head, *(f"  {mistake}" for mistake in self.mistakes)])


class AnswerCut(Exception):
    """A kept answer goes no further, and it has no end: its worker ended, its file is damaged, or it is too long to be
    kept. The text says which."""


@define(slots=False, eq=False)
class StoreError(Exception):
    """A file of the data directory cannot be used. The text says which, why, and what to do."""

    said: str

    def __str__(self) -> str:
        return self.said


@define(slots=False, eq=False)
class StoreAway(StoreError):
    """The server of a store does not answer now, and may later. The text says which, and why."""


@define(slots=False, eq=False)
class WorkersFailed(Exception):
    """The workers of `pg-trio serve` cannot be kept alive. The text says why."""

    said: str

    def __str__(self) -> str:
        return self.said


@define(slots=False, eq=False)
class OutputLost(Exception):
    """A command's result could not be written to standard output. The text says why, and what happened to the
    result."""

    said: str

    def __str__(self) -> str:
        return self.said


def error_body(error: GatewayError, more_fields: Mapping[str, object] | None = None) -> bytes:
    """The answer's body for an error: `{"ok":false,"error":…}`, the error's own fields and more, UTF-8 JSON."""
    body = {"ok": False, "error": error.text, **error.fields(), **(more_fields or {})}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
