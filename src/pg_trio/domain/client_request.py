"""What clients ask for, and what they get: one name for all kinds."""

from __future__ import annotations

from typing import TypeAlias

from pg_trio.domain.chat import ChatRequest, Reply
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest

ClientRequest: TypeAlias = ChatRequest | EmbeddingRequest
ClientReply: TypeAlias = Reply | EmbeddingReply
