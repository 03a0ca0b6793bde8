"""Text that must never be shown: a value type that hides itself, and the mask for text that came from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "[redacted]"

# 500 characters: the contract's limit on what a provider said.
SAID_CHARS = 500

# What is looked at of a text that may be megabytes: the limit four times over, for masking and collapsing shorten it.
_SCANNED_CHARS = SAID_CHARS * 4

# Shapes of credentials as their issuers document them. `*` belongs to them: providers quote keys half starred out.
# Repetitions are possessive (`++`): they never give back what they took, so none can go quadratic.
_SECRET_SHAPES = re.compile(
    r"(?i:bearer\s++)[\w.~+/=*-]{8,}+"
    r"|pg_(?:live|test)_[\w*-]{4,}+"
    r"|(?:gsk|tgp_v1)_[\w*-]{8,}+"
    r"|\b(?:sk|pk|rk|key|xai|hf)[-_][\w*-]{8,}+"
    r"|AIza[\w-]{16,}+"
    r"|eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+"
    r"|AKIA[0-9A-Z]{12,}+"
)

# Control characters (C0 and C1): in a log or a terminal they could write what they like.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Secret:
    """A secret string: `reveal()` gives it, everything else (repr, str, format, pickling) gives a mask."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; call it where it goes on the wire, nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not pickled")


def mask_secrets(said: str, known: Iterable[Secret] = ()) -> str:
    """`said` with known secrets and anything shaped like a credential masked, on one line, at most 500 characters."""
    was_cut = len(said) > _SCANNED_CHARS
    said = said[:_SCANNED_CHARS]
    # The longest first: masking a secret that another one begins with would leave the other one's tail.
    for value in sorted((secret.reveal() for secret in known), key=len, reverse=True):
        if value:
            said = said.replace(value, MASK)
    said = _SECRET_SHAPES.sub(MASK, said)
    words = _CONTROLS.sub(" ", said).split()
    if was_cut and words:
        # The last word may be the head of a secret that the cut left too short to be known as one.
        words[-1] = "…"
    said = " ".join(words)
    return said if len(said) <= SAID_CHARS else said[: SAID_CHARS - 1] + "…"


def mask_client_text(text: str, limit: int = 64) -> str:
    """A client's own text for an error or a log row: one line, credentials masked, at most `limit` characters."""
    masked = mask_secrets(text[: limit * 4])
    return masked if len(masked) <= limit else masked[: limit - 1] + "…"
