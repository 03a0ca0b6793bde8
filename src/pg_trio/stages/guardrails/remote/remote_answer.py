"""What every remote check's wire has: how its server is called, and how an answer is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import orjson
from attrs import field, frozen

from pg_trio import __version__
from pg_trio.domain.json_size import MAX_NODES, has_too_many_nodes
from pg_trio.domain.upstream import WireRequest
from pg_trio.stages.guardrails.remote_guard import RemoteCheck, RemoteVerdict

# Of every remote check. Answers are small, so they come uncompressed.
HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json"),
    ("Accept-Encoding", "identity"),
    ("User-Agent", f"pg-trio/{__version__}"),
)


class RemoteCheckFailed(Exception):
    """A remote check has no verdict. The text says why, for the server's own log: it never quotes the answer."""


@frozen(slots=True)
class CallTerms:
    """How a service is called. `carrier` is the transport's name, `limit_s` the rule's own time limit."""

    url: str = field(repr=False)
    carrier: str
    limit_s: float
    on_failure: Literal["closed", "open"]


class RemoteWire(Protocol):
    """One rule in the words of its service, without I/O. `write` and `read` may run in a thread."""

    @property
    def guardrail(self) -> str: ...

    @property
    def terms(self) -> CallTerms: ...

    @property
    def parallel(self) -> bool: ...

    def write(self, asked: RemoteCheck) -> WireRequest:
        """The request of a check."""

    def most_bytes(self, request: WireRequest, asked: RemoteCheck) -> int:
        """The longest answer that is read."""

    def read(self, body: bytes, asked: RemoteCheck) -> RemoteVerdict:
        """The verdict of an answer. Raises GuardrailBlocked, or RemoteCheckFailed."""


def read_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object of an answer. Raises RemoteCheckFailed."""
    return _read_with(orjson.loads, body)


def read_provider_object(body: bytes) -> Mapping[str, Any]:
    """The same, of a provider: they also write a byte order mark, and NaN for a score. Texts of it may have lone
    surrogates."""
    try:
        return _read_with(orjson.loads, body)
    except RemoteCheckFailed:
        return _read_with(_read_odd, body)


def _read_odd(body: bytes) -> object:
    return json.loads(body.decode(json.detect_encoding(body)), strict=False)


def _read_with(read: Callable[[bytes], object], body: bytes) -> Mapping[str, Any]:
    if has_too_many_nodes(body):
        raise RemoteCheckFailed(f"answer has more than {MAX_NODES} objects, lists and keys")
    try:
        answer = read(body)
    except (ValueError, RecursionError):
        raise RemoteCheckFailed("answer is not JSON") from None
    if not isinstance(answer, dict):
        raise RemoteCheckFailed("answer is not a JSON object")
    return answer


def clean(text: str) -> str:
    """A service's text for an error: on one line, without controls, marks of direction and other invisible signs."""
    return " ".join("".join([sign for sign in text if sign.isprintable() or sign.isspace()]).split())


def cut(text: str, limit_chars: int) -> str:
    """At most so many characters of it."""
    return text if len(text) <= limit_chars else f"{text[: limit_chars - 1]}…"
