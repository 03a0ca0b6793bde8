"""Workers killed in the middle of conversations: what a client was told is stored, and nothing is stored by halves."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
from collections import defaultdict
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import UUID

import h11
import pytest
import trio
from attrs import define, field

from pg_trio.simulator import Simulator, serve_simulator
from tests.support.gateway import CREDENTIALS, PROJECT, endpoint, project
from tests.support.processes import PG_TRIO, run_command, start, wait_until
from tests.support.wire import HttpResponse, bearer, post, send_raw

WORKERS = 3
KILLS = 8
# Turns that are answered between two kills, so that each of them hits work.
TURNS_BETWEEN = 25


@define
class Talk:
    """Clients in conversation. `answered`: what each session was told is part of it."""

    port: int
    token: str
    answered: dict[str, list[str]] = field(factory=lambda: defaultdict(list))
    turns: int = 0
    cut: int = 0
    is_over: bool = False
    # The session that several clients share.
    shared: str | None = None

    async def converse(self, name: str, *, shares: bool) -> None:
        """Turn after turn, until it is over; a call that was cut says nothing of what is stored."""
        own: str | None = None
        number = 0
        while not self.is_over:
            number += 1
            said = f"{name} {number}"
            session = self.shared if shares else own
            stored_in = await self._say(said, session, stream=number % 3 == 0)
            if stored_in is None:
                continue
            self.answered[stored_in].append(said)
            self.turns += 1
            own = stored_in
            if shares and session is None:
                self.shared = stored_in

    async def wait_turns(self, count: int) -> None:
        """Wait until so many more turns are answered."""
        enough = self.turns + count
        await wait_until(lambda: self.turns >= enough)

    async def _say(self, said: str, session: str | None, *, stream: bool) -> str | None:
        """The session that the turn is part of, once the answer was whole."""
        body = {"message": said, "stream": stream, **({"session_id": session} if session else {})}
        response = await self._call(body)
        if response is None:
            self.cut += 1
            return None
        assert 200 == response.status, response.body
        if stream:
            *_, last, done, _ = response.body.decode().split("\n\n")
            assert "data: [DONE]" == done, response.body
            session_id: str = json.loads(last.removeprefix("data: "))["meta"]["session_id"]
        else:
            session_id = response.json()["meta"]["session_id"]
        return session_id

    async def _call(self, body: object) -> HttpResponse | None:
        """The answer; None where the connection was cut."""
        response = None
        try:
            response = await send_raw(self.port, post(f"/api/{PROJECT}/talk", body, bearer(self.token)))
        except* (OSError, h11.RemoteProtocolError, trio.BrokenResourceError):
            await trio.sleep(0.01)
        return response


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


@pytest.mark.slow
async def test_killed_workers_lose_no_turn(nursery: trio.Nursery, tmp_path: Path) -> None:
    simulator: Simulator = await nursery.start(serve_simulator)
    simulator.behave("talk", "latency=tail:2ms:10%:30ms")
    config = tmp_path / "gateway.toml"
    settings = endpoint("talk", sessions_enabled=True, streaming_enabled=True, session_max_messages=500)
    head = f'[server]\nbind = "127.0.0.1:0"\nworkers = {WORKERS}\n'
    config.write_text(head + CREDENTIALS.format(base_url=simulator.base_url) + project() + settings, encoding="utf-8")
    chosen = ("--config", str(config), "--project", str(PROJECT), "--name", "t")
    _, token, _ = await run_command("token", "create", *chosen)
    served = await start(nursery, [*PG_TRIO, "serve", "--config", str(config)])
    talk = Talk(served.port, token.strip())
    random_worker = random.Random(7)
    killed: list[int] = []

    def workers() -> list[int]:
        pids: list[int] = json.loads((tmp_path / "data" / "serve.json").read_text())["workers"]
        return pids

    async with trio.open_nursery() as clients:
        for number in range(8):
            clients.start_soon(partial(talk.converse, f"client {number}", shares=number % 2 == 0))
        for _ in range(KILLS):
            await talk.wait_turns(TURNS_BETWEEN)
            await wait_until(lambda: len(set(workers()) - set(killed)) == WORKERS)
            killed.append(random_worker.choice(workers()))
            os.kill(killed[-1], signal.SIGKILL)
        talk.is_over = True
    await served.stop()

    stored = read_sessions(tmp_path / "data" / "sessions.db")
    answered = {UUID(session).hex: said for session, said in talk.answered.items()}
    assert set(answered) <= set(stored)
    for session, messages in stored.items():
        assert [("assistant", f"You said: {text}") for _, text in messages[::2]] == messages[1::2]
        texts = [text for _, text in messages[::2]]
        assert len(texts) == len(set(texts)), "stored twice"
        assert [] == [said for said in answered.get(session, ()) if said not in texts]
    assert talk.cut > 0, "no kill hit a call"
