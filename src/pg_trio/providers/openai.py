"""The OpenAI wire, `POST /chat/completions`: OpenAI, Mistral, Groq, Together, Ollama, and every server that speaks it.

This file writes requests; `openai_reply` reads whole answers, `openai_stream` streamed ones, `refusal` failures.

Sources, read 2026-11: OpenAI's openapi.yaml (openai/openai-openapi); mistralai/client-ts, docs/models/components;
console.groq.com/docs/api-reference; docs.ollama.com/api/openai-compatibility.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import orjson

from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import WireRequest
from pg_trio.providers.body_kind import is_stream_body
from pg_trio.providers.foreign import find_foreign
from pg_trio.providers.openai_reply import read_whole_answer
from pg_trio.providers.openai_request import route_to, write_body
from pg_trio.providers.openai_stream import OpenAIStreamReader
from pg_trio.providers.refusal import read_refusal
from pg_trio.providers.thinking_tags import TaggedStreamReader, split_reply


class OpenAIAdapter:
    """Speaks the OpenAI wire to any provider of it."""

    carries_all: ClassVar[bool] = True

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """What another wire alone can carry. This wire carries all neutral values, and its servers judge them."""
        return find_foreign(prompt, "openai")

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request for this candidate. Settings that the prompt leaves open are not in its body."""
        route = route_to(candidate)
        body = write_body(prompt, candidate.model, route)
        if stream:
            body["stream"] = True
            if asks_usage and route.takes_stream_options:
                body["stream_options"] = {"include_usage": True}
        if route.changing is not None:
            route = route.renewed()
        is_private = candidate.credential.allow_private_addresses
        # By position, because keyword arguments take three times as long.
        return WireRequest(route.url, route.headers, orjson.dumps(body), "POST", is_private, stream)

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        """Whether the request for a stream's usage may have caused this failure: the server names the field."""
        names_it = b"stream_options" in body or b"include_usage" in body
        return status in (400, 422) and names_it and route_to(candidate).takes_stream_options

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        """Whether the body is for `open_stream`; None if more bytes are needed. See `domain.adapter.Adapter`."""
        return is_stream_body(status, headers, start)

    def open_stream(self, candidate: Candidate) -> OpenAIStreamReader:
        """A reader for the body of one streamed answer."""
        return OpenAIStreamReader(candidate)

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A whole answer. Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense (see `openai_reply`)."""
        if not 200 <= status < 300:
            raise read_refusal(status, headers, body, candidate, now_s=now_s)
        return read_whole_answer(headers, body, candidate)


class TaggedAdapter(OpenAIAdapter):
    """The same for providers whose models may reason in their text (`thinking_tag`)."""

    def __init__(self, tag: str) -> None:
        self._tag = tag

    def open_stream(self, candidate: Candidate) -> OpenAIStreamReader:
        """A reader for the body of one streamed answer."""
        return TaggedStreamReader(candidate, self._tag)

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A whole answer, its reasoning apart from its text; see `OpenAIAdapter`."""
        return split_reply(super().read_reply(status, headers, body, candidate, now_s=now_s), self._tag)
