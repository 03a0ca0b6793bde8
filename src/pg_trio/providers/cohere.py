"""Cohere's own wire, `POST /v2/chat`. cohere_request.py writes requests, cohere_stream.py reads answers.

Source: Cohere API reference, "Chat" (v2), read 2026-11; types of the `cohere` package 7.3.
"""

from __future__ import annotations

import orjson

from pg_trio.domain.chat import Prompt
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import WireRequest
from pg_trio.providers.cohere_request import why_unfit, write_body
from pg_trio.providers.cohere_stream import CohereStreamReader
from pg_trio.providers.native_adapter import NativeAdapter, headers_for


class CohereAdapter(NativeAdapter):
    """Speaks Cohere's wire; see `domain.adapter.Adapter`."""

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """The content of the prompt that this candidate cannot take; None if it can take all."""
        return why_unfit(prompt)

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request to this candidate. Streams always include their usage. Raises: CandidateUnfit."""
        self.check_fit(prompt, candidate)
        body = write_body(prompt, candidate.model)
        body["stream"] = stream
        return WireRequest(
            f"{candidate.credential.base_url}/chat",
            headers_for(candidate),
            orjson.dumps(body),
            allow_private_addresses=candidate.credential.allow_private_addresses,
            is_stream=stream,
        )

    def open_stream(self, candidate: Candidate) -> CohereStreamReader:
        """A reader for the body of one streamed answer."""
        return CohereStreamReader(candidate)
