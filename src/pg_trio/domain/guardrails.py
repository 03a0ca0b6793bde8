"""The guardrail rules of one endpoint, with the global, project and endpoint levels merged; what a rule decided."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import field, frozen

from pg_trio.domain.secret import Secret

if TYPE_CHECKING:
    # It has endpoints, which have rules.
    from pg_trio.domain.project import Credential

# Before the provider is called, or when it has answered.
GuardPhase: TypeAlias = Literal["input", "output"]
# What was done about matches. `redact`: they were replaced, and are put back in the answer. `replace`: another service
# gave other texts.
GuardAction: TypeAlias = Literal["mask", "block", "flag", "redact", "replace"]

# Beside the labels of the built-in types: 64 × 64 in all when there were six of those.
MAX_CUSTOM_LABELS = 4090


@frozen(slots=True)
class CustomPattern:
    """A configured pattern in RE2's syntax (linear time by construction); masked as `[<label> REDACTED]`."""

    label: str
    pattern: str


@frozen(slots=True)
class PiiFilter:
    """`types` None means the published ones, an empty tuple none. Only answers can be flagged."""

    enabled: bool = True
    mode: Literal["mask", "block", "flag"] = "mask"
    types: tuple[str, ...] | None = None
    custom_patterns: tuple[CustomPattern, ...] = ()


@frozen(slots=True)
class PromptInjection:
    """Blocks prompt injection. `allow`: ids of rules that do not count.

    `score_threshold`: a strong rule has a score of 1, weak ones less; the request is refused if the sum of those that
    match reaches it. `scan_tool_results` False: results of tools are not checked.
    """

    enabled: bool = True
    mode: Literal["block"] = "block"
    allow: tuple[str, ...] = ()
    score_threshold: float = 1.0
    scan_tool_results: bool = True


@frozen(slots=True)
class KeywordBlocklist:
    """Words in any case and disguise; `words` keeps the configured spelling for the answer. Only answers can be
    flagged."""

    enabled: bool = True
    mode: Literal["mask", "block", "flag"] = "block"
    match: Literal["substring", "word"] = "substring"
    words: tuple[str, ...] = ()


@frozen(slots=True)
class SecretScanner:
    """Keys, tokens and passwords. `types` None means all of them. Only answers can be flagged."""

    enabled: bool = True
    mode: Literal["mask", "block", "flag"] = "block"
    types: tuple[str, ...] | None = None


@frozen(slots=True)
class ContentLength:
    """Characters of all the client's text, inclusive on both ends; None means no bound."""

    enabled: bool = True
    min: int | None = None
    max: int | None = None
    # Only answers can be flagged.
    mode: Literal["block", "flag"] = "block"


@frozen(slots=True)
class ReversibleRedaction:
    """Personal data becomes `[[EMAIL_001]]` before the provider, and text again in the answer."""

    enabled: bool = True
    types: tuple[str, ...] | None = None
    custom_patterns: tuple[CustomPattern, ...] = ()


@frozen(slots=True)
class PromptLeak:
    """The endpoint's own prompt comes back: a run of at least `min_words` of its words."""

    enabled: bool = True
    mode: Literal["mask", "block", "flag"] = "block"
    min_words: int = 12


OnGuardFailure: TypeAlias = Literal["closed", "open"]


def _identity_of(secret: Secret | None) -> tuple[str, str] | None:
    return None if secret is None else secret.identity


@frozen(slots=True)
class Webhook:
    """A service of the operator's own decides. `url` may hold a key in its query; `secret` signs what is sent.

    `phase` is for the rule beside those for requests: there it may check answers, too. Only answers can be flagged.
    """

    enabled: bool = True
    url: str = field(default="", repr=False)
    secret: Secret | None = field(default=None, eq=_identity_of)
    timeout_ms: int = 2_000
    on_failure: OnGuardFailure = "closed"
    parallel: bool = False
    phase: tuple[GuardPhase, ...] = ("input", "output")
    mode: Literal["block", "flag"] = "block"


@frozen(slots=True)
class Moderation:
    """A server with OpenAI's `POST /moderations` decides. `categories` None: any that it finds.

    `credential` is None only of a rule that is not enabled.
    """

    enabled: bool = True
    credential: Credential | None = None
    model: str | None = None
    categories: tuple[str, ...] | None = None
    timeout_ms: int = 2_000
    on_failure: OnGuardFailure = "closed"
    parallel: bool = False
    mode: Literal["block", "flag"] = "block"


@frozen(slots=True)
class OutputRules:
    """The rules for answers, in the order in which they run; None if no level names the guardrail.

    `hold_back_chars`: the most characters of a streamed text that wait for what follows them.
    """

    secret_scanner: SecretScanner | None = None
    pii_filter: PiiFilter | None = None
    keyword_blocklist: KeywordBlocklist | None = None
    content_length: ContentLength | None = None
    prompt_leak: PromptLeak | None = None
    webhook: Webhook | None = None
    moderation: Moderation | None = None
    hold_back_chars: int = 256


NO_OUTPUT_RULES = OutputRules()


@frozen(slots=True)
class GuardrailRules:
    """The rules of an endpoint; None if no level names the guardrail.

    Hashable, so that endpoints with the same rules share one compiled chain.
    """

    pii_filter: PiiFilter | None = None
    prompt_injection: PromptInjection | None = None
    keyword_blocklist: KeywordBlocklist | None = None
    content_length: ContentLength | None = None
    secret_scanner: SecretScanner | None = None
    reversible_redaction: ReversibleRedaction | None = None
    webhook: Webhook | None = None
    moderation: Moderation | None = None
    output: OutputRules = NO_OUTPUT_RULES


NO_RULES = GuardrailRules()


@frozen(slots=True)
class GuardrailVerdict:
    """What one rule of a guardrail decided about a request or its answer. Never text of either.

    `guardrail` is its key in the configuration (`pii_filter`), `rule` the part of it that matched: a type, a label, a
    configured word, a bound. `count` is the number of places that matched.
    """

    guardrail: str
    rule: str
    phase: GuardPhase
    action: GuardAction
    count: int = 1


# The verdicts of which the client's header tells. What is refused has an error, and what was redacted is put back.
_TOLD_ACTIONS = frozenset({"mask", "flag", "replace"})


def describe_verdicts(verdicts: Iterable[GuardrailVerdict]) -> list[dict[str, str | int]]:
    """The verdicts as the log's readers and callers with the scope `admin` see them."""
    return [
        {"guardrail": one.guardrail, "rule": one.rule, "phase": one.phase, "action": one.action, "count": one.count}
        for one in verdicts
    ]


def verdicts_text(verdicts: Iterable[GuardrailVerdict]) -> str:
    """The value of `X-PG-Guardrails`; empty if nothing was masked or flagged."""
    told = [f"{one.guardrail}={one.action}" for one in verdicts if one.action in _TOLD_ACTIONS]
    return ", ".join(dict.fromkeys(told))
