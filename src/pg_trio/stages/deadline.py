"""The request's deadline: from the head's arrival to the answer, waiting included.

Rules:
1. It counts from the moment the head was read, and every stage runs inside it.
2. Until the endpoint is known (the dispatcher names it in the body), the limit is that of receiving a body.
3. The client may shorten it with `X-PG-Timeout-Ms`, never lengthen it. A value that is no whole number of
   milliseconds from 1 on is a mistake of the client's (400): guessing would move a deadline silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from pg_trio.domain.call import RequestHead
from pg_trio.domain.project import Endpoint
from pg_trio.errors import BadRequest, BodyTooSlow, DeadlineExceeded
from pg_trio.racing.deadline import Deadline, DeadlinePassed

# 24 hours: longer than any deadline that can be configured; ten digits and more are no milliseconds anybody means.
TIMEOUT_DIGITS = 8


class RequestDeadline:
    """A `with` block around all stages of one request; raises BodyTooSlow or DeadlineExceeded when time is up."""

    __slots__ = ("_body_timeout_ms", "_deadline", "_head", "_limit_ms")

    def __init__(self, head: RequestHead, body_timeout_ms: int) -> None:
        self._head = head
        self._body_timeout_ms = body_timeout_ms
        self._limit_ms: int | None = None
        self._deadline = Deadline(head.head_at + body_timeout_ms / 1000)

    @property
    def at(self) -> float:
        """Trio's clock at which the time is up."""
        return self._deadline.at

    def start(self, endpoint: Endpoint) -> None:
        """Hold the endpoint's own deadline from here on, in place of the limit for receiving a body.

        Raises BadRequest where the client's own limit is none.
        """
        client_ms = read_timeout_ms(self._head.timeout_ms) if self._head.timeout_ms else endpoint.deadline_ms
        self._limit_ms = min(endpoint.deadline_ms, client_ms)
        self._deadline.move(self._head.head_at + self._limit_ms / 1000)

    def __enter__(self) -> RequestDeadline:
        self._deadline.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._deadline.__exit__(kind, error, trace)
        except DeadlinePassed:
            if self._limit_ms is None:
                raise BodyTooSlow(self._body_timeout_ms) from None
            raise DeadlineExceeded(self._limit_ms) from None


def read_timeout_ms(values: Sequence[str]) -> int:
    """The client's own limit from the values of `X-PG-Timeout-Ms`. Raises BadRequest where that is no limit."""
    value = values[0].strip()
    if len(values) == 1 and value.isascii() and value.isdigit() and len(value) <= TIMEOUT_DIGITS and int(value) >= 1:
        return int(value)
    raise BadRequest("X-PG-Timeout-Ms must be one whole number of milliseconds, 1 or more.")
