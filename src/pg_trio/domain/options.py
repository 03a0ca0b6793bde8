"""The options of a request (sampling, limits, shape, effort), independent of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, TypeVar

from attrs import field

from pg_trio.domain.json_value import Json, JsonObject, json_texts
from pg_trio.domain.value import value

# What holds where the client asks for nothing.
_Default = TypeVar("_Default", int, int | None)
# The fields of `Options` that have the same name and value on OpenAI's wire.
SAME_NAMES = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "parallel_tool_calls",
    "user",
)

FormatKind: TypeAlias = Literal["text", "json_object", "json_schema", "other"]


@value(slots=True)
class ResponseFormat:
    """The shape of the answer: free text, any JSON object, or JSON that a schema describes.

    `raw` is the client's own object, which goes unchanged to providers on OpenAI's wire. `other` shapes (vLLM's
    `grammar`, `structural_tag`) go only to these.
    """

    kind: FormatKind
    raw: JsonObject
    name: str | None = None
    schema: JsonObject | None = None
    strict: bool | None = None

    @classmethod
    def of(cls, raw: JsonObject) -> ResponseFormat:
        """The format in OpenAI's object, whose `type` is a string."""
        kind, given = raw["type"], raw.get("json_schema")
        if kind in ("text", "json_object"):
            return cls(kind, raw)
        if kind != "json_schema" or not isinstance(given, dict) or not isinstance(given.get("schema"), dict):
            return cls("other", raw)
        return cls("json_schema", raw, given.get("name"), given["schema"], given.get("strict"))


@value(slots=True)
class Options:
    """The options of one request. If a field is None or empty, the provider's own default applies.

    `reasoning_effort` is OpenAI's word (`none`, `minimal`, `low`, `medium`, `high`, …). `thinking_budget_tokens` is an
    exact budget, if the client gave one. `more` has the client's other fields, by their names on OpenAI's wire. Other
    wires drop them.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    thinking_budget_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None
    more: Mapping[str, Json] | None = None
    # Those of SAME_NAMES that are set: an endpoint's options are made once, and written into each of its requests.
    named: tuple[tuple[str, object], ...] = field(init=False, eq=False, repr=False)

    @named.default
    def _find_named(self) -> tuple[tuple[str, object], ...]:
        each = [(name, getattr(self, name)) for name in SAME_NAMES]
        return tuple([(name, given) for name, given in each if given is not None])

    @property
    def holds_text(self) -> bool:
        """Whether any of it may carry text of a person's."""
        return self.response_format is not None or self.more is not None or bool(self.stop) or self.user is not None

    def texts(self) -> list[str]:
        """Every string, key and number in the fields with text, but for the answer's format."""
        texts = list(self.stop)
        if self.user is not None:
            texts.append(self.user)
        return texts if self.more is None else texts + json_texts(dict(self.more))


NO_OPTIONS = Options()


def limit_answer(asked_tokens: int | None, ceiling_tokens: int | None, otherwise: _Default) -> int | _Default:
    """The most tokens of an answer: what the client asks for, at most the endpoint's ceiling; else `otherwise`."""
    if asked_tokens is None:
        return otherwise
    return asked_tokens if ceiling_tokens is None else min(asked_tokens, ceiling_tokens)
