"""The guardrail tables of the TOML file, of every level: see tables.py."""

from __future__ import annotations

from typing import Annotated, Literal

from attrs import field, frozen

from pg_trio.config.bounds import Between, Known, Length, Milliseconds, Name
from pg_trio.domain.detected_types import PiiType, SecretType
from pg_trio.domain.guardrails import GuardPhase, OnGuardFailure
from pg_trio.domain.injection_ids import INJECTION_IDS

# The id of a rule of prompt_injection.
InjectionId = Annotated[str, Known(INJECTION_IDS, "a rule's id")]
OutputMode = Literal["mask", "block", "flag"]
Characters = Annotated[int, Between(0, 1_000_000_000)]


@frozen(slots=True)
class CustomPatternTable:
    """One item of `pii_filter.custom_patterns`."""

    label: Annotated[str, Length(1, 100)] | None
    pattern: Annotated[str, Length(1, 10_000)] | None


@frozen(slots=True)
class PiiFilterTable:
    """`[….guardrails.pii_filter]`."""

    enabled: bool | None = None
    mode: Literal["mask", "block"] | None = None
    types: list[PiiType | None] | None = None
    custom_patterns: list[CustomPatternTable | None] | None = None


@frozen(slots=True)
class PromptInjectionTable:
    """`[….guardrails.prompt_injection]`."""

    enabled: bool | None = None
    mode: Literal["block"] | None = None
    allow: list[InjectionId | None] | None = None
    score_threshold: Annotated[float, Between(0, 1)] | None = None
    scan_tool_results: bool | None = None


@frozen(slots=True)
class KeywordBlocklistTable:
    """`[….guardrails.keyword_blocklist]`."""

    enabled: bool | None = None
    mode: Literal["mask", "block"] | None = None
    match: Literal["substring", "word"] | None = None
    words: list[Annotated[str, Length(1, 1000)] | None] | None = None


@frozen(slots=True)
class SecretScannerTable:
    """`[….guardrails.secret_scanner]`."""

    enabled: bool | None = None
    mode: Literal["mask", "block"] | None = None
    types: list[SecretType | None] | None = None


@frozen(slots=True)
class ContentLengthTable:
    """`[….guardrails.content_length]`."""

    enabled: bool | None = None
    min: Characters | None = None
    max: Characters | None = None


@frozen(slots=True)
class ReversibleRedactionTable:
    """`[….guardrails.reversible_redaction]`."""

    enabled: bool | None = None
    types: list[PiiType | None] | None = None
    custom_patterns: list[CustomPatternTable | None] | None = None


@frozen(slots=True)
class OutputPiiFilterTable:
    """`[….guardrails.output.pii_filter]`."""

    enabled: bool | None = None
    mode: OutputMode | None = None
    types: list[PiiType | None] | None = None
    custom_patterns: list[CustomPatternTable | None] | None = None


@frozen(slots=True)
class OutputKeywordBlocklistTable:
    """`[….guardrails.output.keyword_blocklist]`."""

    enabled: bool | None = None
    mode: OutputMode | None = None
    match: Literal["substring", "word"] | None = None
    words: list[Annotated[str, Length(1, 1000)] | None] | None = None


@frozen(slots=True)
class OutputSecretScannerTable:
    """`[….guardrails.output.secret_scanner]`."""

    enabled: bool | None = None
    mode: OutputMode | None = None
    types: list[SecretType | None] | None = None


@frozen(slots=True)
class OutputContentLengthTable:
    """`[….guardrails.output.content_length]`."""

    enabled: bool | None = None
    mode: Literal["block", "flag"] | None = None
    min: Characters | None = None
    max: Characters | None = None


@frozen(slots=True)
class PromptLeakTable:
    """`[….guardrails.output.prompt_leak]`."""

    enabled: bool | None = None
    mode: OutputMode | None = None
    min_words: Annotated[int, Between(1, 1000)] | None = None


@frozen(slots=True)
class WebhookTable:
    """`[….guardrails.webhook]`. A key may be in the URL's query, and `secret` is one."""

    enabled: bool | None = None
    url: Annotated[str, Length(1, 2000)] | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    timeout_ms: Milliseconds | None = None
    on_failure: OnGuardFailure | None = None
    parallel: bool | None = None
    phase: list[GuardPhase | None] | None = None


@frozen(slots=True)
class OutputWebhookTable:
    """`[….guardrails.output.webhook]`."""

    enabled: bool | None = None
    mode: Literal["block", "flag"] | None = None
    url: Annotated[str, Length(1, 2000)] | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    timeout_ms: Milliseconds | None = None
    on_failure: OnGuardFailure | None = None
    parallel: bool | None = None


@frozen(slots=True)
class ModerationTable:
    """`[….guardrails.moderation]`."""

    enabled: bool | None = None
    credential: Name | None = None
    model: Name | None = None
    # As long as an answer's category is shown.
    categories: list[Annotated[str, Length(1, 64)] | None] | None = None
    timeout_ms: Milliseconds | None = None
    on_failure: OnGuardFailure | None = None
    parallel: bool | None = None


@frozen(slots=True)
class OutputModerationTable(ModerationTable):
    """`[….guardrails.output.moderation]`."""

    mode: Literal["block", "flag"] | None = None


@frozen(slots=True)
class OutputGuardrailTables:
    """`[….guardrails.output]`: the rules for answers; each is replaced by a narrower level like those for requests."""

    # 65536: answers of up to 16,000 tokens are held back completely. 0: all is checked at the end alone.
    hold_back_chars: Annotated[int, Between(0, 65_536)] | None = None
    secret_scanner: OutputSecretScannerTable | None = None
    pii_filter: OutputPiiFilterTable | None = None
    keyword_blocklist: OutputKeywordBlocklistTable | None = None
    content_length: OutputContentLengthTable | None = None
    prompt_leak: PromptLeakTable | None = None
    webhook: OutputWebhookTable | None = None
    moderation: OutputModerationTable | None = None


@frozen(slots=True)
class GuardrailTables:
    """One level's guardrails; a narrower level that names one replaces its whole rule."""

    pii_filter: PiiFilterTable | None = None
    prompt_injection: PromptInjectionTable | None = None
    keyword_blocklist: KeywordBlocklistTable | None = None
    content_length: ContentLengthTable | None = None
    secret_scanner: SecretScannerTable | None = None
    reversible_redaction: ReversibleRedactionTable | None = None
    webhook: WebhookTable | None = None
    moderation: ModerationTable | None = None
    output: OutputGuardrailTables | None = None
