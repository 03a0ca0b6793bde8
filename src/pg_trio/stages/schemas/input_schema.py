"""The stage `input_schema`: the request's body, as it was sent, matches the endpoint's schema."""

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
        """Ready to check bodies. Raises: ValueError saying what is wrong with the schema."""
        return cls(compile_schema(schema))

    def check(self, body: JsonObject) -> None:
        """Nothing, for a body that matches. Raises: InputInvalid with where and why, free of client data."""
        failure = self._compiled.find_failure(body)
        if failure is not None:
            raise InputInvalid(failure.where, failure.why)
