"""The stage `output_schema`: an answer's content is JSON and matches the endpoint's schema."""

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
        """Ready to check answers. Raises: ValueError saying what is wrong with the schema."""
        return cls(compile_schema(schema))

    def check(self, content: str | None) -> None:
        """Nothing, for content that is JSON and matches; the content itself is what the client then gets, verbatim.

        Raises: OutputInvalid with where and why, free of what the model wrote. JSON is what orjson takes: no NaN, no
        number past a double, no lone surrogate, no fence around it.
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
