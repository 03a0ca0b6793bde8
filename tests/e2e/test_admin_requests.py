"""The admin API's requests: the list with its filters and pages, one request's race, exports, and the live stream.

Over the log's file, and over the log of a cluster in PostgreSQL.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from pg_trio.stores.store_protocols import Engines
from pg_trio.web.admin import api_requests, request_export
from pg_trio.web.admin.request_shapes import USAGE_FIELDS
from tests.support.gateway import (
    PROJECT,
    Gateway,
    Operators,
    endpoint,
    project,
    start_gateway,
    start_pages,
    start_worker,
)
from tests.support.read_logs import log_in_postgres
from tests.support.wire import HttpResponse, get

FAILOVER = [{"credential": "sim", "model": "second"}]
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("ask", log_bodies="full", estimated_cost_per_1k_tokens_usd="1"),
        endpoint("hedged", "first", failover=FAILOVER, hedge_after_ms=50, deadline_ms=5_000),
        endpoint("streamed", streaming_enabled=True),
        endpoint("broken"),
    ]
)
ROW_FIELDS = {
    *("request_id", "at", "project", "endpoint", "token", "provider", "model", "status", "outcome", "error"),
    *("latency_ms", "first_token_ms", "usage", "cost_usd"),
}
PATIENCE_S = 20


@pytest.fixture(params=["sqlite", "postgres"])
def make_engines(request: pytest.FixtureRequest) -> Callable[[], Engines | None]:
    """The engines of one more worker."""
    if request.param == "sqlite":
        return lambda: None
    url = request.getfixturevalue("postgres_url")
    return lambda: log_in_postgres(url)


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path, make_engines: Callable[[], Engines | None]) -> Gateway:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, engines=make_engines())
    gateway.simulator.behave("broken", "fault=status:500")
    gateway.simulator.behave("first", "fault=stall")
    return gateway


@pytest.fixture
async def operators(nursery: trio.Nursery, gateway: Gateway) -> Operators:
    return await start_pages(nursery, gateway)


async def list_rows(operators: Operators, count: int, query: str = "") -> list[dict[str, Any]]:
    """The rows of the list, once there are so many of them."""
    with trio.fail_after(PATIENCE_S):
        while True:
            answer = await operators.call("GET", f"requests?{query}")
            assert 200 == answer.status, answer.body
            rows: list[dict[str, Any]] = answer.json()["data"]
            if len(rows) >= count:
                return rows
            await trio.lowlevel.checkpoint()


def id_of(response: HttpResponse) -> str:
    return response.headers["x-request-id"]


async def test_list_has_the_newest_first(gateway: Gateway, operators: Operators) -> None:
    answers = [await gateway.call(slug) for slug in ("ask", "broken", "nothing")]

    rows = await list_rows(operators, 3)

    assert [id_of(one) for one in reversed(answers)] == [row["request_id"] for row in rows]
    assert [(404, "refused_request"), (502, "all_failed"), (200, "ok")] == [
        (row["status"], row["outcome"]) for row in rows
    ]
    answered = rows[-1]
    assert set(answered) >= ROW_FIELDS
    assert (str(PROJECT), "ask", "test", "openai", "ask", "gateway") == tuple(
        answered[name] for name in ("project", "endpoint", "token", "provider", "model", "surface")
    )
    assert answers[0].json()["usage"]["total_tokens"] == answered["usage"]["total_tokens"]
    assert answered["cost_usd"] > 0
    assert answered["error"] is None
    assert "Provider call failed" in rows[1]["error"]


async def test_pages_have_every_row_once(gateway: Gateway, operators: Operators) -> None:
    sent = {id_of(await gateway.call("ask")) for _ in range(5)}
    await list_rows(operators, 5)

    pages: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = (
            await operators.call("GET", f"requests?limit=2&cursor={cursor}" if cursor else "requests?limit=2")
        ).json()
        pages.append([row["request_id"] for row in answer["data"]])
        cursor = answer["next"]

    assert [2, 2, 1] == [len(page) for page in pages]
    assert sent == {request_id for page in pages for request_id in page}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("status:5xx", ["broken"]),
        ("status:404", ["nothing"]),
        ("status:all_failed", ["broken"]),
        ("provider:openai", ["ask"]),
        ("provider:open", []),
        ("provider:OPEN*", ["ask"]),
        ("model:as", ["ask"]),
        ("endpoint:broken", ["broken"]),
        ("endpoint:b*n", ["broken"]),
        ("error:500", ["broken"]),
        ('error:"not found"', ["nothing"]),
        ("token:test", ["nothing", "broken", "ask"]),
        ("token:tes", []),
        ("ask", ["ask"]),
        ("ProviderCall", ["broken"]),
        ("status:5xx endpoint:ask", []),
        ("status:", ["nothing", "broken", "ask"]),
        ("100%_\\", []),
    ],
)
async def test_filter_selects(gateway: Gateway, operators: Operators, words: str, expected: list[str]) -> None:
    for slug in ("ask", "broken", "nothing"):
        await gateway.call(slug)
    await list_rows(operators, 3)

    rows = await list_rows(operators, 0, f"filter={quote(words)}")

    assert expected == [row["endpoint"] for row in rows]


async def test_request_id_finds_its_request(gateway: Gateway, operators: Operators) -> None:
    wanted = id_of(await gateway.call("ask"))
    await gateway.call("ask")
    await list_rows(operators, 2)

    rows = await list_rows(operators, 0, f"filter={wanted}")

    assert [wanted] == [row["request_id"] for row in rows]


async def test_one_request_has_its_race(gateway: Gateway, operators: Operators) -> None:
    answer = await gateway.call("hedged")
    (row,) = await list_rows(operators, 1)

    one = (await operators.call("GET", f"requests/{id_of(answer)}")).json()["data"]

    assert row.items() <= one.items()
    assert 5_000 == one["deadline_ms"]
    lost, won = sorted(one["attempts"], key=lambda attempt: attempt["start_ms"])
    assert [("first", "lost", False), ("second", "won", True)] == [
        (attempt["model"], attempt["outcome"], attempt["is_hedge"]) for attempt in (lost, won)
    ]
    assert "another won" == lost["reason"]
    assert 50 <= won["start_ms"] <= won["end_ms"] <= one["latency_ms"]
    assert True is one["hedge_won"]
    names = [stage["name"] for stage in one["stages"]]
    assert ["auth", "read", "rate_limit", "budget", "guardrails", "input_schema", "prompt", "provider"] == names
    ends = [stage["end_ms"] for stage in one["stages"]]
    assert ends[:-1] == [stage["start_ms"] for stage in one["stages"]][1:]
    assert pytest.approx(one["latency_ms"], abs=0.01) == ends[-1]
    # The provider's stage spans the attempts.
    assert one["stages"][-1]["start_ms"] <= lost["start_ms"]


async def test_stream_has_its_first_token(gateway: Gateway, operators: Operators) -> None:
    answer = await gateway.call("streamed", {"message": "Hello", "stream": True})
    (row,) = await list_rows(operators, 1)

    one = (await operators.call("GET", f"requests/{id_of(answer)}")).json()["data"]

    assert 0 < row["first_token_ms"] <= row["latency_ms"]
    (attempt,) = one["attempts"]
    assert attempt["first_token_ms"] == row["first_token_ms"]
    assert 600_000 == one["deadline_ms"]
    assert "stream" == one["stages"][-1]["name"]


async def test_clients_deadline_is_shown(gateway: Gateway, operators: Operators) -> None:
    answer = await gateway.call("ask", None, ("x-pg-timeout-ms", "4000"))
    await list_rows(operators, 1)

    assert 4_000 == (await operators.call("GET", f"requests/{id_of(answer)}")).json()["data"]["deadline_ms"]


async def test_bodies_are_shown_where_they_are_kept(gateway: Gateway, operators: Operators) -> None:
    kept, other = await gateway.call("ask"), await gateway.call("streamed")
    await list_rows(operators, 2)

    ones = [(await operators.call("GET", f"requests/{id_of(one)}")).json()["data"] for one in (kept, other)]

    assert "Hello there" in json.dumps(ones[0]["request_body"])
    assert kept.json()["content"] in json.dumps(ones[0]["response_body"], ensure_ascii=False)
    assert [None, None] == [ones[1]["request_body"], ones[1]["response_body"]]


async def test_exports_have_the_fields_of_the_api(gateway: Gateway, operators: Operators) -> None:
    await gateway.call("ask")
    await gateway.call("=cmd")
    rows = await list_rows(operators, 2)

    lines = await operators.call("GET", "requests?format=jsonl")
    table = await operators.call("GET", "requests?format=csv&filter=ask")

    assert rows == [json.loads(line) for line in lines.body.splitlines()]
    (cells,) = csv.DictReader(io.StringIO(table.body.decode()))
    assert rows[1]["request_id"] == cells["request_id"]
    assert str(rows[1]["usage"]["prompt_tokens"]) == cells["usage.prompt_tokens"]
    assert "text/csv; charset=utf-8" == table.headers["content-type"]


async def test_export_has_every_row_and_pages_none(
    gateway: Gateway, operators: Operators, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_export, "PAGE_ROWS", 2)
    monkeypatch.setattr(api_requests, "PAGE_ROWS", 2)
    for number in range(7):
        await gateway.call(f"=cmd{number}")
    rows = await list_rows(operators, 7)

    all_lines = (await operators.call("GET", "requests?format=jsonl")).body.splitlines()
    some = (await operators.call("GET", "requests?format=jsonl&limit=5")).body.splitlines()
    table = list(csv.DictReader(io.StringIO((await operators.call("GET", "requests?format=csv")).body.decode())))

    assert rows == [json.loads(line) for line in all_lines]
    assert rows[:5] == [json.loads(line) for line in some]
    assert [f"'=cmd{number}" for number in reversed(range(7))] == [cells["endpoint"] for cells in table]
    assert {*rows[0], *(f"usage.{name}" for name in USAGE_FIELDS)} - {"usage"} == set(table[0])


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=x",
        "cursor=W10",
        "cursor=WzEsIm4iXQ",
        "cursor=WzFlOTk5LDFd",
        "since=x",
        "until=nan",
        "since=1e300",
        "project=ask",
        "format=xml",
        "limit=1&limit=2",
        "filter=" + "a" * 1_001,
        "filter=" + "a%20" * 17,
        "filter=a***",
    ],
)
async def test_bad_query_is_refused(operators: Operators, query: str) -> None:
    answer = await operators.call("GET", f"requests?{query}")

    assert (400, False) == (answer.status, answer.json()["ok"])


@pytest.mark.parametrize("path", ["requests/x", f"requests/{PROJECT}"])
async def test_unknown_request_is_not_found(operators: Operators, path: str) -> None:
    assert 404 == (await operators.call("GET", path)).status


@pytest.mark.parametrize("path", ["requests", f"requests/{PROJECT}", "requests/stream"])
async def test_only_operators_and_viewers_see_requests(gateway: Gateway, operators: Operators, path: str) -> None:
    statuses = [(await operators.call("GET", path, key=key)).status for key in ("", gateway.token)]

    assert [401, 401] == statuses
    assert 200 == (await operators.call("GET", "requests", key=operators.viewer)).status


# ── the live stream ──────────────────────────────────────────────────────────────────────────────────────────────────


class Live:
    """A reader of the live stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.text = ""

    async def read_until(self, part: str, times: int = 1) -> None:
        with trio.fail_after(PATIENCE_S):
            while self.text.count(part) < times:
                data = await self._stream.receive_some(65_536)
                assert data, self.text
                self.text += data.decode()

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line[6:]) for line in self.text.splitlines() if line.startswith("data: ")]


