"""Many clients of one gateway while its workers are in trouble: what each was told, and how each call ended."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import h11
import trio
from attrs import define, field, frozen

from tests.support.gateway import PROJECT
from tests.support.processes import wait_until
from tests.support.wire import HttpResponse, bearer, post, send_raw

# What a refused client waits before it asks again: less than the gateway says, so that limits are pressed upon.
PAUSE_S = 0.2
CUT = 0


@frozen
class Ended:
    """A call and its end. Times are `time.monotonic()`; `status` is CUT where the connection closed unanswered."""

    slug: str
    sent_at: float
    ended_at: float
    status: int
    request_id: str = ""
    said: Any = None

    @property
    def took_s(self) -> float:
        return self.ended_at - self.sent_at


@define
class Crowd:
    """Clients that ask until it is over. `told`: for each session, what clients were told is part of it."""

    port: int
    ended: list[Ended] = field(factory=list)
    told: dict[str, list[str]] = field(factory=lambda: defaultdict(list))
    under_way: int = 0
    is_over: bool = False
    _shared: dict[str, str | None] = field(factory=dict)

    async def ask(self, token: str, slug: str) -> None:
        """The same question again and again."""
        while not self.is_over:
            ended = await self._call(token, slug, {"message": "Hello there"})
            if ended.status not in (CUT, 200):
                await trio.sleep(PAUSE_S)

    async def talk(self, token: str, name: str, shared: str | None = None) -> None:
        """Turn after turn in a session, of one's own or shared; every third one streamed. A full one is followed by a
        new one."""
        place, number = shared or name, 0
        while not self.is_over:
            number += 1
            said = f"{name} {number}"
            session = self._shared.get(place)
            body = {"message": said, "stream": number % 3 == 0, **({"session_id": session} if session else {})}
            ended = await self._call(token, "talk", body)
            if ended.status == 200:
                session_id: str = ended.said["meta"]["session_id"]
                self.told[session_id].append(said)
                self._shared.setdefault(place, session_id)
            elif ended.status == 429 and self._shared.get(place) == session:
                self._shared.pop(place, None)
            elif ended.status != CUT:
                await trio.sleep(PAUSE_S)

    async def wait_answers(self, count: int) -> None:
        """Wait until so many more calls have their answer."""
        begun = len(self.ended)
        await wait_until(lambda: sum(one.status == 200 for one in self.ended[begun:]) >= count)

    def of(self, slug: str, status: int = 200) -> list[Ended]:
        """The calls of an endpoint that ended so."""
        return [one for one in self.ended if (one.slug, one.status) == (slug, status)]

    def failed(self, slug: str) -> list[Ended]:
        """The calls of an endpoint neither answered nor refused: how far they came, their clients cannot tell."""
        return [one for one in self.ended if one.slug == slug and one.status not in (200, 429)]

    async def _call(self, token: str, slug: str, body: dict[str, object]) -> Ended:
        request = post(f"/api/{PROJECT}/{slug}", body, bearer(token))
        sent_at, response = time.monotonic(), None
        self.under_way += 1
        try:
            response = await send_raw(self.port, request)
        except* (ConnectionRefusedError, trio.TooSlowError):
            raise  # the sockets are never closed, and nothing hangs
        except* (OSError, h11.RemoteProtocolError, trio.BrokenResourceError):
            await trio.sleep(0.01)
        finally:
            self.under_way -= 1
        end = partial(Ended, slug, sent_at, time.monotonic())
        if response is None:
            ended = end(CUT)
        else:
            ended = end(response.status, response.headers.get("x-request-id", ""), read_said(response))
        self.ended.append(ended)
        return ended


def read_said(response: HttpResponse) -> Any:
    """An answer's JSON: of a stream, its last chunk, which says what the answer was."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return response.json()
    *_, last, done, _ = response.body.decode().split("\n\n")
    assert "data: [DONE]" == done, response.body
    return json.loads(last.removeprefix("data: "))


def read_sessions(path: Path) -> dict[str, list[tuple[str, str]]]:
    """(role, content) of every message of every session in the file, in order."""
    said: dict[str, list[tuple[str, str]]] = defaultdict(list)
    with closing(sqlite3.connect(path)) as file:
        assert [("ok",)] == file.execute("PRAGMA integrity_check").fetchall()
        query = "SELECT lower(hex(id)), position, body FROM messages JOIN sessions ON session = number ORDER BY place"
        for session, position, body in file.execute(query):
            assert len(said[session]) == position
            message = json.loads(body)
            said[session].append((message["role"], message["content"]))
        counts = file.execute("SELECT lower(hex(id)), message_count FROM sessions").fetchall()
    assert {session: len(messages) for session, messages in said.items()} == dict(counts)
    return said
