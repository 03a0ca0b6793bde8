"""The schemas of every endpoint, compiled when the gateway starts; equal schemas share a validator."""

from __future__ import annotations

from collections.abc import Iterable

from pg_trio.domain.chat import ChatRequest, Reply
from pg_trio.domain.project import Endpoint
from pg_trio.stages.schemas.input_schema import InputSchema
from pg_trio.stages.schemas.output_schema import OutputSchema


class Schemas:
    """Checks requests and answers against an endpoint's schemas, if it has them."""

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

    def check_output(self, endpoint: Endpoint, reply: Reply) -> None:
        """Check the answer's content as JSON. Raises OutputInvalid."""
        if (schema := self._outputs.get(endpoint)) is not None:
            schema.check(reply.content)