@asynccontextmanager
async def watch(operators: Operators, query: str = "", *headers: tuple[str, str]) -> AsyncIterator[Live]:
    async with await trio.open_tcp_stream("127.0.0.1", operators.port) as stream:
        key = ("authorization", f"Bearer {operators.viewer}")
        await stream.send_all(get(f"/admin/api/v1/requests/stream?{query}", key, *headers))
        live = Live(stream)
        await live.read_until(": live\n\n")
        yield live


async def test_live_stream_shows_requests_as_they_end(gateway: Gateway, operators: Operators) -> None:
    await gateway.call("ask")
    await list_rows(operators, 1)

    async with watch(operators) as live:
        answers = [await gateway.call(slug) for slug in ("ask", "broken")]
        await live.read_until("data: ", 2)

    assert "content-type: text/event-stream; charset=utf-8" in live.text.lower()
    assert [id_of(one) for one in answers] == [row["request_id"] for row in live.rows()]
    assert await list_rows(operators, 3) == [*reversed(live.rows()), *(await list_rows(operators, 3))[2:]]


async def test_live_stream_shows_all_workers(
    nursery: trio.Nursery, gateway: Gateway, operators: Operators, make_engines: Callable[[], Engines | None]
) -> None:
    other = await start_worker(nursery, gateway, make_engines())

    async with watch(operators) as live:
        answer = await other.call("ask")
        await live.read_until(id_of(answer))


async def test_live_stream_is_filtered(gateway: Gateway, operators: Operators) -> None:
    async with watch(operators, "filter=status:5xx%20token:test") as live:
        await gateway.call("ask")
        await gateway.call("broken")
        await live.read_until("data: ")

    assert ["broken"] == [row["endpoint"] for row in live.rows()]


async def test_reader_that_comes_back_has_missed_nothing(gateway: Gateway, operators: Operators) -> None:
    async with watch(operators) as live:
        await gateway.call("ask")
        await live.read_until("data: ")
    last = live.text.rpartition("id: ")[2].partition("\n")[0]
    missed = await gateway.call("ask")
    await list_rows(operators, 2)

    async with watch(operators, "", ("last-event-id", last)) as again:
        await again.read_until("data: ")
        assert [id_of(missed)] == [row["request_id"] for row in again.rows()]


async def test_stream_ends_with_the_gateway(gateway: Gateway, operators: Operators) -> None:
    async with watch(operators):
        await gateway.stop()
