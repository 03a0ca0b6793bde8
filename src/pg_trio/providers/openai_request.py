"""What the OpenAI wire is sent: neutral values to the JSON of `POST /chat/completions`.

Rules:
1. What the prompt leaves open is not in the body: the provider's own default holds.
2. A provider's deviations are data (`domain.provider`); this file reads them and names none.
3. What only another wire can use (signed reasoning blocks) is not sent. Providers that need a call's signature or a
   message's reasoning again get it, also if another provider answered earlier (SKIP_SIGNATURE, NO_REASONING).
4. A budget of thinking has no field. A budget of 0 turns thinking off where a model is known to have a switch.

Source: OpenAI's openapi.yaml, CreateChatCompletionRequest, read 2026-11.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlencode, urlsplit

from attrs import evolve, frozen

from pg_trio import __version__
from pg_trio.domain.chat import Json, Message, Prompt
from pg_trio.domain.content import parts_for_others
from pg_trio.domain.message_json import call_to_json, choice_to_json, part_to_json, tool_to_json
from pg_trio.domain.model_rules import EffortRule
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS, Provider, find_effort_rule, refused_fields
from pg_trio.domain.tools import ToolCall
from pg_trio.domain.upstream import Headers
from pg_trio.providers.google_parts import SKIP_SIGNATURE
from pg_trio.providers.plain_messages import make_plain

# Endpoints of a configuration, times their candidates, are far fewer. Each entry is about 1 KiB.
ROUTES_KEPT = 4096

CHAT = "chat/completions"
# Sent in place of reasoning that the gateway does not have; an empty text is refused (NousResearch/hermes-agent#18263).
NO_REASONING = " "
# Where Google's models answer on this wire. It is the address that counts, because any credential may name it.
_GOOGLE_HOST = ".googleapis.com"

# What the gateway states itself, or leaves out on purpose. A field that a surface does not know may have such a name
# (`messages` in a Responses request), and must not replace the prompt, the ceiling or the tools.
_OWN_FIELDS = frozenset(
    {
        *("model", "messages", "tools", "tool_choice", "functions", "function_call", "stream", "stream_options", "n"),
        *("max_tokens", "max_completion_tokens", "response_format"),
    }
)

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
    efforts: EffortRule | None = None
    returns_signatures: bool = False
    returns_reasoning: bool = False
    # Whether `_complete_messages` has anything to do.
    completes_messages: bool = False
    # Set if `url` and `headers` may change while the gateway runs (see `renewed`).
    changing: Credential | None = None

    def renewed(self) -> RequestRoute:
        """The route with the present contents of the credential's files."""
        credential = self.changing
        if credential is None:
            return self
        return evolve(self, url=url_to(credential, CHAT), headers=_headers_for(credential))


def url_to(credential: Credential, method: str) -> str:
    """The address of a method of this server, with the credential's own query."""
    query = urlencode([(name, secret.reveal()) for name, secret in credential.query])
    return f"{credential.base_url}/{method}{'?' if query else ''}{query}"


def _headers_for(credential: Credential) -> Headers:
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        # Answers are small, so decompression would cost more than it saves; and there is no decompression bomb.
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pg-trio/{__version__}"),
    ]
    if credential.api_key is not None:
        provider = PROVIDERS[credential.provider]
        headers.append((provider.key_header, f"{provider.key_prefix}{credential.api_key.reveal()}"))
    return (*headers, *[(name, secret.reveal()) for name, secret in credential.headers])


@lru_cache(maxsize=ROUTES_KEPT)
def route_to(candidate: Candidate) -> RequestRoute:
    """Where a candidate is, and the headers that it is sent. `renewed` is needed if the route is `changing`."""
    credential = candidate.credential
    provider = PROVIDERS[credential.provider]
    is_its_own = credential.base_url == provider.base_url
    signs = _returns_signatures(candidate)
    pattern = provider.returns_reasoning
    reasons = pattern is not None and pattern.match(candidate.model) is not None
    return RequestRoute(
        url_to(credential, CHAT),
        _headers_for(credential),
        provider,
        refused_fields(provider, candidate.model),
        takes_stream_options=provider.asks_for_stream_usage or not is_its_own,
        call_id_chars=provider.call_id_chars if is_its_own else None,
        output_limit_field=credential.max_tokens_field or provider.output_limit_field,
        efforts=find_effort_rule(provider, candidate.model),
        returns_signatures=signs,
        returns_reasoning=reasons,
        completes_messages=signs or reasons or provider.marks_partial_answer,
        changing=credential if credential.changes else None,
    )


