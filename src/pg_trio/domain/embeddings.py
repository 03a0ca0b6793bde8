"""Requests and replies of embeddings, independent of the wire. Values only."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import field

from pg_trio.domain.chat import Usage
from pg_trio.domain.value import value

# A text, or a text that the client has turned into tokens.
EmbeddingInput: TypeAlias = str | tuple[int, ...]
# The purpose of the vectors, in Cohere's words (v2, "Embed"). Some models make different vectors for each purpose.
InputType: TypeAlias = Literal["search_document", "search_query", "classification", "clustering"]
Vector: TypeAlias = tuple[float, ...]


@value(slots=True)
class EmbeddingRequest:
    """Inputs to embed. `dimensions` is the length of each vector; None means the model's own length."""

    inputs: tuple[EmbeddingInput, ...]
    dimensions: int | None = None
    input_type: InputType | None = None

    @property
    def has_tokens(self) -> bool:
        """Whether an input is tokens instead of text."""
        return any(not isinstance(each, str) for each in self.inputs)

    def characters(self) -> int:
        """Characters of all inputs. A token counts as four, so that estimates count it as one token."""
        return sum([len(each) if isinstance(each, str) else 4 * len(each) for each in self.inputs])


@value(slots=True)
class EmbeddingReply:
    """A vector for each input, in the inputs' order, all of the same length. Every number is finite.

    `model` is the model that the provider names, else the requested model. `usage` is None if the provider sent none;
    its completion is 0.
    """

    vectors: tuple[Vector, ...] = field(repr=False)
    model: str
    usage: Usage | None = None
