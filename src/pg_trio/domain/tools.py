"""Tools that a model may call, independent of the wire. Frozen values."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pg_trio.domain.json_value import Json, JsonObject, json_texts
from pg_trio.domain.native_fields import native_texts
from pg_trio.domain.provider import Wire
from pg_trio.domain.value import value

ChoiceMode: TypeAlias = Literal["auto", "none", "required", "function"]


@value(slots=True)
class ToolCall:
    """A function call that the model requests. `arguments` is the JSON text as the model wrote it, not parsed.

    `signature` must go back to the provider with the call (Google's `thoughtSignature`). Its content is opaque.
    `native`: see domain.content.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None
    native: JsonObject | None = None


@value(slots=True)
class Tool:
    """A function that the model may call. `parameters` is its JSON Schema; None if it takes no parameters.

    `more` has the client's other fields of the function, for OpenAI's wire; `native` those of Anthropic's tool.
    """

    name: str
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None
    more: JsonObject | None = None
    native: JsonObject | None = None

    def texts(self) -> list[str]:
        """Every string, key and number that it says, in no particular order."""
        texts = json_texts([self.name, self.description, self.parameters, self.more])
        return texts if self.native is None else texts + native_texts(self.native)


@value(slots=True)
class ForeignTool:
    """A tool that is not a function (`{"type": "custom", …}`, a provider's built-in). `raw` is the client's object.

    Only the wire in whose terms it is can carry it. A candidate of another wire cannot take the request.
    """

    raw: JsonObject
    wire: Wire = "openai"

    def texts(self) -> list[str]:
        """Every string, key and number that it says, in no particular order."""
        return json_texts(self.raw)


@value(slots=True)
class ToolChoice:
    """Whether the model calls tools: `auto`, `none`, `required`, or the one `function` of that name."""

    mode: ChoiceMode
    name: str | None = None

    def texts(self) -> list[str]:
        """The function's name, if it names one."""
        return [] if self.name is None else [self.name]


@value(slots=True)
class ForeignToolChoice:
    """Any other tool choice (OpenAI's `allowed_tools`). `raw` is the client's object, for the wire that has it."""

    raw: Json
    wire: Wire = "openai"

    def texts(self) -> list[str]:
        """Every string, key and number that it says, in no particular order."""
        return json_texts(self.raw)
