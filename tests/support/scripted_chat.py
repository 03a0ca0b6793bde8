"""A gateway's WebSocket that does what a test says, connection by connection."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import trio
import trio_websocket
from attrs import define, field

LIMIT_S = 20


@define(eq=False)
class ScriptedSocket:
    """One accepted connection."""

    _socket: trio_websocket.WebSocketConnection
    _received: list[dict[str, Any]]

    async def send(self, **frame: object) -> None:
        """Send a frame; `type` is its kind."""
        await self._socket.send_message(json.dumps(frame))

    async def begin(self, id: str, request_id: object = "r1", **more: object) -> None:
        """An answer begins."""
        await self.send(type="started", id=id, request_id=request_id, model="m", provider="p", **more)

    async def say(self, id: str, *pieces: str, after: int = 0) -> int:
        """Pieces of an answer; the number of the last one."""
        for seq, piece in enumerate(pieces, after + 1):
            await self.send(type="delta", id=id, seq=seq, content=piece)
        return after + len(pieces)

    async def finish(self, id: str, after: int, **meta: object) -> None:
        """The answer is complete."""
        await self.send(type="done", id=id, seq=after + 1, finish_reason="stop", usage={}, meta=meta)

    async def answer(self, id: str, text: str, **more: object) -> None:
        """A whole answer in one piece."""
        await self.begin(id, **more)
        await self.finish(id, await self.say(id, text))

    async def receive(self) -> dict[str, Any]:
        """The client's next frame."""
        with trio.fail_after(LIMIT_S):
            frame: dict[str, Any] = json.loads(await self._socket.get_message())
        self._received.append(frame)
        return frame

    async def close(self, code: int) -> None:
        """Close it in order."""
        await self._socket.aclose(code, "")

    async def wait_gone(self) -> None:
        """Wait until the client has closed it."""
        with trio.fail_after(LIMIT_S):
            try:
                while True:
                    await self._socket.get_message()
            except trio_websocket.ConnectionClosed:
                return


Script: TypeAlias = Callable[[ScriptedSocket], Awaitable[None]]


@define(eq=False)
class ScriptedChat:
    """The server. Each connection takes the next script; a status in its place refuses the handshake. What the last one
    did is done again for each further connection."""

    scripts: list[Script | int]
    port: int = 0
    frames: list[dict[str, Any]] = field(factory=list)
    heads: list[dict[str, str]] = field(factory=list)
    paths: list[str] = field(factory=list)

    async def serve(self, *, task_status: trio.TaskStatus[ScriptedChat]) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            serve = partial(trio_websocket.serve_websocket, self._handle, "127.0.0.1", 0, ssl_context=None)
            server = await nursery.start(partial(serve, message_queue_size=16))
            self.port = server.port
            task_status.started(self)

    async def _handle(self, request: trio_websocket.WebSocketRequest) -> None:
        self.heads.append({name.decode().lower(): value.decode() for name, value in request.headers})
        self.paths.append(request.path)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, int):
            body = json.dumps({"ok": False, "error": f"Refused with {script}."}).encode()
            await request.reject(script, extra_headers=[(b"content-length", b"%d" % len(body))], body=body)
            return
        socket = await request.accept()
        scripted = ScriptedSocket(socket, self.frames)
        await scripted.send(type="ready", max_in_flight=4, heartbeat_ms=20000)
        try:
            await script(scripted)
        except trio_websocket.ConnectionClosed:
            return


async def drop(socket: ScriptedSocket) -> None:
    """Cut the connection, as a network does."""
    await socket._socket._stream.aclose()


async def open_scripted(nursery: trio.Nursery, *scripts: Script | int) -> ScriptedChat:
    """A server with these scripts."""
    chat: ScriptedChat = await nursery.start(ScriptedChat(list(scripts)).serve)
    return chat
