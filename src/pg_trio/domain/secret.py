"""Secrets: a value type that hides its text, and masking for text from outside."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import lru_cache

MASK = "[redacted]"

# 500 characters: the contract's limit for a provider's text.
SAID_CHARS = 500

# The scanned part of a text that may be megabytes: four times the limit, because masking and collapsing shorten it.
_SCANNED_CHARS = SAID_CHARS * 4

# Shapes of credentials as their issuers document them. They allow `*`, because providers quote keys with stars.
# Repetitions are possessive (`++`), so matching cannot become quadratic.
_SECRET_SHAPES = re.compile(
    r"(?i:bearer\s++)[\w.~+/=*-]{8,}+"
    r"|pg_(?:live|test)_[\w*-]{4,}+"
    r"|pg_tmp_[\w*-]{4,}+(?:\.[\w*-]{4,}+)?"
    r"|(?:gsk|tgp_v1)_[\w*-]{8,}+"
    r"|\b(?:sk|pk|rk|key|xai|hf)[-_][\w*-]{8,}+"
    r"|AIza[\w-]{16,}+"
    r"|eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+"
    r"|AKIA[0-9A-Z]{12,}+"
)

# The prefixes of credentials that have letters and digits only.
_PLAIN_SHAPES = ("AIza", "AKIA")

# Control characters (C0 and C1), which could change a log or a terminal, and invisible characters, which could hide a
# secret from the patterns. `split` handles white space.
_UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")

# Shorter keys are not realistic, and their encoded forms would match everyday words.
_ENCODED_FROM_CHARS = 8

# 64: the longest client-chosen name, such as an endpoint's slug.
CLIENT_TEXT_CHARS = 64


class Secret:
    """A secret string. `reveal()` returns it; everything else (repr, str, format, pickling) gives a mask.

    `source` names the file whose content it is, where that may change while we run; `previous` is what it was before.
    """

    __slots__ = ("_value",)

    source: str | None = None
    previous: Secret | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """What stays the same while the secret's file changes: the file's name; without a file, the value."""
        return ("value", self._value) if self.source is None else ("file", self.source)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Call it only where the secret is written to the wire."""
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
    # The longest first: if a short secret is a prefix of a long one, masking the short one would leave the tail.
    for secret in sorted(known, key=lambda secret: len(secret.reveal()), reverse=True):
        if secret.reveal():
            said = _forms_of(secret).sub(MASK, said)
    said = _SECRET_SHAPES.sub(MASK, said)
    words = said.split()
    if was_cut and words:
        # The last word may be the start of a secret, cut too short to be recognised.
        words[-1] = "…"
    return _cut(" ".join(words), SAID_CHARS)


def mask_credentials(text: str) -> str:
    """The text, of any length, with a mask for each part that has the shape of a credential."""
    return _SECRET_SHAPES.sub(MASK, text)


def is_harmless(text: str, known: tuple[Secret, ...] | None) -> bool:
    """Whether `mask_secrets` would leave a text of letters and digits unchanged; False without a check for any other
    text, or if the secrets are not given because they may change.

    For frequent values, such as an answer's id: it takes a twentieth of the time of the full search.
    """
    if known is None or not (text.isascii() and text.isalnum()):
        return False
    return not any(map(text.__contains__, _plain_forms_of(known)))


def mask_client_text(text: str, limit: int = CLIENT_TEXT_CHARS) -> str:
    """A client's own text, safe in an answer or a log: credentials masked, on one line, at most `limit` characters.

    Masked before it is cut, because the start of a cut token would be too short to be recognised.
    """
    return _cut(mask_secrets(text), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


@lru_cache(maxsize=1024)
def _plain_forms_of(known: tuple[Secret, ...]) -> tuple[str, ...]:
    """Substrings that a harmless text of letters and digits must not contain: a credential's prefix, a form of these
    secrets."""
    forms = [*_PLAIN_SHAPES]
    for value in filter(None, [secret.reveal() for secret in known]):
        forms.append(value)
        if len(value) >= _ENCODED_FROM_CHARS:
            forms += [base64.b64encode(text.encode()).decode().rstrip("=") for text in (f"Bearer {value}", value)]
    return tuple(forms)


# 1,024: more keys than a configuration has. Beyond that, forms are compiled again each time.
@lru_cache(maxsize=1024)
def _forms_of(secret: Secret) -> re.Pattern[str]:
    """A pattern of every known spelling of the secret, the longest first."""
    value = secret.reveal()
    forms = [_spaced_out([_plain_or_percent(character) for character in value])]
    if len(value) >= _ENCODED_FROM_CHARS:
        for text in (f"Bearer {value}", value):
            encoded = base64.b64encode(text.encode()).decode().rstrip("=")
            forms.append(_spaced_out([_BASE64_TWINS.get(character, character) for character in encoded]) + "=*+")
    return re.compile("|".join(forms))


# The last two digits of base64 in both alphabets (RFC 4648).
_BASE64_TWINS = {"+": "[+-]", "/": "[/_]"}


def _spaced_out(characters: list[str]) -> str:
    # Possessive: white space is never given back, so a text of spaces takes linear time.
    return r"\s*+".join(characters)


def _plain_or_percent(character: str) -> str:
    percent = "".join([f"%{byte:02X}" for byte in character.encode()])
    return f"(?:{re.escape(character)}|(?i:{percent}))"
