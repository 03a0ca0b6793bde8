"""A request that finds no room gets the same answer from the server's door as from the application."""

from __future__ import annotations

import re
import socket
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from pg_trio.app import make_door
from pg_trio.config.settings import ServerSettings
from pg_trio.domain.call import Call, WholeAnswer
from pg_trio.domain.origins import AllowedOrigins
from pg_trio.domain.project import Project
from pg_trio.domain.server_link import EXTENSION, WHOLE_ANSWER, ClientSlot, ServerLink
from pg_trio.errors import Overloaded
from pg_trio.server.http1.doorkeeper import Doorkeeper
from pg_trio.server.http1.head import read_head
from pg_trio.web.asgi import GatewayRoutes, refuse_path
from pg_trio.web.cors import CorsTable
from tests.support.gated_server import Gate
from tests.support.http_servers import request

LISTED, SILENT = UUID(int=1), UUID(int=2)
PROJECTS = {
    uuid: Project(uuid, "Test", "test", cors_origins=origins)
    for uuid, origins in [(LISTED, AllowedOrigins(("https://*.example.com",))), (SILENT, None)]
}
ROUTES = [
    "ask",
    "chat/completions",
    "v1/chat/completions",
    "v1/responses",
    "v1/embeddings",
    "v1/messages",
    "v1/messages/count_tokens",
]
APP, OTHER, EVIL = [f"Origin: https://{host}" for host in ("app.example.com", "b.example.com", "evil.example")]
PATIENCE_S = 5
_ID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_SERVER = (b"date", b"connection", b"content-length")


class FullGateway:
    """Has no room for any call."""

    async def answer(self, call: Call, lasting: object = None) -> WholeAnswer | None:
        raise Overloaded(Gate.retry_after_s)

    def make_lasting_scope(self) -> AbstractContextManager[None]:
        return nullcontext()


def make_routes() -> GatewayRoutes:
    routes = GatewayRoutes(refuse_path, cors=CorsTable(PROJECTS))
    routes.gateway = FullGateway()
    return routes


def last_request(path: str, *fields: str) -> bytes:
    return request(path, "Connection: close", *fields, method="POST", body=b"{}")


async def ask_inside(data: bytes) -> bytes:
    """The application's own refusal: status, fields and body."""
    head = read_head(data.partition(b"{}")[0], max_head_bytes=10_000, max_header_count=100)
    link, sent = ServerLink(0.0), list[Any]()
    link.client = ClientSlot()

    async def send(event: Any) -> None:
        sent.append(event)

    async def receive() -> Any:
        raise AssertionError("a request that is refused is not read")

    scope = {"type": "http", "method": head.method, "path": head.path.decode(), "raw_path": head.path}
    await make_routes()({**scope, "headers": head.headers, "extensions": {EXTENSION: link}}, receive, send)
    [answer] = sent
    assert WHOLE_ANSWER == answer["type"]
    return b"%d\r\n%b\r\n%b" % (answer["status"], answer["fields"], answer["body"])


def ask_at_door(*requests: bytes) -> list[bytes]:
    """What newcomers get at the door, as they come."""
    answers = []
    with Doorkeeper(make_door(Gate(), make_routes()), ServerSettings()) as doorkeeper:
        for data in requests:
            client, newcomer = socket.socketpair()
            client.settimeout(PATIENCE_S)
            with client, newcomer:
                newcomer.setblocking(False)
                client.sendall(data)
                assert doorkeeper.turn_away_newcomer(newcomer)
                answers.append(b"".join(iter(partial(client.recv, 65536), b"")))
    return answers


def shown(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Status, fields and body of an answer, but for its id and what the server adds to each."""
    head, _, body = _ID.sub(b"ID", answer).partition(b"\r\n\r\n")
    start, *fields = head.split(b"\r\n")
    status = start.removeprefix(b"HTTP/1.1 ")[:3]
    return status, sorted(line for line in fields if line.partition(b":")[0] not in _OF_SERVER), body


@pytest.mark.parametrize("fields", [[], [APP], [EVIL], [APP, OTHER], [APP, APP], ["Origin:"]])
@pytest.mark.parametrize("project", [LISTED, SILENT], ids=["lists pages", "lists none"])
@pytest.mark.parametrize("route", ROUTES)
async def test_door_answers_as_application_does(route: str, project: UUID, fields: list[str]) -> None:
    data = last_request(f"/api/{project}/{route}", *fields)

    [at_door] = ask_at_door(data)

    assert shown(await ask_inside(data)) == shown(at_door)


def test_each_head_has_its_own_answer() -> None:
    """One reader of heads serves all newcomers."""
    paths = [f"/api/{LISTED}/{route}" for route in ("v1/messages", "ask", "v1/responses", "v1/messages")]

    answers = ask_at_door(*[last_request(path, origin) for path in paths for origin in (APP, OTHER)])

    assert [b"529", b"529", b"503", b"503", b"503", b"503", b"529", b"529"] == [shown(one)[0] for one in answers]
    allowed = [re.findall(rb"access-control-allow-origin: https://(.*?)\r\n", one) for one in answers]
    assert [[b"app.example.com"], [b"b.example.com"]] * 4 == allowed


@pytest.mark.parametrize("route", ["ask", "v1/chat/completions", "v1/messages"])
def test_refusal_has_one_id_of_its_own(route: str) -> None:
    data = [last_request(f"/api/{LISTED}/{route}", origin) for origin in (APP, APP, OTHER)]

    found = [set(_ID.findall(answer)) for answer in ask_at_door(*data)]

    assert [1, 1, 1] == [len(ids) for ids in found]
    assert 3 == len(set.union(*found))
    assert all(4 == UUID(one.decode()).version for ids in found for one in ids)


@pytest.mark.parametrize("path", ["/healthz", f"/api/{LISTED}/v1/models", f"/api/{LISTED}/ask/ws", "/api//ask"])
def test_other_paths_are_never_refused_at_the_door(path: str) -> None:
    door = make_door(Gate(), make_routes())

    assert [None, None] == [door.find_refusal(method, path.encode(), []) for method in ("GET", "POST")]
