"""The options of a request (sampling, limits, shape, effort), independent of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from attrs import field

from pg_trio.domain.json_value import JsonObject
from pg_trio.domain.value import value

# The fields of `Options` that have the same name and value on OpenAI's wire.
SAME_NAMES = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "reasoning_effort",
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
    more: Mapping[str, object] | None = None
    # Those of SAME_NAMES that are set: an endpoint's options are made once, and written into each of its requests.
    named: tuple[tuple[str, object], ...] = field(init=False, eq=False, repr=False)

    @named.default
    def _find_named(self) -> tuple[tuple[str, object], ...]:
        each = [(name, getattr(self, name)) for name in SAME_NAMES]
        return tuple([(name, given) for name, given in each if given is not None])


NO_OPTIONS = Options()
