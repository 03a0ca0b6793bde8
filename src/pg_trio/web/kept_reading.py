"""Reads kept answers, for clients that come back over HTTP or over a WebSocket."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import trio

from pg_trio.attachment.answer_store import AnswerStore, KeptAnswer
from pg_trio.domain.project import Caller
from pg_trio.errors import AnswerCut, StreamNotAccessible
from pg_trio.web.kept_stream import stream_name

_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
# As a stream's own comments: stages/relay/clock.py.
KEEP_ALIVE_S = 10.0
# 2 s for a stopped answer to end: it has 1 s to write its last words (attachment/owned_works.py).
STOP_WAIT_S = 2.0


async def find_kept(answers: AnswerStore | None, caller: Caller, request_id: str) -> KeptAnswer:
    """The caller's answer to the request of this id. Raises StreamNotAccessible."""
    if answers is None or _UUID.fullmatch(request_id) is None:
        raise StreamNotAccessible
    answer = await answers.find(stream_name(caller, UUID(request_id)))
    if answer is None:
        raise StreamNotAccessible
    return answer


async def receive_parts(answer: KeptAnswer, keep_alive: Callable[[], Awaitable[None]]) -> Sequence[bytes]:
    """The next parts; none after the end. `keep_alive` is called while there are none.

    Raises AnswerCut, also once the time is over by which the answer must have ended: its worker stands still.
    """
    while True:
        with trio.move_on_after(KEEP_ALIVE_S):
            return await answer.receive()
        if 0 < answer.head.ends_by < time.time():
            raise AnswerCut("its worker has not ended it in time")
        await keep_alive()
