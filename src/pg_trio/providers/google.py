"""Google's own wire: `POST /models/{model}:generateContent`, streamed `:streamGenerateContent?alt=sse`.

The key goes in a header, never in the address, where logs would keep it. Rules of answers: google_stream.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

import orjson

from pg_trio import __version__
from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import Headers, WireRequest
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.body_kind import is_stream_body
from pg_trio.providers.google_request import why_unfit, write_body
from pg_trio.providers.google_stream import (
    GoogleStreamReader,
    find_finish_reason,
    first_candidate,
    is_blocked,
    parts_of,
    read_call,
    read_usage,
)
from pg_trio.providers.openai_fields import read_model, refuse, reply_id
from pg_trio.providers.refusal import mask_for, read_refusal
from pg_trio.providers.said import read_error_message

# Endpoints of a configuration, times their candidates, are far fewer. Each entry is about 1 KiB.
ROUTES_KEPT = 4096


class GoogleAdapter:
    """Speaks Google's wire; see `providers.Adapter`."""

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """What of the prompt this candidate cannot take; None if it can take all of it."""
        return why_unfit(prompt)

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request that asks this candidate. Its streams have their usage unasked."""
        url, headers = _route_to(candidate)
        return WireRequest(
            f"{url}:streamGenerateContent?alt=sse" if stream else f"{url}:generateContent",
            headers,
            orjson.dumps(write_body(prompt, candidate.model)),
            allow_private_addresses=candidate.credential.allow_private_addresses,
            is_stream=stream,
        )

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        """False: nothing asks for a stream's usage."""
        return False

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        """Whether the body is for `open_stream`; None where more of it must be seen. See `providers.Adapter`."""
        return is_stream_body(status, headers, start)

    def open_stream(self, candidate: Candidate) -> GoogleStreamReader:
        """A reader for the body of one streamed answer."""
        return GoogleStreamReader(candidate)

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A whole answer. Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense."""
        if not 200 <= status < 300:
            raise read_refusal(status, headers, body, candidate, now_s=now_s)
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            said = f"the answer is not JSON: error at character {exc.pos} of {len(body)} bytes"
            raise UpstreamNonsense(said) from None
        if type(answer) is not dict:
            refuse("the answer", answer, "an object")
        if answer.get("error"):
            said = read_error_message(answer) or "no message"
            raise UpstreamNonsense(mask_for(candidate, f"an error in an answer with status 200: {said}"))
        return _read_answer(answer, candidate)


@lru_cache(maxsize=ROUTES_KEPT)
def _route_to(candidate: Candidate) -> tuple[str, Headers]:
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pg-trio/{__version__}"),
    ]
    key = candidate.credential.api_key
    if key is not None:
        headers.append(("x-goog-api-key", key.reveal()))
    # Tuned models have a path of their own (`tunedModels/name`).
    model = candidate.model if "/" in candidate.model else f"models/{candidate.model}"
    return f"{candidate.credential.base_url}/{quote(model, safe='/')}", tuple(headers)


def _read_answer(answer: dict[str, Json], candidate: Candidate) -> Reply:
    chosen = first_candidate(answer)
    if chosen is None:
        if not is_blocked(answer):
            raise UpstreamNonsense("candidates is empty")
        chosen = {"finishReason": "PROHIBITED_CONTENT"}
    parts = parts_of(chosen)
    calls = tuple([read_call(part) for part in parts if part.get("functionCall") is not None])
    content = "".join([_text(part) for part in parts if part.get("thought") is not True])
    reason = find_finish_reason(chosen.get("finishReason")) or "stop"
    if reason == "error":
        said = mask_for(candidate, f"the answer ended with {chosen.get('finishReason')}")
        raise UpstreamNonsense(said)
    if not content and not calls and reason not in ("length", "content_filter"):
        raise UpstreamNonsense("the answer has neither text nor tool calls")
    return Reply(
        id=reply_id(answer.get("responseId"), candidate),
        model=read_model(answer.get("modelVersion"), candidate),
        content=None if calls and not content else content,
        finish_reason="tool_calls" if calls and reason == "stop" else reason,
        usage=read_usage(answer.get("usageMetadata")),
        tool_calls=calls,
        reasoning="".join([_text(part) for part in parts if part.get("thought") is True]) or None,
    )


def _text(part: dict[str, Json]) -> str:
    text = part.get("text")
    return text if type(text) is str else ""
