"""Adapters: what is asked, to a provider's bytes; a provider's bytes, to what was answered. No I/O.

Rules:
1. An adapter has few steps and no state of a call. One adapter serves every provider of its wire; what differs
   between them is data (`domain.provider`).
2. Whatever a provider sends, an adapter raises nothing but `AttemptFailed`.
3. Nothing is guessed: an answer with a field of the wrong type is no answer, and says where.

A new wire is one module here and one line in `_ADAPTERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.project import Candidate
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.upstream import WireRequest
from pg_trio.providers.openai import OpenAIAdapter


class Adapter(Protocol):
    """One provider's wire, in the order in which its steps are taken."""

    def build_request(self, prompt: Prompt, candidate: Candidate) -> WireRequest:
        """The HTTP request that asks this candidate."""

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A whole answer. Header names are in lower case; `now_s` is Unix seconds, for a `Retry-After` with a date.

        Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense for a 2xx that is no answer.
        """


_ADAPTERS: dict[str, Adapter] = {"openai": OpenAIAdapter()}


def adapter_for(provider: str) -> Adapter:
    """The adapter that speaks this provider's wire. A provider that `PROVIDERS` does not have is a KeyError."""
    return _ADAPTERS[PROVIDERS[provider].wire]
