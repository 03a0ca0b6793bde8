"""Answers over a WebSocket whose worker stands still: those who read them on wait no longer than they may last."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import orjson
import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from pg_trio.attachment.answer_store import AnswerWriter, KeptAnswer
from pg_trio.domain.kept_answer import AnswerHead, AnswerStart, KeepLimits
from pg_trio.domain.project import Caller
from pg_trio.web.kept_stream import SLACK_S
from pg_trio.web.websocket.chat_protocol import ResumeAnswer
from pg_trio.web.websocket.frame_sinks import FORM, STARTED, KeepingSink, SocketSink
from pg_trio.web.websocket.resumed_answer import ResumedAnswer
from tests.support.recorded import ENDPOINT, PROJECT, TOKEN, SilentCall
from tests.support.silent_answer import SilentAnswer

CALLER = Caller(TOKEN, PROJECT)


class OneAnswer:
    """A store with one answer, and without room for more."""

    def __init__(self, answer: KeptAnswer | None) -> None:
        self.answer = answer
        self.claimed: list[AnswerHead] = []

    async def claim(self, name: bytes, head: AnswerHead, limits: KeepLimits) -> AnswerWriter | KeptAnswer | None:
        self.claimed.append(head)
        return None

    async def find(self, name: bytes) -> KeptAnswer | None:
        return self.answer


class Frames:
    """An outlet that keeps the frames."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send(self, rendered: bytes) -> None:
        self.sent += [orjson.loads(frame) for frame in rendered.split(b"\n")]

    async def close(self, code: int) -> None:
        raise AssertionError

    async def run(self, note_stuck: Callable[[], None]) -> None:
        raise AssertionError


async def test_reader_of_a_standing_worker_is_told(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    monkeypatch.setattr("pg_trio.web.kept_reading.time.time", trio.current_time)
    begun, frames, ends = trio.current_time(), Frames(), trio.Event()
    head = AnswerHead(UUID(int=1), UUID(int=2), "a", FORM, FORM, ends_by=begun + 35)
    start = AnswerStart(200, ((STARTED, b'{"type":"started","model":"m"}'),))
    answer = SilentAnswer(head, start, part=b'{"type":"delta","seq":1,"content":"Hi"}')
    order = ResumeAnswer("r1", str(UUID(int=1)), 0)

    sink = SocketSink(frames, ends.set)
    with trio.fail_after(600):
        await ResumedAnswer(OneAnswer(answer), CALLER, "a", order, sink).run()

    assert [("started", None), ("delta", 1), ("error", 2)] == [(one["type"], one.get("seq")) for one in frames.sent]
    assert (502, True) == (frames.sent[-1]["status"], ends.is_set())
    assert 40 == round(trio.current_time() - begun)


async def test_answer_is_kept_with_its_latest_end() -> None:
    store, call = OneAnswer(None), SilentCall()
    progress = SimpleNamespace(caller=CALLER)
    sink = KeepingSink(store, "c1", call.head)
    sink.work = cast(Any, object())

    await sink.begin(b"{}", evolve(ENDPOINT, resumable_streams=True, stream_deadline_ms=5000), cast(Any, progress))

    [kept] = store.claimed
    assert call.head.at + 5 + SLACK_S == kept.ends_by
