"""Requests and replies of embeddings, independent of the wire. Values only.

Rules:
1. A vector is an array, not a tuple of floats: 8 bytes a number as JSON has them (`d`), 4 as base64 has them (`f`). A
   tuple takes 32, and a large answer has millions of numbers.
2. Every number of a vector fits a finite 32-bit float, so that it can be written as base64.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import ClassVar, Final, Literal, TypeAlias

from attrs import evolve, field

from pg_trio.domain.chat import Message, Usage
from pg_trio.domain.json_value import JsonObject, json_texts
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.domain.value import value

# A text, or a text that the client has turned into tokens.
EmbeddingInput: TypeAlias = str | tuple[int, ...]
# The purpose of the vectors, in Cohere's words (v2, "Embed"). Some models make different vectors for each purpose.
InputType: TypeAlias = Literal["search_document", "search_query", "classification", "clustering"]
INPUT_TYPES: tuple[InputType, ...] = ("search_document", "search_query", "classification", "clustering")
Vector: TypeAlias = "array[float]"

# What a candidate may be unable to take, in adapters' words: all of it, or inputs as tokens.
UNFIT_FOR_EMBEDDINGS: Final = "embeddings"
UNFIT_FOR_TOKENS: Final = "inputs as tokens"

_NO_BODY: JsonObject = MappingProxyType({})


@value(slots=True)
class EmbeddingRequest:
    """Inputs to embed. `dimensions` is the length of each vector; None means the model's own length.

    `user` is the client's id of its own user. `in_base64` says how the client reads vectors; a provider may send them
    otherwise. `model`, `body` and `unknown`: see ChatRequest.
    """

    inputs: tuple[EmbeddingInput, ...]
    dimensions: int | None = None
    input_type: InputType | None = None
    user: str | None = None
    in_base64: bool = False
    model: str | None = None
    body: JsonObject = field(default=_NO_BODY, repr=False, eq=False)
    unknown: JsonObject | None = None

    # What a chat has besides, and embeddings have not.
    messages: ClassVar[tuple[Message, ...]] = ()
    endpoint: ClassVar[str | None] = None
    stream: ClassVar[bool] = False
    options: ClassVar[Options] = NO_OPTIONS
    plain_text: ClassVar[str | None] = None

    @property
    def has_tokens(self) -> bool:
        """Whether an input is tokens instead of text."""
        return any(not isinstance(each, str) for each in self.inputs)

    def characters(self) -> int:
        """Characters of all that a provider receives. A token counts as four, so that estimates count it as one."""
        tokens = sum([len(each) for each in self.inputs if not isinstance(each, str)])
        return sum(map(len, self.texts())) + 4 * tokens

    def texts(self) -> list[str]:
        """Every piece of free text that a provider receives: the inputs that are texts, then the other fields."""
        texts = [each for each in self.inputs if isinstance(each, str)]
        if self.user is not None:
            texts.append(self.user)
        return texts if self.unknown is None else texts + json_texts(self.unknown)

    def text(self) -> str:
        """All of `texts` joined with newlines, for the guardrails."""
        return "\n".join(self.texts())

    def split(self, most_inputs: int) -> Iterator[EmbeddingRequest]:
        """The request in parts of so many inputs, for a provider that takes no more at once."""
        if len(self.inputs) <= most_inputs:
            yield self
            return
        for start in range(0, len(self.inputs), most_inputs):
            yield evolve(self, inputs=self.inputs[start : start + most_inputs])


@value(slots=True)
class EmbeddingReply:
    """A vector for each input, in the inputs' order, all of the same length.

    `model` is the model that the provider names, else the requested model. `usage` is None if the provider sent none;
    its completion is 0.
    """

    vectors: tuple[Vector, ...] = field(repr=False)
    model: str
    usage: Usage | None = None

    @property
    def dimensions(self) -> int:
        """The length of each vector."""
        return len(self.vectors[0])

    def size_bytes(self) -> int:
        """Bytes that the vectors take in memory."""
        return sum([vector.itemsize * len(vector) for vector in self.vectors])


def join_replies(replies: Sequence[EmbeddingReply]) -> EmbeddingReply:
    """The replies to the parts of one request, as the reply to all of it. Their vectors must have one length."""
    if len(replies) == 1:
        return replies[0]
    usage: Usage | None = Usage(0, 0)
    for reply in replies:
        usage = None if usage is None or reply.usage is None else usage.plus(reply.usage)
    vectors = tuple([vector for reply in replies for vector in reply.vectors])
    return EmbeddingReply(vectors, replies[0].model, usage)
