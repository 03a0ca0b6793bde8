"""Collects mistakes with their paths, and reports them in order, without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TypeAlias

import attrs
from attrs import define, field
from cattrs.errors import BaseValidationError, ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from pg_trio.config.bounds import show
from pg_trio.config.headers import where_it_belongs
from pg_trio.domain.secret import MASK, Secret

Path: TypeAlias = tuple[str | int, ...]

# 8 characters: no provider's key is shorter, and masking a shorter text could hide words of the report.
MASKED_SECRET_CHARS = 8

# Other gateways' and servers' names for our settings, if the difference is too large for a suggestion by spelling.
ELSEWHERE = {
    "port": "bind",
    "host": "bind",
    "listen": "bind",
    "fallback": "failover",
    "fallbacks": "failover",
    "timeout": "deadline_ms",
    "timeout_ms": "deadline_ms",
    "stream": "streaming_enabled",
    "streaming": "streaming_enabled",
    "system": "prompt",
    "system_prompt": "prompt",
    "max_tokens": "max_output_tokens",
    "budget": "monthly_budget_usd",
    "rate_limit": "rate_limit_per_minute",
    "rpm": "rate_limit_per_minute",
    "key": "api_key",
    "token": "api_key",
    "url": "base_url",
    "endpoint": "base_url",
    "api_base": "base_url",
    "id": "uuid",
}

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")


@define
class Mistakes:
    """All mistakes in one configuration. `labels` replaces the path of a value that did not come from the file."""

    labels: dict[Path, str] = field(factory=dict)
    secrets: list[Secret] = field(factory=list)
    notes: list[str] = field(factory=list)
    _found: dict[Path, list[str]] = field(factory=dict)

    def add(self, path: Path, text: str) -> None:
        """Add a mistake; the same one at the same place counts once."""
        texts = self._found.setdefault(path, [])
        if text not in texts:
            texts.append(text)

    def has(self, path: Path) -> bool:
        """Whether a mistake was already found at exactly this place."""
        return path in self._found

    def note(self, path: Path, text: str) -> None:
        """Add a note: not a mistake, but worth knowing."""
        self.notes.append(self._mask(f"{self._place(path)}{text}"))

    def lines(self) -> list[str]:
        """One line each, sorted by place; list items by number."""
        places = sorted(self._found, key=_sort_key)
        return [self._mask(f"{self._place(path)}{text}") for path in places for text in self._found[path]]

    def _place(self, path: Path) -> str:
        label = self.labels.get(path) or show_path(path)
        return f"{label}: " if label else ""

    def _mask(self, line: str) -> str:
        """A last protection: the texts above do not quote secrets, but a key that was pasted into a second field would
        be quoted."""
        for secret in self.secrets:
            if len(secret.reveal()) >= MASKED_SECRET_CHARS:
                line = line.replace(secret.reveal(), MASK)
        return line


def _sort_key(path: Path) -> list[tuple[int, str]]:
    return [(step, "") if isinstance(step, int) else (-1, step) for step in path]


def show_path(path: Path) -> str:
    """`projects[0].endpoints[2].temperature`."""
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{show_key(step)}" for step in path)
    return shown.removeprefix(".")


def show_key(key: str) -> str:
    """A key as TOML spells it; a key that needs quotes is quoted, cut and masked."""
    if _BARE_KEY.fullmatch(key) and show(key) == f'"{key}"':
        return key
    return json.dumps(show(" ".join(key.split()))[1:-1], ensure_ascii=False)


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "…"?`, or nothing if no known word is close."""
    # 100 characters: difflib's cost grows with the square of the length, and no setting's name is longer.
    close = get_close_matches(word[:100], list(known), n=1)
    return f"; did you mean {show(close[0])}?" if close else ""


def walk_validation(error: BaseValidationError, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Each mistake of a cattrs error with its path: unknown keys, missing keys, values."""
    if not isinstance(error, ClassValidationError | IterableValidationError):
        raise error
    placed: list[tuple[Exception, str | int]]
    if isinstance(error, ClassValidationError):
        noted, others = error.group_exceptions()
        placed = [(inner, note.name) for inner, note in noted]
    else:
        listed, others = error.group_exceptions()
        placed = [(inner, note.index) for inner, note in listed]
    for inner, step in placed:
        yield from _walk_one(inner, (*path, step))
    for inner in others:
        if not isinstance(inner, ForbiddenExtraKeysError):
            raise inner
        known = [attribute.name for attribute in attrs.fields(inner.cl)]
        for key in sorted(inner.extra_fields):
            yield (*path, key), f"unknown key{_suggest_key(key, known)}"


def _suggest_key(key: str, known: Sequence[str]) -> str:
    meant = ELSEWHERE.get(key.lower())
    if meant in known:
        return f"; did you mean {show(meant)}?"
    return where_it_belongs(key) or suggest(key, known)


def _walk_one(error: Exception, path: Path) -> Iterator[tuple[Path, str]]:
    key = str(path[-1]) if path else ""
    if isinstance(error, BaseValidationError):
        yield from walk_validation(error, path)
    elif isinstance(error, KeyError):
        yield path, "missing" + ("; `uuidgen` makes one" if key == "uuid" else "")
    elif isinstance(error, ValueError):
        said = str(error)
        is_time = key.endswith("_ms") and said.startswith("expected an integer")
        yield path, said + (": whole milliseconds" if is_time else "")
    else:
        raise error
