"""The wires of the simulator: how each writes answers. Pure.

To add a wire, add a module, a line in `WIRES`, and its paths in `wire_routes.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from pg_trio.domain.json_value import Json
from pg_trio.simulator.chat_call import RefusedCall
from pg_trio.simulator.chat_completion import Completion
from pg_trio.simulator.wires.anthropic import AnthropicWire
from pg_trio.simulator.wires.cohere import CohereWire
from pg_trio.simulator.wires.embedding_answers import CohereEmbeddingsWire, GoogleEmbeddingsWire, OpenAIEmbeddingsWire
from pg_trio.simulator.wires.google import GoogleWire
from pg_trio.simulator.wires.openai import OpenAIWire


class Wire(Protocol):
    """The form of an answer on one wire. Bytes are complete events of a stream."""

    @property
    def done(self) -> bytes:
        """The end marker of a good stream, after the closing events; empty if the wire has none."""

    def error_object(self, refusal: RefusedCall) -> dict[str, Json]:
        """The body of a failure."""

    def error_event(self, refusal: RefusedCall) -> bytes:
        """A failure inside a stream."""

    def plain_object(self, completion: Completion) -> dict[str, Json]:
        """The answer in one body."""

    def hollow_object(self, completion: Completion) -> dict[str, Json]:
        """An answer without the field that holds the model's text."""

    def hollow_event(self, completion: Completion) -> bytes:
        """An event without content."""

    def opening_event(self, completion: Completion) -> bytes:
        """The first event of a stream, before any token. It may be empty."""

    def reasoning_events(self, completion: Completion) -> Iterator[bytes]:
        """One event for each delta of reasoning."""

    def token_events(self, completion: Completion) -> Iterator[bytes]:
        """One event for each token."""

    def closing_events(self, completion: Completion, *, include_usage: bool) -> bytes:
        """The finish reason and the usage, without `done`."""


WIRES: Mapping[str, Wire] = MappingProxyType(
    {
        "openai": OpenAIWire(),
        "anthropic": AnthropicWire(),
        "google": GoogleWire(),
        "cohere": CohereWire(),
        "openai_embeddings": OpenAIEmbeddingsWire(),
        "google_embeddings": GoogleEmbeddingsWire(),
        "cohere_embeddings": CohereEmbeddingsWire(),
    }
)
