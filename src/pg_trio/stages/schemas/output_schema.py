"""The stage `output_schema`: checks that an answer's content is JSON and matches the endpoint's schema."""

from __future__ import annotations

import orjson
from attrs import evolve, frozen

from pg_trio.domain.chat import JsonObject, Reply
from pg_trio.errors import OutputInvalid
from pg_trio.stages.schemas.compiled import CompiledSchema, compile_schema
from pg_trio.stages.schemas.repair import repair_json


@frozen(slots=True, eq=False)
class OutputSchema:
    """An endpoint's `output_schema`, compiled."""

    _compiled: CompiledSchema
    _repairs: bool = False
    # How many further rounds an answer that does not match may cause.
    more_rounds: int = 0

    @classmethod
    def compile(cls, schema: JsonObject | bool, *, repairs: bool = False, more_rounds: int = 0) -> OutputSchema:
        """Compile the schema. Raises: ValueError, which says what is wrong with it."""
        return cls(compile_schema(schema), repairs, more_rounds)

    def read(self, reply: Reply) -> Reply:
        """The answer with its content checked. If the endpoint allows repairs, the content is repaired first.

        A content that needs no repair stays unchanged, byte for byte. Raises OutputInvalid.
        """
        if self._repairs and reply.content is not None:
            repaired = repair_json(reply.content)
            if repaired is not reply.content:
                reply = evolve(reply, content=repaired)
        self.check(reply.content)
        return reply

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
