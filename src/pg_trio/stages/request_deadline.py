"""The request's deadlines, both counted from the moment in which its head was read.

Rules:
1. RequestDeadline holds for the whole request. Its time is the endpoint's, once the endpoint is known, and before that
   the client's own limit, if it gave one. Its error is DeadlineExceeded.
2. BodyLimit holds inside it while the gateway waits for the body or looks up the token: a client that sends slowly
   occupies a place. Its error is BodyTooSlow, or DeadlineExceeded if the body was there already.
3. The client may shorten the deadline with `X-PG-Timeout-Ms`, never lengthen it. A value that is not a whole number of
   milliseconds, 1 or more, is the client's mistake (400): a guess would move a deadline silently.
4. A client's SDK may send its own timeout as well: OpenAI's and Anthropic's do, in `X-Stainless-Read-Timeout` (Python)
   or `X-Stainless-Timeout` (Node), in seconds (openai-python, src/openai/_base_client.py). They send it without being
   asked, so a malformed value is ignored. The smallest limit holds. For a stream it limits the wait between two reads,
   which is not the deadline's concern.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import trio

from pg_trio.domain.call import RequestHead
from pg_trio.domain.project import Endpoint
from pg_trio.errors import BadRequest, BodyTooSlow, DeadlineExceeded
from pg_trio.racing.deadline import Deadline, LastingScope

# 24 hours: no configured deadline is longer, so more digits are a mistake.
TIMEOUT_DIGITS = 8
# Seconds as Python writes a float, up to a day; smaller and larger values have an exponent.
_SECONDS = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,20})?")


class RequestDeadline(Deadline):
    """A `with` block around all stages of one request; raises DeadlineExceeded when time is up."""

    # The client's own limit, and the one that holds.
    _client_ms: int | None = None
    _limit_ms: int | None = None

    def __init__(self, head: RequestHead, body_timeout_ms: int, lasting: LastingScope | None = None) -> None:
        """`lasting` is the task's own scope for the deadlines of its requests, if it has one."""
        if lasting is None:
            super().__init__()
        else:
            self._lasting = lasting
        self._head = head
        self._body_ms = body_timeout_ms
        if head.timeout_ms:
            # A malformed value is the caller's mistake, which `start` reports: before that, the caller is not known.
            self._client_ms = self._limit_ms = parse_timeout_ms(head.timeout_ms)
        if head.read_timeout:
            self._limit_ms = _smaller(self._limit_ms, parse_read_timeout_ms(head.read_timeout))

    @property
    def limit_ms(self) -> int | None:
        """Milliseconds from the head to the deadline that holds, or held last; None if none is known yet."""
        return self._limit_ms

    def passed(self) -> Exception:
        """The request's own error, with the limit that holds."""
        assert self._limit_ms is not None
        return DeadlineExceeded(self._limit_ms)

    def limit_body(self, *, has_body: bool = False) -> BodyLimit:
        """A block for what is awaited before the stages begin: the body, or a token that must be looked up.

        `has_body`: the body is here, so the block does not wait for the client.
        """
        self.hold_client_limit()
        return BodyLimit(self._head.head_at, self._body_ms, has_body=has_body)

    def hold_client_limit(self) -> None:
        """Let the client's own limit hold until the endpoint is known. Only before `start` does it change anything."""
        if self._scope is None and self._limit_ms is not None:
            self._move_to(self._limit_ms)

    def drop_sdk_limit(self) -> None:
        """Let the timeout of the client's SDK not hold, because the answer is a stream. Only before `start`."""
        self._limit_ms = self._client_ms

    def start(self, endpoint: Endpoint) -> None:
        """The endpoint is known: its deadline holds from here on. Raises BadRequest if the client's is malformed."""
        if self._head.timeout_ms and self._client_ms is None:
            raise BadRequest("X-PG-Timeout-Ms must be one whole number of milliseconds, 1 or more.")
        limit_ms = endpoint.deadline_ms
        if self._limit_ms is not None:
            limit_ms = min(limit_ms, self._limit_ms)
        self._limit_ms = limit_ms
        self.move(self._head.head_at + limit_ms / 1000)

    def start_stream(self, endpoint: Endpoint) -> None:
        """The answer is streamed: its own, usually longer deadline replaces the endpoint's.

        Raises DeadlineExceeded if it passed already: no provider is called for a request that waited for too long.
        """
        limit_ms = min(endpoint.stream_deadline_ms, self._client_ms or endpoint.stream_deadline_ms)
        self._move_to(limit_ms)
        if trio.current_time() > self.at:
            raise DeadlineExceeded(limit_ms)

    def hand_over(self) -> int:
        """Hand the deadline over to the relay of the stream; returns its milliseconds.

        After the first byte the client learns of a passed deadline in the stream, which a cancelled block could not do.
        Raises DeadlineExceeded if the deadline passed while the first token arrived.
        """
        assert self._limit_ms is not None
        if self.has_come:
            raise DeadlineExceeded(self._limit_ms)
        self.move(math.inf)
        return self._limit_ms

    def _move_to(self, limit_ms: int) -> None:
        self._limit_ms = limit_ms
        self.move(self._head.head_at + limit_ms / 1000)


class BodyLimit(Deadline):
    """A block that must end within `limit_ms` of the request's head; see RequestDeadline.limit_body.

    What is here in the end came in time, if nothing cut the block: only this process was late to read it. The
    endpoint's deadline holds next.
    """

    takes_late = True

    def __init__(self, head_at: float, limit_ms: int, *, has_body: bool) -> None:
        super().__init__(head_at + limit_ms / 1000)
        self._limit_ms = limit_ms
        self._has_body = has_body

    def passed(self) -> Exception:
        """BodyTooSlow, unless the body was here already."""
        return DeadlineExceeded(self._limit_ms) if self._has_body else BodyTooSlow(self._limit_ms)


def client_limit(head: RequestHead) -> tuple[float, int | None]:
    """Trio's clock at which the client's own limit passes, and the limit; math.inf and None if it gave none or a
    malformed one."""
    limit_ms = parse_timeout_ms(head.timeout_ms)
    return math.inf if limit_ms is None else head.head_at + limit_ms / 1000, limit_ms


def parse_timeout_ms(values: Sequence[str]) -> int | None:
    """The client's own limit from the values of `X-PG-Timeout-Ms`; None if there is none or it is malformed."""
    if len(values) != 1:
        return None
    value = values[0].strip()
    return int(value) or None if value.isascii() and value.isdigit() and len(value) <= TIMEOUT_DIGITS else None


def parse_read_timeout_ms(values: Sequence[str]) -> int | None:
    """The smallest timeout in the values of an SDK's headers; None without one. Malformed values and 0 are ignored."""
    seconds = [float(value) for value in values if _SECONDS.fullmatch(value)]
    limits_ms = [max(1, round(each * 1000)) for each in seconds if each]
    return min(limits_ms) if limits_ms else None


def _smaller(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)
