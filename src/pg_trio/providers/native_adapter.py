"""The common part of the adapters of native wires (not OpenAI's): read a complete answer, and recognise a stream.

Rules:
1. The wire's own stream reader also reads complete answers. So each field's meaning is written once, and is the same
   in both.
2. A complete answer may also be server-sent events, or several JSON objects, in a list or one a line.
3. A body that is not JSON, and an error with a message, are failures under any status.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

import orjson
from attrs import evolve

from pg_trio import __version__
from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.events import Broken, Event, ReasoningDelta
from pg_trio.domain.json_value import Json
from pg_trio.domain.native_content import content_of
from pg_trio.domain.project import Candidate
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.upstream import Headers
from pg_trio.errors import CandidateUnfit
from pg_trio.providers.body_kind import is_stream_body
from pg_trio.providers.event_reader import EventReader
from pg_trio.providers.json_text import read_json
from pg_trio.providers.no_answer import no_json, no_object
from pg_trio.providers.refusal import read_refusal
from pg_trio.providers.sse import as_stream, begins_as_stream, check_lines, is_json_lines

# More than any configuration has endpoints times candidates. Each entry is about 1 KiB.
ROUTES_KEPT = 4096


class NativeAdapter(ABC):
    """An adapter without its wire; see `domain.adapter.Adapter`."""

    carries_all: ClassVar[bool] = False

    @abstractmethod
    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """The content of the prompt that this candidate cannot take; None if it can take all."""

    def check_fit(self, prompt: Prompt, candidate: Candidate) -> None:
        """Raises CandidateUnfit if content of the prompt would silently get lost."""
        what = self.why_unfit(prompt, candidate)
        if what is not None:
            raise CandidateUnfit(candidate.provider, what)

    @abstractmethod
    def open_stream(self, candidate: Candidate) -> EventReader:
        """A reader for the body of one streamed answer."""

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        """Always False: these wires send a stream's usage without a request for it."""
        return False

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        """Whether `open_stream` reads the body; None if more bytes are needed. See `domain.adapter.Adapter`."""
        return is_stream_body(status, headers, start)

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A complete answer.

        Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense (see the rules here and in `event_reader`).
        """
        if not 200 <= status < 300:
            raise read_refusal(status, headers, body, candidate, now_s=now_s)
        reader = self.open_stream(candidate)
        if begins_as_stream(body):
            check_lines(body)
            return _reply_of(reader.feed(body) + reader.close())
        if is_json_lines(body):
            check_lines(body)
            return _reply_of(reader.feed(as_stream(body)) + reader.close())
        return _reply_of(reader.read_whole(_read_objects(headers, body, candidate)))


def headers_for(candidate: Candidate, *more: tuple[str, str]) -> Headers:
    """The headers of a request to a candidate: `more`, and the key in the provider's own header."""
    key, headers = candidate.credential.api_key, _headers_that_last(candidate, *more)
    if key is None or key.source is None:
        return headers
    provider = PROVIDERS[candidate.provider]
    return (*headers, (provider.key_header, f"{provider.key_prefix}{key.reveal()}"))


@lru_cache(maxsize=ROUTES_KEPT)
def _headers_that_last(candidate: Candidate, *more: tuple[str, str]) -> Headers:
    """The same, without a key that may change."""
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        # Answers are small, so decompressing costs more than it saves.
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pg-trio/{__version__}"),
        *more,
    ]
    key = candidate.credential.api_key
    if key is not None and key.source is None:
        provider = PROVIDERS[candidate.provider]
        headers.append((provider.key_header, f"{provider.key_prefix}{key.reveal()}"))
    return tuple(headers)


def _read_objects(headers: Mapping[str, str], body: bytes, candidate: Candidate) -> list[dict[str, Json]]:
    try:
        answer = read_json(body)
    except orjson.JSONDecodeError as exc:
        raise no_json(exc, headers, body, candidate) from None
    objects = answer if type(answer) is list else [answer]
    if not objects or not all(type(each) is dict for each in objects):
        raise no_object(answer, candidate)
    return objects


def _reply_of(events: list[Event]) -> Reply:
    """The complete answer of these events. Raises the failure if they end with one."""
    last = events[-1]
    if isinstance(last, Broken):
        raise last.failure
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    reasoning = "".join([event.text for event in events if isinstance(event, ReasoningDelta)])
    return evolve(assembler.reply(), reasoning=reasoning or None, native_content=content_of(events))
