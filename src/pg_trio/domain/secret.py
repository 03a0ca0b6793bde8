"""Text that must never be shown: a value type that hides itself, and the mask for text that came from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "[redacted]"

# 500 characters: the contract's limit on what a provider said.
SAID_CHARS = 500

# Shapes of credentials as their issuers document them; all are linear (no nested repetition).
_SECRET_SHAPES = re.compile(
    r"(?i:bearer\s+)[\w.~+/=-]{8,}"
    r"|\bpg_(?:live|test)_[\w-]{4,}"
    r"|\b(?:sk|pk|rk|gsk|key|xai|tgp_v1|hf)[-_][\w-]{8,}"
    r"|\bAIza[\w-]{16,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|\bAKIA[0-9A-Z]{12,}"
)


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
    # Four times the limit is enough: masking only shortens what matters, and the input may be megabytes.
    said = said[: SAID_CHARS * 4]
    for secret in known:
        value = secret.reveal()
        if value:
            said = said.replace(value, MASK)
            # A secret cut by the line above must not leave its head behind.
            said = _mask_cut_tail(said, value)
    said = _SECRET_SHAPES.sub(MASK, said)
    said = " ".join(said.split())
    return said if len(said) <= SAID_CHARS else said[: SAID_CHARS - 1] + "…"


def _mask_cut_tail(said: str, value: str) -> str:
    for length in range(min(len(value) - 1, len(said)), 7, -1):
        if said.endswith(value[:length]):
            return said[:-length] + MASK
    return said
