"""The stage `input_schema`: checks the request's body, as it was sent, against the endpoint's schema."""

from __future__ import annotations

from attrs import frozen

from pg_trio.domain.chat import JsonObject
from pg_trio.errors import InputInvalid
from pg_trio.stages.schemas.compiled import CompiledSchema, compile_schema


@frozen(slots=True, eq=False)
class InputSchema:
    """An endpoint's `input_schema`, compiled."""

    _compiled: CompiledSchema

    @classmethod
    def compile(cls, schema: JsonObject | bool) -> InputSchema:
        """Compile the schema. Raises: ValueError, which says what is wrong with it."""
        return cls(compile_schema(schema))

    def check(self, body: JsonObject) -> None:
        """Return if the body matches. Raises: InputInvalid with where and why, without client data."""
        failure = self._compiled.find_failure(body)
        if failure is not None:
            raise InputInvalid(failure.where, failure.why)
