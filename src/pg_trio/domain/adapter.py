"""The protocol of adapters: `providers/` offers it, and a provider call uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.events import Event
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import AttemptFailed


class StreamReader(Protocol):
    """Reads the body of one streamed answer. Once it gave `Finished` or `Broken`, it gives nothing more."""

    @property
    def is_over(self) -> bool:
        """Whether the last event was given: the connection is of no more use to this answer."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete; however bytes are split, they are the same."""

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        """The last event, where the bytes did not bring it: the body has ended, or will not be read to its end.

        `failure` is why, where it did not end as it should (a broken connection, a time limit). Where the answer was
        whole already and only its trailer is missing, it is `Finished` all the same.
        """


class Adapter(Protocol):
    """One provider's wire, in the order in which its steps are taken.

    `carries_all`: the wire can carry all that a prompt can hold; then `why_unfit` is always None.
    """

    carries_all: ClassVar[bool]

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        """What of the prompt this candidate cannot take (`audio`, `tools`, …); None if it can take all of it."""

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        """The HTTP request that asks this candidate, for a whole answer or a streamed one.

        `asks_usage`: whether a stream is asked for its usage, where the wire can.
        Raises: CandidateUnfit where `why_unfit` has a reason.
        """

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        """Whether this failure may be because a stream was asked for its usage; then it is asked again without."""

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        """Whether the body that begins with `start` is for `open_stream`; otherwise it is for `read_reply`, once it is
        whole: a failure status, or a provider that does not stream (`events.events_of` makes a stream of its
        reply). None where more of the body must be seen: what it is shows in its first bytes, not in its type.
        """

    def open_stream(self, candidate: Candidate) -> StreamReader:
        """A reader for the body of one streamed answer."""

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """A whole answer. Header names are in lower case; `now_s` is Unix seconds, for a `Retry-After` with a date.

        Raises: UpstreamRefused for every status but 2xx; UpstreamNonsense for a 2xx that is no answer.
        """
