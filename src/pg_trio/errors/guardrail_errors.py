"""What guardrails refuse."""

from __future__ import annotations

from typing import ClassVar, Literal

from attrs import define, field

from pg_trio.errors.gateway_error import CallerError, Unavailable

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
class GuardrailFailed(Unavailable):
    """A guardrail that another service answers got no usable answer, and its rule says `on_failure = "closed"`."""

    text = "Guardrail unavailable."
    guardrail: str
    phase: Literal["input", "output"] = "input"
