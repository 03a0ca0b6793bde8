"""Readers of kept streams whose worker stands still: they wait no longer than the answer may last."""

from __future__ import annotations

from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from pg_trio.domain.kept_answer import AnswerHead
from pg_trio.web.asgi_types import AsgiEvent
from pg_trio.web.stream_routes import StreamReply, send_stream
from tests.support.silent_answer import SilentAnswer


async def test_reader_of_a_standing_worker_is_told(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    monkeypatch.setattr("pg_trio.web.stream_routes.time.time", trio.current_time)
    begun = trio.current_time()
    sent: list[AsgiEvent] = []

    async def send(event: AsgiEvent) -> None:
        sent.append(event)

    head = AnswerHead(UUID(int=1), UUID(int=2), "a", "gateway", "sse", ends_by=begun + 35)

    await send_stream(SilentAnswer(head), 0, StreamReply(send))

    body = b"".join(event.get("body", b"") for event in sent)
    assert b"data: one\n\n" + b": ping\n" * 3 + b"data: cut\n\n" == body
    assert not sent[-1].get("more_body")
    assert 40 == round(trio.current_time() - begun)
