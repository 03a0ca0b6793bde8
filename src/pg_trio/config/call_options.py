"""The additions of a credential to its calls on OpenAI's wire: `headers`, `query` and `max_tokens_field`.

A value is text, `env:NAME`, `file:PATH`, or one of those two behind a scheme: `Bearer env:NAME`. It is never shown. A
value of a file changes with the file (`key_file`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

from pg_trio.config.bounds import show
from pg_trio.config.key_file import KeyFile, SchemedKeyFile
from pg_trio.config.mistakes import Mistakes, Path
from pg_trio.config.placeholders import refuse_placeholder
from pg_trio.config.reading import ENV_PREFIX, FILE_PREFIX, Outside, read_secret
from pg_trio.config.tables import CredentialTable
from pg_trio.domain.provider import Provider
from pg_trio.domain.secret import Secret

# More than any provider needs. Every call sends all of them.
MAX_ITEMS = 32
NAME_CHARS = 100
VALUE_CHARS = 8_192
# Shorter values are versions and names, which a provider's error texts may contain for other reasons.
HIDDEN_FROM_CHARS = 8

# RFC 9110, 5.6.2: the characters of a header's name.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~$\[\]-]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]*) +(\S.*)")
# Headers that frame a call or describe its body or answer. Only the gateway sets them.
_OURS = frozenset(
    {"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host"}
    | {"keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-pg-timeout-ms"}
)

Pairs = tuple[tuple[str, Secret], ...]


@frozen(slots=True)
class CallOptions:
    """The additions to every call. `hidden` has the values that must not appear in an error."""

    headers: Pairs = ()
    query: Pairs = ()
    hidden: tuple[Secret, ...] = ()


def resolve_call_options(
    table: CredentialTable, provider: Provider, path: Path, outside: Outside, mistakes: Mistakes
) -> CallOptions:
    """The credential's options. An option with a mistake is left out and reported."""
    if provider.wire != "openai":
        for setting in ("headers", "query", "max_tokens_field"):
            if getattr(table, setting) is not None:
                mistakes.add((*path, setting), f"only for providers of OpenAI's wire, and {provider.name} is none")
        return CallOptions()
    given = table.headers or {}
    _check_names(given, provider, (*path, "headers"), mistakes)
    headers = _read_pairs(given, (*path, "headers"), outside, mistakes)
    query = _read_pairs(table.query or {}, (*path, "query"), outside, mistakes)
    for name in table.query or {}:
        if not _QUERY_NAME.fullmatch(name) or len(name) > NAME_CHARS:
            mistakes.add((*path, "query"), f"{show(name)} is not a parameter's name")
    looked_up = {name for name, value in (table.query or {}).items() if _is_reference(value or "")}
    hidden = [part for _, secret in headers for part in _hidden_parts(secret)]
    hidden += [secret for name, secret in query if name in looked_up]
    mistakes.secrets.extend(hidden)
    return CallOptions(headers, query, tuple(hidden))


def _hidden_parts(secret: Secret) -> list[Secret]:
    """What of a header's value must not appear in an error."""
    if isinstance(secret, SchemedKeyFile):
        return [secret.file]
    value = secret.reveal()
    parts = [secret] if secret.source is not None or len(value) >= HIDDEN_FROM_CHARS else []
    return [*parts, Secret(value.rpartition(" ")[2])] if " " in value else parts


def _check_names(given: Mapping[str, str | None], provider: Provider, path: Path, mistakes: Mistakes) -> None:
    seen: set[str] = set()
    for name in given:
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(name) or len(name) > NAME_CHARS:
            mistakes.add(path, f"{show(name)} is not a header's name")
        elif lower == provider.key_header.lower():
            mistakes.add(path, f"{show(name)} carries the key: use api_key")
        elif lower in _OURS:
            mistakes.add(path, f"{show(name)} is set by pg_trio itself")
        elif lower in seen:
            mistakes.add(path, f"{show(name)} is there twice")
        seen.add(lower)


def _read_pairs(given: Mapping[str, str | None], path: Path, outside: Outside, mistakes: Mistakes) -> Pairs:
    if len(given) > MAX_ITEMS:
        mistakes.add(path, f"{len(given)} are above {MAX_ITEMS}")
        return ()
    pairs = []
    for name, value in given.items():
        if value is None:
            continue
        try:
            pairs.append((name, read_value(value, outside)))
        except ValueError as error:
            mistakes.add((*path, name), str(error))
    return tuple(pairs)


def read_value(text: str, outside: Outside) -> Secret:
    """The value of a configured text. Raises ValueError, which never quotes it."""
    text = text.strip()
    if _is_reference(text):
        return _look_up(text, outside)
    if not text:
        raise ValueError("the value is empty")
    if len(text) > VALUE_CHARS:
        raise ValueError(f"{len(text)} characters are above {VALUE_CHARS}")
    scheme = _SCHEME.fullmatch(text)
    refuse_placeholder(text if scheme is None else scheme[2], "the value")
    # RFC 9110, 5.5, without tabs.
    if not all(" " <= character <= "~" for character in text):
        raise ValueError("the value holds characters that an HTTP header cannot carry")
    return Secret(text)


def _look_up(text: str, outside: Outside) -> Secret:
    scheme = _SCHEME.fullmatch(text)
    reference = text if scheme is None else scheme[2]
    if reference.startswith(FILE_PREFIX):
        file = KeyFile(outside.folder / reference.removeprefix(FILE_PREFIX).strip())
        return file if scheme is None else SchemedKeyFile(scheme[1], file)
    value = read_secret(reference, outside.folder, outside.environ)
    return value if scheme is None else Secret(f"{scheme[1]} {value.reveal()}")


def _is_reference(text: str) -> bool:
    scheme = _SCHEME.fullmatch(text.strip())
    return (text.strip() if scheme is None else scheme[2]).startswith((ENV_PREFIX, FILE_PREFIX))
