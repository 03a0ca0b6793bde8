"""What the OpenAI wire is sent: neutral values to the JSON of `POST /chat/completions`.

Rules:
1. What the prompt leaves open is not in the body: the provider's own default holds.
2. A provider's deviations are data (`domain.provider`); this file reads them and names none.
3. What only another wire can use (signed reasoning blocks) is not sent.

Source: OpenAI's openapi.yaml, CreateChatCompletionRequest, read 2026-11.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from urllib.parse import urlencode

from attrs import frozen

from pg_trio import __version__
from pg_trio.domain.chat import Json, Message, Prompt
from pg_trio.domain.message_json import call_to_json, choice_to_json, part_to_json, tool_to_json
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.domain.project import Candidate
from pg_trio.domain.provider import PROVIDERS, Provider, refused_fields
from pg_trio.domain.secret import Secret
from pg_trio.domain.tools import ToolCall
from pg_trio.domain.upstream import Headers

# Endpoints of a configuration, times their candidates, are far fewer. Each entry is about 1 KiB.
ROUTES_KEPT = 4096

_MISTRAL_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")


@frozen(slots=True)
class RequestRoute:
    """The constant part of every request to a candidate."""

    url: str
    headers: Headers
    provider: Provider
    refused: frozenset[str]
    # Only the provider's own address is known to refuse them; another server may send its usage.
    takes_stream_options: bool = True
    call_id_chars: int | None = None
    output_limit_field: str = "max_tokens"
    # Not among `headers` where it may change while we run.
    changing_key: Secret | None = None

    def all_headers(self) -> Headers:
        """The headers of a request that is sent now."""
        if self.changing_key is None:
            return self.headers
        provider = self.provider
        return (*self.headers, (provider.key_header, f"{provider.key_prefix}{self.changing_key.reveal()}"))


@lru_cache(maxsize=ROUTES_KEPT)
def route_to(candidate: Candidate) -> RequestRoute:
    """Where a candidate is, and the headers that it is sent."""
    credential = candidate.credential
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        # Answers are small, so decompression would cost more than it saves; and there is no decompression bomb.
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pg-trio/{__version__}"),
    ]
    provider = PROVIDERS[credential.provider]
    key = credential.api_key
    if key is not None and key.source is None:
        headers.append((provider.key_header, f"{provider.key_prefix}{key.reveal()}"))
    headers += [(name, secret.reveal()) for name, secret in credential.headers]
    query = urlencode([(name, secret.reveal()) for name, secret in credential.query])
    is_its_own = credential.base_url == provider.base_url
    return RequestRoute(
        f"{credential.base_url}/chat/completions{'?' if query else ''}{query}",
        tuple(headers),
        provider,
        refused_fields(provider, candidate.model),
        takes_stream_options=provider.asks_for_stream_usage or not is_its_own,
        call_id_chars=provider.call_id_chars if is_its_own else None,
        output_limit_field=credential.max_tokens_field or provider.output_limit_field,
        changing_key=key if key is not None and key.source is not None else None,
    )


def write_body(prompt: Prompt, model: str, route: RequestRoute) -> dict[str, Json]:
    """The body of the request, without what only a stream has."""
    provider = route.provider
    body: dict[str, Json] = {
        "model": model,
        "messages": [_write_message(message, route) for message in prompt.messages],
    }
    if provider.marks_partial_answer and prompt.messages[-1].role == "assistant":
        body["messages"][-1]["prefix"] = True
    if prompt.options is not NO_OPTIONS:
        _write_options(prompt.options, route, body)
    if prompt.tools:
        body["tools"] = [tool_to_json(tool) for tool in prompt.tools]
    if prompt.tool_choice is not None:
        body["tool_choice"] = choice_to_json(prompt.tool_choice)
    return body


def _write_options(options: Options, route: RequestRoute, body: dict[str, Json]) -> None:
    if options.more is not None:
        body |= {name: given for name, given in options.more.items() if name not in route.refused}
    if options.max_output_tokens is not None:
        body[route.output_limit_field] = options.max_output_tokens
    if options.stop and "stop" not in route.refused:
        body["stop"] = list(options.stop)
    if options.response_format is not None:
        body["response_format"] = options.response_format.raw
    for name, given in options.named:
        if name not in route.refused:
            body[name] = given


def _write_message(message: Message, route: RequestRoute) -> dict[str, Json]:
    content = message.content
    wire: dict[str, Json] = {"role": message.role}
    if isinstance(content, str):
        wire["content"] = content
    elif content is not None:
        wire["content"] = [part_to_json(part) for part in content]
    if message.name is not None and (route.provider.names_every_role or message.role == "tool"):
        wire["name"] = message.name
    if message.tool_calls:
        wire["tool_calls"] = [_write_call(call, route) for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = _write_call_id(message.tool_call_id, route)
    return wire


def _write_call(call: ToolCall, route: RequestRoute) -> dict[str, Json]:
    return {**call_to_json(call), "id": _write_call_id(call.id, route)}


def _write_call_id(call_id: str, route: RequestRoute) -> str:
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
