"""The request's deadline: from the head's arrival to the answer, waiting included.

Rules:
1. It counts from the moment the head was read, and every stage runs inside it.
2. Until the body is complete, the limit for receiving one holds as well, because a slow client holds a place of the
   gateway. It bounds looking up the token, too. A body that names its endpoint is read within the client's own limit,
   if it gave one: no other is known yet. If that took longer than the endpoint's deadline, the request ends there.
3. The client may shorten it with `X-PG-Timeout-Ms`, never lengthen it. A value that is no whole number of
   milliseconds from 1 on is a mistake of the client's (400): guessing would move a deadline silently.
4. Without that header, a whole answer is given up when the client would: OpenAI's SDKs say their read timeout in
   `X-Stainless-Read-Timeout` (seconds; openai-python, src/openai/_base_client.py). They send it unasked, so a value
   that is none is no mistake. Of a stream it limits the wait between two reads: none of the deadline's business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from types import TracebackType

from pg_trio.domain.call import RequestHead
from pg_trio.domain.project import Endpoint
from pg_trio.errors import BadRequest, BodyTooSlow, DeadlineExceeded
from pg_trio.racing.deadline import Deadline, DeadlinePassed, LastingScope

# 24 hours: no configured deadline is longer, so more digits are a mistake.
TIMEOUT_DIGITS = 8
# Seconds as Python writes a float, up to a day; what is smaller or larger than that needs an exponent.
_SECONDS = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,20})?")


class RequestDeadline:
    """A `with` block around all stages of one request; raises BodyTooSlow or DeadlineExceeded when time is up."""

    __slots__ = ("_body_ms", "_client_ms", "_deadline", "_has_body", "_head", "_limit_ms", "_read_ms")

    def __init__(self, head: RequestHead, body_timeout_ms: int, lasting: LastingScope | None = None) -> None:
        """`lasting` is the task's own scope for the deadlines of its requests, where it has one."""
        self._head = head
        # A value that is no limit is the caller's mistake, but not before we know who calls: `start` says it.
        self._client_ms = self._limit_ms = parse_timeout_ms(head.timeout_ms) if head.timeout_ms else None
        self._read_ms: int | None = None
        if head.read_timeout and not head.timeout_ms:
            self._limit_ms = self._read_ms = parse_read_timeout_ms(head.read_timeout)
        self._body_ms = body_timeout_ms
        self._has_body = False
        self._deadline = Deadline(lasting=lasting)

    def begin(self) -> None:
        """A wait is needed before the endpoint is known: until then the limit for the body holds, or the client's.
        Before this call or `start` no limit holds, because nothing waits."""
        limit_ms = min(self._limit_ms or self._body_ms, self._body_ms)
        self._deadline.move(self._head.head_at + limit_ms / 1000)

    @property
    def at(self) -> float:
        """Trio's clock at which the time is up."""
        return self._deadline.at

    def start(self, endpoint: Endpoint) -> None:
        """The endpoint is known: its own deadline holds from here on. Raises BadRequest where the client's is none."""
        limit_ms = endpoint.deadline_ms
        if self._head.timeout_ms:
            if self._client_ms is None:
                raise BadRequest("X-PG-Timeout-Ms must be one whole number of milliseconds, 1 or more.")
            limit_ms = min(limit_ms, self._client_ms)
        elif self._read_ms is not None:
            limit_ms = min(limit_ms, self._read_ms)
        self._limit_ms = limit_ms
        self._arm()

    def start_stream(self, endpoint: Endpoint) -> None:
        """The answer is streamed: its own, usually longer deadline holds in place of the endpoint's."""
        self._limit_ms = min(endpoint.stream_deadline_ms, self._client_ms or endpoint.stream_deadline_ms)
        self._arm()

    def hand_over(self) -> int:
        """Hand the deadline over to the relay of the stream; returns its milliseconds.

        After the first byte the client is told of it in the stream, which a cancelled block could not do.
        Raises DeadlineExceeded where it is too late for that: the time came while the first token did.
        """
        assert self._limit_ms is not None
        if self._deadline.has_come:
            raise DeadlineExceeded(self._limit_ms)
        self._deadline.move(math.inf)
        return self._limit_ms

    def note_body(self) -> None:
        """The body is in: the limit for receiving it holds no longer."""
        self._has_body = True
        if self._deadline.at != math.inf:
            self._arm()

    def _arm(self) -> None:
        limit_ms = self._limit_ms
        if not self._has_body and (limit_ms is None or self._body_ms < limit_ms):
            limit_ms = self._body_ms
        self._deadline.move(math.inf if limit_ms is None else self._head.head_at + limit_ms / 1000)

    def __enter__(self) -> RequestDeadline:
        self._deadline.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._deadline.__exit__(kind, error, trace)
        except DeadlinePassed:
            limit_ms = self._limit_ms
            if limit_ms is not None and (self._has_body or limit_ms <= self._body_ms):
                raise DeadlineExceeded(limit_ms) from None
            if self._has_body:
                # It was not the body that was waited for until now.
                raise DeadlineExceeded(self._body_ms) from None
            raise BodyTooSlow(self._body_ms) from None


def client_deadline(head: RequestHead) -> float:
    """Trio's clock at which the client's own limit passes; math.inf if it gave none, or one that is no limit."""
    limit_ms = parse_timeout_ms(head.timeout_ms)
    return math.inf if limit_ms is None else head.head_at + limit_ms / 1000


def parse_timeout_ms(values: Sequence[str]) -> int | None:
    """The client's own limit from the values of `X-PG-Timeout-Ms`; None where there is none, or it is no limit."""
    if len(values) != 1:
        return None
    value = values[0].strip()
    return int(value) or None if value.isascii() and value.isdigit() and len(value) <= TIMEOUT_DIGITS else None


def parse_read_timeout_ms(values: Sequence[str]) -> int | None:
    """An SDK's read timeout from the values of `X-Stainless-Read-Timeout`; None where it is none."""
    if len(values) != 1 or not _SECONDS.fullmatch(values[0]):
        return None
    seconds = float(values[0])
    return max(1, round(seconds * 1000)) if seconds else None
