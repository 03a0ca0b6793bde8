"""The schemas of every endpoint, compiled when the gateway starts; equal schemas share a validator."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from pg_trio.domain.chat import ChatRequest, Reply
from pg_trio.domain.project import Endpoint
from pg_trio.stages.schemas.input_schema import InputSchema
from pg_trio.stages.schemas.output_schema import OutputSchema
from pg_trio.stages.schemas.repair import repair_json


class Schemas:
    """Checks what comes in and what goes out against an endpoint's own schemas, where it has them."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._inputs: dict[Endpoint, InputSchema] = {}
        self._outputs: dict[Endpoint, OutputSchema] = {}
        for endpoint in endpoints:
            if endpoint.input_schema is not None:
                self._inputs[endpoint] = InputSchema.compile(endpoint.input_schema)
            if endpoint.output_schema is not None:
                self._outputs[endpoint] = OutputSchema.compile(endpoint.output_schema)

    def check_input(self, endpoint: Endpoint, request: ChatRequest) -> None:
        """Check the body as it was sent. Raises InputInvalid."""
        if (schema := self._inputs.get(endpoint)) is not None:
            schema.check(request.body)

    def read_output(self, endpoint: Endpoint, reply: Reply) -> Reply:
        """The answer, its content checked as JSON, and repaired before that where the endpoint says so.

        A content that needs no repair is handed out as it is, byte for byte. Raises OutputInvalid.
        """
        schema = self._outputs.get(endpoint)
        if schema is None:
            return reply
        if endpoint.output_repair == "lenient" and reply.content is not None:
            repaired = repair_json(reply.content)
            if repaired is not reply.content:
                reply = evolve(reply, content=repaired)
        schema.check(reply.content)
        return reply
