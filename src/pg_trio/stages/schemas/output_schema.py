"""The stage `output_schema`: checks that an answer's content is JSON and matches the endpoint's schema."""

from __future__ import annotations

import orjson
from attrs import frozen

from pg_trio.domain.chat import JsonObject
from pg_trio.errors import OutputInvalid
from pg_trio.stages.schemas.compiled import CompiledSchema, compile_schema


@frozen(slots=True, eq=False)
class OutputSchema:
    """An endpoint's `output_schema`, compiled."""

    _compiled: CompiledSchema

    @classmethod
    def compile(cls, schema: JsonObject | bool) -> OutputSchema:
        """Compile the schema. Raises: ValueError, which says what is wrong with it."""
        return cls(compile_schema(schema))

    def check(self, content: str | None) -> None:
        """Return if the content is JSON and matches. The client then gets the content unchanged.

        Raises: OutputInvalid with where and why, without the model's text. JSON is what orjson accepts: no NaN, no
        number beyond a double, no lone surrogate, no code fence.
        """
        if content is None:
            raise OutputInvalid("$", "content is not valid JSON: there is no content")
        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise OutputInvalid("$", f"content is not valid JSON: {error}") from None
        failure = self._compiled.find_failure(value)
        if failure is not None:
            raise OutputInvalid(failure.where, failure.why)
