"""What is asked and answered where texts become vectors, whichever wire carries it. Values only."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import field

from pg_trio.domain.chat import Usage
from pg_trio.domain.value import value

# A text, or the tokens that the client has made of it.
EmbeddingInput: TypeAlias = str | tuple[int, ...]
# What the vectors are for, in Cohere's words (v2, "Embed"): models of some providers make others for each.
InputType: TypeAlias = Literal["search_document", "search_query", "classification", "clustering"]
Vector: TypeAlias = tuple[float, ...]


@value(slots=True)
class EmbeddingRequest:
    """Inputs to be made vectors of. `dimensions`: how long a vector shall be; None: as long as the model makes it."""

    inputs: tuple[EmbeddingInput, ...]
    dimensions: int | None = None
    input_type: InputType | None = None

    @property
    def has_tokens(self) -> bool:
        """Whether an input is tokens in place of a text."""
        return any(not isinstance(each, str) for each in self.inputs)

    def characters(self) -> int:
        """Characters of all inputs; a token counts as four, so that estimates count it as one."""
        return sum([len(each) if isinstance(each, str) else 4 * len(each) for each in self.inputs])


@value(slots=True)
class EmbeddingReply:
    """A vector for each input, in the inputs' order, all of the same length. Every number is finite.

    `model` is what the provider says answered, or the model asked for where it says nothing. `usage` is None where it
    sent none; its completion is 0.
    """

    vectors: tuple[Vector, ...] = field(repr=False)
    model: str
    usage: Usage | None = None
