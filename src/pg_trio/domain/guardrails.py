"""The guardrail rules of one endpoint, with the global, project and endpoint levels merged."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

# Beside the labels of the built-in types: 64 × 64 in all when there were six of those.
MAX_CUSTOM_LABELS = 4090


@frozen(slots=True)
class CustomPattern:
    """A configured pattern in RE2's syntax (linear time by construction); masked as `[<label> REDACTED]`."""

    label: str
    pattern: str


@frozen(slots=True)
class PiiFilter:
    """`types` None means the published ones, an empty tuple none."""

    enabled: bool = True
    mode: Literal["mask", "block"] = "mask"
    types: tuple[str, ...] | None = None
    custom_patterns: tuple[CustomPattern, ...] = ()


@frozen(slots=True)
class PromptInjection:
    """Blocks known prompt-injection phrases."""

    enabled: bool = True
    mode: Literal["block"] = "block"


@frozen(slots=True)
class KeywordBlocklist:
    """Blocks case-insensitive substrings; `words` keeps the configured spelling for the answer."""

    enabled: bool = True
    mode: Literal["block"] = "block"
    words: tuple[str, ...] = ()


@frozen(slots=True)
class ContentLength:
    """Characters of all the client's text, inclusive on both ends; None means no bound."""

    enabled: bool = True
    min: int | None = None
    max: int | None = None


@frozen(slots=True)
class GuardrailRules:
    """The four rules in the order they run; None if no level names the guardrail.

    Hashable, so that endpoints with the same rules share one compiled chain.
    """

    pii_filter: PiiFilter | None = None
    prompt_injection: PromptInjection | None = None
    keyword_blocklist: KeywordBlocklist | None = None
    content_length: ContentLength | None = None
