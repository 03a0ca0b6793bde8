"""The Messages wire, `POST /messages`: Anthropic's own.

Rules of a whole answer:
1. It is a JSON object whose `content` is a list of blocks: text is the answer, `tool_use` blocks are its calls,
   thinking is its reasoning; blocks of other types (server tools, types to come) are left out.
2. It says something: text or calls, unless its stop reason explains why not (`max_tokens`, `refusal`).
3. An object of type `error` is a failure under any status.

Source: Messages API reference, read 2026-11; response types of the `anthropic` package 2.14.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import orjson

from pg_trio import __version__
from pg_trio.domain.chat import FinishReason, Prompt, Reasoning, Reply, Usage
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Candidate
from pg_trio.domain.tools import ToolCall
from pg_trio.domain.upstream import Headers, WireRequest
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.anthropic_fields import find_finish_reason, read_usage
from pg_trio.providers.anthropic_request import why_unfit, write_body
from pg_trio.providers.anthropic_stream import AnthropicStreamReader
from pg_trio.providers.body_kind import is_stream_body
from pg_trio.providers.openai_fields import dump_arguments, read_model, refuse, reply_id
from pg_trio.providers.refusal import mask_for, read_refusal
from pg_trio.providers.said import read_error_message

VERSION = "2023-06-01"
# Endpoints of a configuration, times their candidates, are far fewer. Each entry is about 1 KiB.
ROUTES_KEPT = 4096


class AnthropicAdapter:
    """Speaks the Messages wire; see `providers.Adapter`."""

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """What of the prompt this candidate cannot take; None if it can take all of it."""
        return why_unfit(prompt, candidate.model)

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request that asks this candidate. Its streams have their usage unasked."""
        body = write_body(prompt, candidate.model)
        if stream:
            body["stream"] = True
        return WireRequest(
            f"{candidate.credential.base_url}/messages",
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

    def open_stream(self, candidate: Candidate) -> AnthropicStreamReader:
        """A reader for the body of one streamed answer."""
        return AnthropicStreamReader(candidate)

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A whole answer. Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense (see the rules above)."""
        if not 200 <= status < 300:
            raise read_refusal(status, headers, body, candidate, now_s=now_s)
        answer = _read_object(body, candidate)
        blocks = answer.get("content")
        if type(blocks) is not list:
            refuse("content", blocks, "a list")
        return _read_message(answer, [block for block in blocks if type(block) is dict], candidate)


@lru_cache(maxsize=ROUTES_KEPT)
def _headers_for(candidate: Candidate) -> Headers:
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pg-trio/{__version__}"),
        ("anthropic-version", VERSION),
    ]
    key = candidate.credential.api_key
    if key is not None:
        headers.append(("x-api-key", key.reveal()))
    return tuple(headers)


def _read_object(body: bytes, candidate: Candidate) -> dict[str, Json]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UpstreamNonsense(f"the answer is not JSON: error at character {exc.pos} of {len(body)} bytes") from None
    if type(answer) is not dict:
        refuse("the answer", answer, "an object")
    if answer.get("type") == "error" or answer.get("error"):
        said = read_error_message(answer) or "no message"
        raise UpstreamNonsense(mask_for(candidate, f"an error in an answer with status 200: {said}"))
    return answer


def _read_message(answer: dict[str, Json], blocks: list[dict[str, Json]], candidate: Candidate) -> Reply:
    content = "".join([_read_text(block) for block in blocks if block.get("type") == "text"])
    calls = tuple([_read_call(block) for block in blocks if block.get("type") == "tool_use"])
    reasoning = tuple([_read_reasoning(block) for block in blocks if block.get("type") in _REASONING])
    finish_reason: FinishReason = find_finish_reason(answer.get("stop_reason"), bool(calls))
    if finish_reason == "error":
        raise UpstreamNonsense("the answer ended with an error")
    if not content and not calls and finish_reason not in ("length", "content_filter"):
        raise UpstreamNonsense("content has neither text nor tool calls")
    usage: Usage | None = read_usage(answer.get("usage"))
    return Reply(
        id=reply_id(answer.get("id"), candidate),
        model=read_model(answer.get("model"), candidate),
        content=None if calls and not content else content,
        finish_reason=finish_reason,
        usage=usage,
        tool_calls=calls,
        reasoning="".join([block.text for block in reasoning]) or None,
        reasoning_blocks=tuple([block for block in reasoning if block.signature or block.data]),
    )


_REASONING = frozenset({"thinking", "redacted_thinking"})


def _read_text(block: dict[str, Json]) -> str:
    text = block.get("text")
    return text if type(text) is str else ""


def _read_call(block: dict[str, Json]) -> ToolCall:
    call_id, name, given = block.get("id"), block.get("name"), block.get("input")
    if type(name) is not str or not name:
        refuse("the name of a tool_use block", name, "a string")
    if type(call_id) is not str or not call_id:
        refuse("the id of a tool_use block", call_id, "a string")
    if given is None:
        return ToolCall(call_id, name, "{}")
    if type(given) is str:
        return ToolCall(call_id, name, given)
    if type(given) is not dict:
        refuse("the input of a tool_use block", given, "an object")
    return ToolCall(call_id, name, dump_arguments(given, "the input of a tool_use block"))


def _read_reasoning(block: dict[str, Json]) -> Reasoning:
    text, signature, data = block.get("thinking"), block.get("signature"), block.get("data")
    return Reasoning(
        text if type(text) is str else "",
        signature if type(signature) is str and signature else None,
        data if type(data) is str and data else None,
    )
