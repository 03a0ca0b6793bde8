"""The Messages wire, `POST /messages`: Anthropic's own.

anthropic_request.py writes requests, anthropic_native.py those that came in this wire's own dialect.
anthropic_stream.py reads answers, anthropic_models.py lists what models accept.

Source: Messages API reference, read 2026-11; request and response types of the `anthropic` package 2.14.
"""

from __future__ import annotations

import orjson

from pg_trio.domain.chat import Prompt
from pg_trio.domain.native_fields import NativeRequest
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import Headers, WireRequest
from pg_trio.providers.anthropic_native import why_native_unfit, write_native_body
from pg_trio.providers.anthropic_request import why_unfit, write_body
from pg_trio.providers.anthropic_stream import AnthropicStreamReader
from pg_trio.providers.foreign import find_foreign
from pg_trio.providers.native_adapter import NativeAdapter, headers_for

VERSION = ("anthropic-version", "2023-06-01")


def _find_native(prompt: Prompt) -> NativeRequest | None:
    native = prompt.native
    return native if native is not None and native.wire == "anthropic" else None


def _with_own(headers: Headers, native: NativeRequest) -> Headers:
    """The headers with those of the client's in place of ours of the same names."""
    names = {name for name, _ in native.headers}
    return (*[(name, given) for name, given in headers if name not in names], *native.headers)


class AnthropicAdapter(NativeAdapter):
    """Speaks the Messages wire; see `domain.adapter.Adapter`."""

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """The content of the prompt that this candidate cannot take; None if it can take all."""
        if (foreign := find_foreign(prompt, "anthropic")) is not None:
            return foreign
        return why_unfit(prompt, candidate.model) if _find_native(prompt) is None else why_native_unfit(prompt)

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request to this candidate. Streams always include their usage. Raises: CandidateUnfit."""
        self.check_fit(prompt, candidate)
        native, headers = _find_native(prompt), headers_for(candidate, VERSION)
        if native is None:
            body = write_body(prompt, candidate.model)
        else:
            body = write_native_body(prompt, native, candidate.model)
            headers = _with_own(headers, native)
        if stream:
            body["stream"] = True
        return WireRequest(
            f"{candidate.credential.base_url}/messages",
            headers,
            orjson.dumps(body),
            allow_private_addresses=candidate.credential.allow_private_addresses,
            is_stream=stream,
        )

    def open_stream(self, candidate: Candidate) -> AnthropicStreamReader:
        """A reader for the body of one streamed answer."""
        return AnthropicStreamReader(candidate)
