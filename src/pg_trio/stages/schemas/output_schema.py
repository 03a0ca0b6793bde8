"""The stage `output_schema`: an answer's content is JSON and matches the endpoint's schema."""

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
    # How often a model may be asked again because its answer does not match.
    more_rounds: int = 0

    @classmethod
    def compile(cls, schema: JsonObject | bool, *, repairs: bool = False, more_rounds: int = 0) -> OutputSchema:
        """Ready to check answers. Raises: ValueError saying what is wrong with the schema."""
        return cls(compile_schema(schema), repairs, more_rounds)

    def read(self, reply: Reply) -> Reply:
        """The answer, its content checked, and repaired before that where the endpoint says so.

        A content that needs no repair is handed out as it is, byte for byte. Raises OutputInvalid.
        """
        if self._repairs and reply.content is not None:
            repaired = repair_json(reply.content)
            if repaired is not reply.content:
                reply = evolve(reply, content=repaired)
        self.check(reply.content)
        return reply

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