def _returns_signatures(candidate: Candidate) -> bool:
    credential = candidate.credential
    host = urlsplit(credential.base_url).hostname or ""
    is_googles = PROVIDERS[credential.provider].returns_signatures or host.endswith(_GOOGLE_HOST)
    # Vertex also has models of others (`meta/llama-…`), which know no signatures.
    return is_googles and "gemini" in candidate.model


def write_body(prompt: Prompt, model: str, route: RequestRoute) -> dict[str, Json]:
    """The body of the request, without what only a stream has."""
    # What came as blocks of another wire is sent in the plainest form.
    messages = prompt.messages if prompt.native is None else make_plain(prompt.messages)
    body: dict[str, Json] = {"model": model, "messages": _write_messages(messages, route)}
    if route.completes_messages:
        _complete_messages(messages, body["messages"], route)
    if prompt.options is not NO_OPTIONS:
        _write_options(prompt.options, route, body)
    if prompt.tools:
        body["tools"] = [tool_to_json(tool) for tool in prompt.tools]
    # Anthropic takes a choice without tools; OpenAI answers it with a 400.
    if prompt.tool_choice is not None and (prompt.tools or prompt.native is None):
        body["tool_choice"] = choice_to_json(prompt.tool_choice)
    return body


def _write_options(options: Options, route: RequestRoute, body: dict[str, Json]) -> None:
    if options.more is not None:
        left_out = route.refused | _OWN_FIELDS
        body |= {name: given for name, given in options.more.items() if name not in left_out}
    if options.max_output_tokens is not None:
        body[route.output_limit_field] = options.max_output_tokens
    if options.stop and "stop" not in route.refused:
        body["stop"] = list(options.stop)
    if options.response_format is not None:
        body["response_format"] = options.response_format.raw
    for name, given in options.named:
        if name not in route.refused:
            body[name] = given
    if options.reasoning_effort is not None or options.thinking_budget_tokens is not None:
        _write_effort(options, route, body)


def _write_effort(options: Options, route: RequestRoute, body: dict[str, Json]) -> None:
    effort, rule = options.reasoning_effort, route.efforts
    if rule is not None:
        if effort is None and options.thinking_budget_tokens == 0:
            effort = "none"
        if effort == "none" and rule.turns_off:
            body["thinking"] = {"type": "disabled"}
            return
        effort = None if effort is None else rule.word_for(effort)
    if effort is not None:
        body["reasoning_effort"] = effort


def _write_messages(messages: Sequence[Message], route: RequestRoute) -> list[dict[str, Json]]:
    # Most messages are a role and a text.
    return [
        {"role": message.role, "content": message.content}
        if type(message.content) is str
        and message.name is None
        and not message.tool_calls
        and message.tool_call_id is None
        else _write_message(message, route)
        for message in messages
    ]


def _write_message(message: Message, route: RequestRoute) -> dict[str, Json]:
    content = message.content
    wire: dict[str, Json]
    if isinstance(content, str):
        wire = {"role": message.role, "content": content}
    elif content is None:
        wire = {"role": message.role}
    else:
        wire = {"role": message.role, "content": [part_to_json(part) for part in parts_for_others(content)]}
    if message.name is not None and (route.provider.names_every_role or message.role == "tool"):
        wire["name"] = message.name
    if message.tool_calls:
        wire["tool_calls"] = [_write_call(call, route) for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = _write_call_id(message.tool_call_id, route)
    return wire


def _complete_messages(messages: Sequence[Message], written: list[dict[str, Json]], route: RequestRoute) -> None:
    """Add what only some providers need in an assistant's message."""
    for message, wire in zip(messages, written, strict=True):
        if message.role != "assistant":
            continue
        if route.returns_signatures and message.tool_calls:
            _sign(message.tool_calls, wire["tool_calls"])
        if route.returns_reasoning:
            wire["reasoning_content"] = "".join([block.text for block in message.reasoning]) or NO_REASONING
    if route.provider.marks_partial_answer and messages[-1].role == "assistant":
        written[-1]["prefix"] = True


def _write_call(call: ToolCall, route: RequestRoute) -> dict[str, Json]:
    return {**call_to_json(call), "id": _write_call_id(call.id, route)}


def _sign(calls: tuple[ToolCall, ...], written: list[dict[str, Json]]) -> None:
    """Add each call's signature. The first call of a turn needs one; the others have one or none."""
    for number, (call, wire) in enumerate(zip(calls, written, strict=True)):
        signature = call.signature or (SKIP_SIGNATURE if number == 0 else None)
        if signature is not None:
            # Google's page has the first name, its own servers at Vertex the second (earendil-works/pi#6733).
            wire["extra_content"] = {name: {"thought_signature": signature} for name in ("google", "vertex")}


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
