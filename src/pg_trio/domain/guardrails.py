"""The guardrail rules of one endpoint, with the global, project and endpoint levels merged."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen

PiiType: TypeAlias = Literal[
    "email", "ip_address", "iban", "credit_card", "ssn_us", "phone_us", "phone_de", "phone_generic"
]

# 64 × 64: what two continuation bytes of UTF-8 can number (stages/guardrails/pii.py).
MAX_LABELS = 4096
# The contract's labels, in the order of the checks.
PII_LABELS: dict[str, str] = {
    "email": "E-Mail",
    "ip_address": "IP address",
    "iban": "IBAN",
    "credit_card": "Credit card",
    "ssn_us": "SSN",
    "phone_us": "Phone number",
    "phone_de": "Phone number",
    "phone_generic": "Phone number",
}


@frozen(slots=True)
class CustomPattern:
    """A configured pattern in RE2's syntax (linear time by construction); masked as `[<label> REDACTED]`."""

    label: str
    pattern: str


@frozen(slots=True)
class PiiFilter:
    """`types` None means all of them, an empty tuple none."""

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
