"""Text that must never be shown: a value type that hides itself, and the mask for text that came from outside."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import lru_cache

MASK = "[redacted]"

# 500 characters: the contract's limit on what a provider said.
SAID_CHARS = 500

# What is looked at of a text that may be megabytes: the limit four times over, for masking and collapsing shorten it.
_SCANNED_CHARS = SAID_CHARS * 4

# Shapes of credentials as their issuers document them. `*` belongs to them: providers quote keys half starred out.
# Repetitions are possessive (`++`): they never give back what they took, so none can go quadratic.
_SECRET_SHAPES = re.compile(
    r"(?i:bearer\s++)[\w.~+/=*-]{8,}+"
    r"|pg_(?:live|test|tmp)_[\w*-]{4,}+"
    r"|(?:gsk|tgp_v1)_[\w*-]{8,}+"
    r"|\b(?:sk|pk|rk|key|xai|hf)[-_][\w*-]{8,}+"
    r"|AIza[\w-]{16,}+"
    r"|eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+"
    r"|AKIA[0-9A-Z]{12,}+"
)

# How those begin that are letters and digits alone.
_PLAIN_SHAPES = ("AIza", "AKIA")

# Control characters (C0 and C1), which in a log or a terminal could write what they like, and invisible ones, which cut
# a secret in two for everyone but its reader. White space is left to `split`.
_UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")

# Shorter keys are none worth the name, and their encoded forms would be found in everyday words.
_ENCODED_FROM_CHARS = 8

# 64: a client's name for something of ours, such as an endpoint's slug, has at most as many.
CLIENT_TEXT_CHARS = 64


class Secret:
    """A secret string: `reveal()` gives it, everything else (repr, str, format, pickling) gives a mask.

    `source` names the file whose content it is, where that may change while we run; `previous` is what it was before.
    """

    __slots__ = ("_value",)

    source: str | None = None
    previous: Secret | None = None

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
    """`said` with known secrets and anything shaped like a credential masked, on one line, at most 500 characters.

    A known secret is also found with white space between its characters, percent-encoded, and in base64 (alone, or
    after `Bearer `).
    """
    was_cut = len(said) > _SCANNED_CHARS
    said = _UNSEEN.sub("", said[:_SCANNED_CHARS])
    # The longest first: masking a secret that another one begins with would leave the other one's tail.
    for secret in sorted(known, key=lambda secret: len(secret.reveal()), reverse=True):
        if secret.reveal():
            said = _forms_of(secret).sub(MASK, said)
    said = _SECRET_SHAPES.sub(MASK, said)
    words = said.split()
    if was_cut and words:
        # The last word may be the head of a secret that the cut left too short to be known as one.
        words[-1] = "…"
    return _cut(" ".join(words), SAID_CHARS)


def mask_credentials(text: str) -> str:
    """The text as it is, of any length, but with a mask for each part that has the shape of a credential."""
    return _SECRET_SHAPES.sub(MASK, text)


def is_harmless(text: str, known: Secret | None) -> bool:
    """Whether `mask_secrets` would leave a text of letters and digits as it is; False for any other text, unlooked at.

    For what every answer has, such as its id: a twentieth of what looking for every shape takes.
    """
    if not (text.isascii() and text.isalnum()):
        return False
    # `all` with a generator takes three times as long.
    for shape in _PLAIN_SHAPES if known is None else _plain_forms_of(known):  # noqa: SIM110
        if shape in text:
            return False
    return True


def mask_client_text(text: str, limit: int = CLIENT_TEXT_CHARS) -> str:
    """A client's own text, safe in an answer or a log: credentials masked, on one line, at most `limit` characters.

    Masked before it is cut: the head of a token that a cut leaves would be too short to be known as one.
    """
    return _cut(mask_secrets(text), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


@lru_cache(maxsize=1024)
def _plain_forms_of(secret: Secret) -> tuple[str, ...]:
    """What no text of letters and digits may have in it: a credential's beginning, a form of this secret."""
    value = secret.reveal()
    if not value:
        return _PLAIN_SHAPES
    forms = [*_PLAIN_SHAPES, value]
    if len(value) >= _ENCODED_FROM_CHARS:
        forms += [base64.b64encode(text.encode()).decode().rstrip("=") for text in (f"Bearer {value}", value)]
    return tuple(forms)


# 1,024: more keys than a configuration has; one more compiles its forms again each time.
@lru_cache(maxsize=1024)
def _forms_of(secret: Secret) -> re.Pattern[str]:
    """Every way to write the secret that is looked for, the longest first."""
    value = secret.reveal()
    forms = [_spaced_out([_plain_or_percent(character) for character in value])]
    if len(value) >= _ENCODED_FROM_CHARS:
        for text in (f"Bearer {value}", value):
            encoded = base64.b64encode(text.encode()).decode().rstrip("=")
            forms.append(_spaced_out([_BASE64_TWINS.get(character, character) for character in encoded]) + "=*+")
    return re.compile("|".join(forms))


# The last two digits of base64, as either of its alphabets writes them (RFC 4648).
_BASE64_TWINS = {"+": "[+-]", "/": "[/_]"}


def _spaced_out(characters: list[str]) -> str:
    # Possessive: no white space is ever given back, so a text of nothing but spaces costs no more than its length.
    return r"\s*+".join(characters)


def _plain_or_percent(character: str) -> str:
    percent = "".join([f"%{byte:02X}" for byte in character.encode()])
    return f"(?:{re.escape(character)}|(?i:{percent}))"
