"""Log probabilities of tokens in the shapes of the Responses API, from those of Chat Completions.

A provider's list is read generously: an entry without a token or a number is left out, and what is missing in
an entry is empty.

Source: OpenAI's openapi.yaml, LogProb and ResponseLogProb, read 2026-11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from pg_trio.domain.chat import Json, JsonObject

Logprob: TypeAlias = dict[str, object]

# OpenAI's number for a token that is very unlikely. JSON has no infinity.
_UNLIKELY = -9999.0


def read_logprobs(given: JsonObject | None) -> list[Logprob]:
    """The entries as they are in a message's text."""
    entries = None if given is None else given.get("content")
    return [] if entries is None else _read_list(entries, with_top=True)


def without_bytes(logprobs: Sequence[Logprob]) -> list[Logprob]:
    """The same as they are in a stream's events."""
    return [
        {name: _strip(entry) if name == "top_logprobs" else entry for name, entry in logprob.items() if name != "bytes"}
        for logprob in logprobs
    ]


def _strip(entries: object) -> list[Logprob]:
    assert isinstance(entries, list)
    return [{name: said for name, said in entry.items() if name != "bytes"} for entry in entries]


def _read_list(entries: Json, *, with_top: bool) -> list[Logprob]:
    if not isinstance(entries, list):
        return []
    return [logprob for entry in entries if (logprob := _read_entry(entry, with_top=with_top)) is not None]


def _read_entry(entry: Json, *, with_top: bool) -> Logprob | None:
    if not isinstance(entry, dict):
        return None
    token, logprob, raw = entry.get("token"), entry.get("logprob"), entry.get("bytes")
    if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return None
    read: Logprob = {
        "token": token,
        "bytes": [byte for byte in raw if type(byte) is int] if isinstance(raw, list) else [],
        "logprob": logprob if math.isfinite(logprob) else _UNLIKELY,
    }
    if with_top:
        read["top_logprobs"] = _read_list(entry.get("top_logprobs"), with_top=False)
    return read
