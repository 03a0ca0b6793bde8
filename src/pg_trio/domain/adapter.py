"""The protocol of adapters. `providers/` implements it, and provider calls use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest
from pg_trio.domain.events import Event
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import AttemptFailed


class StreamReader(Protocol):
    """Reads the body of one streamed answer. After `Finished` or `Broken` it returns no more events."""

    @property
    def is_over(self) -> bool:
        """Whether the last event was returned. The answer does not need the connection any more."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete. They do not depend on how the bytes are split."""

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        """The last event, if the bytes did not have it. The body has ended, or reading stops here.

        `failure` is the reason if the body did not end normally (a broken connection, a time limit). If the answer is
        already complete and only its trailer is missing, the event is `Finished` all the same.
        """


class Adapter(Protocol):
    """One provider's wire. The methods are in the order of a call's steps.

    `carries_all`: the wire can carry every neutral value, so `why_unfit` only has a reason for native ones.
    """

    carries_all: ClassVar[bool]

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """The content of the prompt that this candidate cannot take (`audio`, `tools`, …); None if it can take all."""

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request to this candidate, for a complete answer or a streamed one.

        `asks_usage`: whether to ask a stream for its usage, if the wire can.
        Raises: CandidateUnfit if `why_unfit` has a reason.
        """

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        """Whether the request for a stream's usage may have caused the failure. The caller then retries without it."""

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        """Whether `open_stream` reads the body that begins with `start`. If not, `read_reply` reads the complete body:
        the status is a failure, or the provider does not stream (`events.events_of` makes a stream of its reply). None
        if more bytes are needed, because the first bytes decide, not the content type.
        """

    def open_stream(self, candidate: Candidate) -> StreamReader:
        """A reader for the body of one streamed answer."""

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A complete answer. Header names are in lower case; `now_s` is Unix seconds, for a `Retry-After` with a date.

        Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense for a 2xx without a valid answer.
        """


class EmbeddingAdapter(Protocol):
    """One wire's way of making vectors of texts. Stateless, as `Adapter`."""

    def why_unfit(self, request: EmbeddingRequest, candidate: Candidate) -> str | None:
        """The part of the request that this candidate cannot take, even in several calls (`dimensions`, …;
        `embeddings` if its provider has none); None if it can take all."""

    def split(self, request: EmbeddingRequest, candidate: Candidate) -> list[EmbeddingRequest]:
        """The request in parts that this candidate can each take in one call, at least one."""

    def build_embeddings(self, request: EmbeddingRequest, candidate: Candidate) -> WireRequest:
        """The HTTP request to this candidate. Raises: CandidateUnfit if `why_unfit` has a reason, or if the request has
        too many inputs for one call."""

    def read_embeddings(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, inputs: int, now_s: float
    ) -> EmbeddingReply:
        """The vectors of so many inputs. Header names are in lower case; `now_s` is Unix seconds.

        Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense for a 2xx without a valid answer.
        """
