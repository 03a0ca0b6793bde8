"""Cohere's own wire, `POST /v2/chat`.

Rules of a whole answer:
1. Its message has a list of blocks (text, thinking), or text alone, and perhaps calls. The plan that comes with calls
   is reasoning.
2. It says something: text or calls, unless its finish reason explains why not (MAX_TOKENS). ERROR and TIMEOUT are
   failures.

Source: Cohere API reference, "Chat" (v2), read 2026-11; types of the `cohere` package 7.3.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import lru_cache

import orjson

from pg_trio import __version__
from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Candidate
from pg_trio.domain.tools import ToolCall
from pg_trio.domain.upstream import Headers, WireRequest
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.body_kind import is_stream_body
from pg_trio.providers.cohere_fields import find_finish_reason, read_usage
from pg_trio.providers.cohere_request import why_unfit, write_body
from pg_trio.providers.cohere_stream import CohereStreamReader
from pg_trio.providers.openai_fields import dump_arguments, refuse, reply_id
from pg_trio.providers.refusal import read_refusal

# Endpoints of a configuration, times their candidates, are far fewer. Each entry is about 1 KiB.
ROUTES_KEPT = 4096


class CohereAdapter:
    """Speaks Cohere's wire; see `providers.Adapter`."""

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """What of the prompt this candidate cannot take; None if it can take all of it."""
        return why_unfit(prompt)

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request that asks this candidate. Its streams have their usage unasked."""
        body = write_body(prompt, candidate.model)
        body["stream"] = stream
        return WireRequest(
            f"{candidate.credential.base_url}/chat",
            _headers_for(candidate),
            orjson.dumps(body),
            allow_private_addresses=candidate.credential.allow_private_addresses,
            is_stream=stream,
        )

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        """False: nothing asks for a stream's usage."""
        return False

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        """Whether the body is for `open_stream`; None where more of it must be seen. See `providers.Adapter`."""
        return is_stream_body(status, headers, start)

    def open_stream(self, candidate: Candidate) -> CohereStreamReader:
        """A reader for the body of one streamed answer."""
        return CohereStreamReader(candidate)

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A whole answer. Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense (see the rules above)."""
        if not 200 <= status < 300:
            raise read_refusal(status, headers, body, candidate, now_s=now_s)
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            said = f"the answer is not JSON: error at character {exc.pos} of {len(body)} bytes"
            raise UpstreamNonsense(said) from None
        if type(answer) is not dict:
            refuse("the answer", answer, "an object")
        message = answer.get("message")
        if type(message) is not dict:
            refuse("message", message, "an object")
        return _read_message(answer, message, candidate)


@lru_cache(maxsize=ROUTES_KEPT)
def _headers_for(candidate: Candidate) -> Headers:
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pg-trio/{__version__}"),
    ]
    key = candidate.credential.api_key
    if key is not None:
        headers.append(("Authorization", f"Bearer {key.reveal()}"))
    return tuple(headers)


def _read_message(answer: dict[str, Json], message: dict[str, Json], candidate: Candidate) -> Reply:
    blocks = message.get("content")
    if type(blocks) is str:
        blocks = [{"type": "text", "text": blocks}]
    known = [block for block in blocks if type(block) is dict] if type(blocks) is list else []
    content = "".join([_text(block, "text") for block in known])
    calls = tuple([_read_call(call) for call in message.get("tool_calls") or []])
    reason = find_finish_reason(answer.get("finish_reason"), bool(calls))
    if reason == "error":
        raise UpstreamNonsense("the answer ended with an error")
    if not content and not calls and reason != "length":
        raise UpstreamNonsense("message has neither text nor tool calls")
    return Reply(
        id=reply_id(answer.get("id"), candidate),
        # The wire does not say which model answers.
        model=candidate.model,
        content=None if calls and not content else content,
        finish_reason=reason,
        usage=read_usage(answer.get("usage")),
        tool_calls=calls,
        reasoning="".join([_text(message, "tool_plan"), *[_text(block, "thinking") for block in known]]) or None,
    )


def _text(fields: dict[str, Json], name: str) -> str:
    text = fields.get(name)
    return text if type(text) is str else ""


def _read_call(call: Json) -> ToolCall:
    function = call.get("function") if type(call) is dict else None
    if type(function) is not dict:
        refuse("a tool call's function", function, "an object")
    name, arguments, call_id = function.get("name"), function.get("arguments"), call.get("id")
    if type(name) is not str or not name:
        refuse("a tool call's name", name, "a string")
    if type(arguments) is dict:
        arguments = dump_arguments(arguments, "a tool call's arguments")
    return ToolCall(
        call_id if type(call_id) is str and call_id else f"call_{secrets.token_hex(12)}",
        name,
        arguments if type(arguments) is str else "{}",
    )
