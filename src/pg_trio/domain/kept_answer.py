"""The values of a kept answer: one that is stored part by part while it is made, for readers that come later.

Parts are opaque bytes, numbered from 1. The surface that made them gives them their meaning.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal, TypeAlias
from uuid import UUID

from attrs import field, frozen

from pg_trio.domain.project import Caller

# How an answer ended. `whole`: as its surface ends a complete answer. `stopped`: a client asked for its end. `failed`:
# with the surface's own end of a failure. `outgrown`: it is longer than what is kept. `cut`: in the middle.
AnswerEnd: TypeAlias = Literal["whole", "stopped", "failed", "outgrown", "cut"]
ANSWER_ENDS: tuple[AnswerEnd, ...] = ("whole", "stopped", "failed", "outgrown", "cut")


@frozen(slots=True)
class AnswerOwner:
    """Whose an answer is: a token of a project, and its holder if that is a client token's (`Token.holder`)."""

    project: UUID
    token_id: int
    subject: str | None = None

    def name(self, kind: str, *parts: str) -> bytes:
        """The 32 bytes by which an answer of this owner is found.

        Another owner's request for the same parts has another name. So it finds nothing, as for an answer that never
        was, with the same work.
        """
        subject = "-" if self.subject is None else f"+{self.subject}"
        texts = [kind, self.project.hex, str(self.token_id), subject, *parts]
        # With lengths, so that no two lists are the same bytes.
        return sha256(b"".join([b"%d:%b," % (len(data), data) for data in map(str.encode, texts)])).digest()


def owner_of(caller: Caller) -> AnswerOwner:
    """Whose the answers to this caller are."""
    return AnswerOwner(caller.project.uuid, caller.token.id, caller.token.holder or None)


@frozen(slots=True)
class AnswerHead:
    """What is known of an answer when it begins. `at` is Unix seconds, `body_digest` the SHA-256 of the request's body.

    `surface` and `form` say how its parts are to be read: a surface's name, and its variant of a stream. `ends_by` is
    the time by which it must have ended (Unix seconds), however slow its worker is; 0 says none.
    """

    request_id: UUID
    endpoint: UUID
    slug: str
    surface: str
    form: str = ""
    at: float = 0.0
    body_digest: bytes | None = field(default=None, repr=False)
    ends_by: float = 0.0


@frozen(slots=True)
class AnswerStart:
    """The status and header fields of an answer; its parts follow.

    `cut_end` is what a reader gets in place of an end that is missing, `keep_alive` what it gets while there is nothing
    to read.
    """

    status: int
    fields: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    cut_end: bytes = field(default=b"", repr=False)
    keep_alive: bytes = b""


@frozen(slots=True)
class KeepLimits:
    """How much of an answer is kept: the bytes of its parts, together."""

    bytes: int
