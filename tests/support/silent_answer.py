"""A kept answer whose worker stands still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio
from attrs import define

from pg_trio.domain.kept_answer import AnswerEnd, AnswerHead, AnswerStart

START = AnswerStart(200, ((b"content-type", b"text/event-stream"),), b"data: cut\n\n", b": ping\n")


@define
class SilentAnswer:
    """An answer of which one part is there, and no other comes."""

    head: AnswerHead
    start: AnswerStart | None = START
    ended: AnswerEnd | None = None
    part: bytes = b"data: one\n\n"
    given: bool = False

    async def wait_start(self) -> AnswerStart | None:
        return self.start

    async def seek(self, after: int) -> bool:
        return after == 0

    @contextmanager
    def attach(self) -> Iterator[None]:
        yield

    async def receive(self) -> Sequence[bytes]:
        if self.given:
            await trio.sleep_forever()
        self.given = True
        return [self.part]

    async def stop(self, limit_s: float) -> bool:
        return False

    def close(self) -> None: ...
