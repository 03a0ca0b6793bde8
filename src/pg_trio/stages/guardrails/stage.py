"""The guardrails of every endpoint, compiled when the gateway starts; endpoints with equal rules share a chain."""

from __future__ import annotations

from collections.abc import Iterable

from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.project import Endpoint
from pg_trio.stages.guardrails.chain import Chain, compile_chain


class Guardrails:
    """Applies an endpoint's own guardrails to a request."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._chains: dict[Endpoint, Chain] = {endpoint: compile_chain(endpoint.guardrails) for endpoint in endpoints}

    def apply(self, endpoint: Endpoint, request: ChatRequest) -> ChatRequest:
        """The request, masked where a rule says so. Raises the contract's `Request blocked: …` errors."""
        return self._chains[endpoint].apply(request)
