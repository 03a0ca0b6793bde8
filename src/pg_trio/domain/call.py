"""One call of the gateway from the outside: what its head said, how its body is fetched, what it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from attrs import field, frozen

from pg_trio.domain.chat import Reply, Usage
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.project import Candidate


@frozen(slots=True)
class RequestHead:
    """The head of a request to one of the gateway's own two routes.

    `project` and `slug` are path segments as they arrived, nothing decoded; `slug` is None on the dispatcher route.
    `authorization` and `timeout_ms` hold every value of their header, unread; `content_type` is all of them, joined. `head_at` is Trio's
    clock when the head was read: every deadline counts from it. `at` is the same moment in Unix seconds.
    """

    request_id: UUID
    project: str
    slug: str | None
    authorization: Sequence[str] = field(repr=False)
    content_type: str | None
    timeout_ms: Sequence[str]
    head_at: float
    at: float


class Call(Protocol):
    """A request whose body may still be on its way."""

    @property
    def head(self) -> RequestHead: ...

    async def receive_body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises BodyTooLarge as soon as its length is known to be over the limit."""


@frozen(slots=True)
class Answered:
    """A candidate's reply that won, and the candidate."""

    reply: Reply
    candidate: Candidate


@frozen(slots=True)
class Answer:
    """What the client gets on success. `stages_ms` is what each stage took, in order."""

    reply: Reply
    usage: Usage
    request_id: UUID
    provider: str
    attempts: Sequence[AttemptRow]
    stages_ms: Mapping[str, float]
