"""The OpenAI wire, `POST /chat/completions`: OpenAI, Mistral, Groq, Together, Ollama, and every server that speaks it.

This file writes requests; `openai_reply` reads whole answers, `openai_stream` streamed ones, `refusal` failures.

Sources, read 2026-11: OpenAI's openapi.yaml (openai/openai-openapi); mistralai/client-ts, docs/models/components;
console.groq.com/docs/api-reference; docs.ollama.com/api/openai-compatibility.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache

import orjson
from attrs import frozen

from pg_trio import __version__
from pg_trio.domain.chat import Json, Message, Prompt, Reply, ToolCall
from pg_trio.domain.project import Candidate
from pg_trio.domain.provider import PROVIDERS, Provider
from pg_trio.domain.upstream import Headers, WireRequest
from pg_trio.providers.openai_reply import read_whole_answer
from pg_trio.providers.openai_stream import OpenAIStreamReader
from pg_trio.providers.refusal import read_refusal
from pg_trio.providers.sse import begins_as_stream

# Endpoints of a configuration, times their candidates, are far fewer. Each entry is about 1 KiB.
ROUTES_KEPT = 4096

_MISTRAL_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")


class OpenAIAdapter:
    """Speaks the OpenAI wire to any provider of it."""

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request for this candidate. Settings that the prompt leaves open are not in its body."""
        route = _route_to(candidate)
        body = _request_body(prompt, candidate.model, route)
        if stream:
            body["stream"] = True
            if asks_usage and route.takes_stream_options:
                body["stream_options"] = {"include_usage": True}
        return WireRequest(
            route.url,
            route.headers,
            orjson.dumps(body),
            allow_private_addresses=candidate.credential.allow_private_addresses,
            is_stream=stream,
        )

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        """Whether the request for a stream's usage may have caused this failure: the server names the field."""
        names_it = b"stream_options" in body or b"include_usage" in body
        return status in (400, 422) and names_it and _route_to(candidate).takes_stream_options

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        """Whether the body is for `open_stream`; None if more bytes are needed. See `providers.Adapter`."""
        if not 200 <= status < 300:
            return False
        begun = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if begun in (b"{", b"["):
            # JSON, regardless of its content type.
            return False
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type in ("text/event-stream", ""):
            return True if begun else None
        return begins_as_stream(start)

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


# ── the request ──────────────────────────────────────────────────────────────────────────────────────────────────────


@frozen(slots=True)
class _Route:
    """The constant part of every request to a candidate."""

    url: str
    headers: Headers
    provider: Provider
    # Only the provider's own address is known to refuse them; another server may send its usage.
    takes_stream_options: bool
    call_id_chars: int | None


@lru_cache(maxsize=ROUTES_KEPT)
def _route_to(candidate: Candidate) -> _Route:
    credential = candidate.credential
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        # Answers are small, so decompression would cost more than it saves; and there is no decompression bomb.
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pg-trio/{__version__}"),
    ]
    if credential.api_key is not None:
        headers.append(("Authorization", f"Bearer {credential.api_key.reveal()}"))
    provider = PROVIDERS[credential.provider]
    is_its_own = credential.base_url == provider.base_url
    return _Route(
        f"{credential.base_url}/chat/completions",
        tuple(headers),
        provider,
        takes_stream_options=provider.asks_for_stream_usage or not is_its_own,
        call_id_chars=provider.call_id_chars if is_its_own else None,
    )


def _request_body(prompt: Prompt, model: str, route: _Route) -> dict[str, Json]:
    provider = route.provider
    body: dict[str, Json] = {
        "model": model,
        "messages": [_message_on_wire(message, route) for message in prompt.messages],
    }
    if provider.marks_partial_answer and prompt.messages[-1].role == "assistant":
        body["messages"][-1]["prefix"] = True
    if prompt.temperature is not None:
        body["temperature"] = prompt.temperature
    if prompt.top_p is not None:
        body["top_p"] = prompt.top_p
    if prompt.max_output_tokens is not None:
        body[provider.output_limit_field] = prompt.max_output_tokens
    if prompt.tools:
        body["tools"] = prompt.tools
    if prompt.tool_choice is not None:
        body["tool_choice"] = prompt.tool_choice
    if prompt.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = prompt.parallel_tool_calls
    if prompt.response_format is not None:
        body["response_format"] = prompt.response_format
    if prompt.reasoning_effort is not None:
        body["reasoning_effort"] = prompt.reasoning_effort
    return body


def _message_on_wire(message: Message, route: _Route) -> dict[str, Json]:
    wire: dict[str, Json] = {"role": message.role}
    if message.content is not None:
        wire["content"] = message.content
    if message.name is not None and (route.provider.names_every_role or message.role == "tool"):
        wire["name"] = message.name
    if message.tool_calls:
        wire["tool_calls"] = [_call_on_wire(call, route) for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = _call_id_on_wire(message.tool_call_id, route)
    return wire


def _call_on_wire(call: ToolCall, route: _Route) -> dict[str, Json]:
    return {
        "id": _call_id_on_wire(call.id, route),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _call_id_on_wire(call_id: str, route: _Route) -> str:
    """The id in the provider's form: the same for a call and its result, also for an id of another provider.

    Mistral answers 400 to any but nine letters and digits ("Tool call id was … but must be a-z, A-Z, 0-9, with a length
    of 9": mistral-common, 2026-11). After a failover, a conversation has another provider's ids. An id that fits is
    sent unchanged, because some hold data that their provider needs again (Google's thought signatures).
    """
    if route.provider.nine_character_call_ids:
        is_fit = _MISTRAL_CALL_ID.fullmatch(call_id) is not None
        return call_id if is_fit else hashlib.sha256(call_id.encode()).hexdigest()[:9]
    longest = route.call_id_chars
    if longest is None or len(call_id) <= longest:
        return call_id
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()}"[:longest]
