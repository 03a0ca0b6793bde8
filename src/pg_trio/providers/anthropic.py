"""The Messages wire, `POST /messages`: Anthropic's own.

anthropic_request.py writes requests, anthropic_stream.py reads answers, anthropic_models.py lists what models accept.

Source: Messages API reference, read 2026-11; request and response types of the `anthropic` package 2.14.
"""

from __future__ import annotations

import orjson

from pg_trio.domain.chat import Prompt
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import WireRequest
from pg_trio.providers.anthropic_request import why_unfit, write_body
from pg_trio.providers.anthropic_stream import AnthropicStreamReader
from pg_trio.providers.native import NativeAdapter, headers_for

VERSION = ("anthropic-version", "2023-06-01")


class AnthropicAdapter(NativeAdapter):
    """Speaks the Messages wire; see `domain.adapter.Adapter`."""

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """The content of the prompt that this candidate cannot take; None if it can take all."""
        return why_unfit(prompt, candidate.model)

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request to this candidate. Streams always include their usage. Raises: CandidateUnfit."""
        self.check_fit(prompt, candidate)
        body = write_body(prompt, candidate.model)
        if stream:
            body["stream"] = True
        return WireRequest(
            f"{candidate.credential.base_url}/messages",
            headers_for(candidate, VERSION),
            orjson.dumps(body),
            allow_private_addresses=candidate.credential.allow_private_addresses,
            is_stream=stream,
        )

    def open_stream(self, candidate: Candidate) -> AnthropicStreamReader:
        """A reader for the body of one streamed answer."""
        return AnthropicStreamReader(candidate)
