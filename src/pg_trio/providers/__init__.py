"""Adapters: what is asked, to a provider's bytes; a provider's bytes, to what was answered. No I/O.

Rules:
1. An adapter has few steps and no state of a call; what a stream has said so far is in its reader. One adapter serves
   every provider of its wire; what differs between them is data (`domain.provider`).
2. An adapter raises only `AttemptFailed`, for every answer of a provider. A reader raises nothing: its failure is the
   last event (`domain.events`).
3. Answers with a clear meaning are read leniently: a field that the gateway does not need is never a reason to refuse.
   A reading that could make a cut or failed answer look good is refused, and the error says where.

A new wire is one module here and one line in `_ADAPTERS`.
"""

from __future__ import annotations

from pg_trio.domain.adapter import Adapter, EmbeddingAdapter
from pg_trio.domain.provider import PROVIDERS
from pg_trio.providers.anthropic import AnthropicAdapter
from pg_trio.providers.cohere import CohereAdapter
from pg_trio.providers.embeddings_cohere import CohereEmbeddings
from pg_trio.providers.embeddings_google import GoogleEmbeddings
from pg_trio.providers.embeddings_openai import OpenAIEmbeddings
from pg_trio.providers.google import GoogleAdapter
from pg_trio.providers.openai import OpenAIAdapter, TaggedAdapter

_ADAPTERS: dict[str, Adapter] = {
    "openai": OpenAIAdapter(),
    "anthropic": AnthropicAdapter(),
    "google": GoogleAdapter(),
    "cohere": CohereAdapter(),
}


_BY_PROVIDER: dict[str, Adapter] = {
    name: _ADAPTERS[row.wire] if row.thinking_tag is None else TaggedAdapter(row.thinking_tag)
    for name, row in PROVIDERS.items()
}


def adapter_for(provider: str) -> Adapter:
    """The adapter that speaks this provider's wire. A provider that `PROVIDERS` does not have is a KeyError."""
    return _BY_PROVIDER[provider]


_EMBEDDINGS: dict[str, EmbeddingAdapter] = {
    "openai": OpenAIEmbeddings(),
    # It has none, and so has no row for them: `why_unfit` says so.
    "anthropic": OpenAIEmbeddings(),
    "google": GoogleEmbeddings(),
    "cohere": CohereEmbeddings(),
}


def embeddings_for(provider: str) -> EmbeddingAdapter:
    """The adapter for this provider's embeddings, also where it has none. One that `PROVIDERS` does not have is a
    KeyError."""
    return _EMBEDDINGS[PROVIDERS[provider].wire]
