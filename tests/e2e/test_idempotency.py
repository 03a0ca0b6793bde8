"""`Idempotency-Key` over sockets, on both server paths and two workers: replayed, joined, freed, never another's."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.domain.project import TokenLimits
from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway, start_worker
from tests.support.processes import wait_until
from tests.support.wire import HttpResponse, bearer, get, post, send_raw

PRICED: dict[str, Any] = {"monthly_budget_usd": "5", "estimated_cost_per_1k_tokens_usd": "100", "max_output_tokens": 9}
CONFIGURATION = "\n".join(
    [
        "[gateway]",
        "idempotency_bytes = 65536",
        project(),
        endpoint("ask", rate_limit_per_minute=100),
        endpoint("other"),
        endpoint("priced", **PRICED),
        endpoint("slow"),
        endpoint("stream", streaming_enabled=True),
        endpoint("resumable", streaming_enabled=True, resumable_streams=True, orphan_grace_ms=1),
        endpoint("cut", streaming_enabled=True, max_attempts=1),
        endpoint("down", max_attempts=1),
        endpoint("narrow", rate_limit_per_minute=1),
        endpoint("strict", input_schema={"type": "object", "required": ["n"]}),
        project(OTHER_PROJECT, name="Other"),
        endpoint("ask"),
    ]
)
PATIENCE_S = 20
REUSED = (422, "Idempotency-Key was used with another request.")
BODY = {"message": "Hello there"}
Headers = tuple[str, str]


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start(nursery, tmp_path, request.param)


@pytest.fixture
async def lane(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start(nursery, tmp_path)


async def start(nursery: trio.Nursery, folder: Path, server: str = "lane") -> Gateway:
    started = await start_gateway(nursery, folder, CONFIGURATION, server)
    started.simulator.behave("down", "fault=status:500")
    started.simulator.behave("cut", "tokens=5&fault=cut:2")
    return started


def key(text: str = "key-1") -> Headers:
    return "idempotency-key", text


async def call(
    gateway: Gateway, path: str, *headers: Headers, body: object = BODY, token: str | None = None
) -> HttpResponse:
    path = f"/api/{PROJECT}/{path}"
    return await send_raw(gateway.port, post(path, body, bearer(token or gateway.token), *headers))


def asked(gateway: Gateway) -> int:
    """How many requests the provider got."""
    return len(gateway.simulator.requests)


def waiting_for(gateway: Gateway) -> int:
    """How many requests wait for answers that this worker makes."""
    running = gateway.app.extensions["pg_trio"].routes.gateway
    return sum(work._waiters for work in running.works._running)


def told(answer: HttpResponse) -> tuple[int, str]:
    return answer.status, answer.json()["error"]


def common(answer: HttpResponse) -> dict[str, str]:
    """The header fields that a replay has as they were; the server's own, and how the length is told, are left out."""
    left_out = {"date", "idempotent-replayed", "content-length", "transfer-encoding", "connection", "server"}
    return {name: value for name, value in answer.headers.items() if name not in left_out}


# ── finished ones ────────────────────────────────────────────────────────────────────────────────────────────────────

MESSAGES = [{"role": "user", "content": "Hi"}]
SURFACES: list[tuple[str, dict[str, Any]]] = [
    ("ask", BODY),
    ("stream", {**BODY, "stream": True}),
    ("chat/completions", {"endpoint": "ask", "messages": MESSAGES}),
    ("v1/chat/completions", {"model": "ask", "messages": MESSAGES}),
    ("v1/chat/completions", {"model": "stream", "messages": MESSAGES, "stream": True}),
    ("v1/responses", {"model": "ask", "input": "Hi"}),
    ("v1/responses", {"model": "stream", "input": "Hi", "stream": True}),
    ("v1/messages", {"model": "ask", "messages": MESSAGES, "max_tokens": 5}),
    ("v1/messages", {"model": "stream", "messages": MESSAGES, "max_tokens": 5, "stream": True}),
    ("v1/embeddings", {"model": "ask", "input": "Hi"}),
]


@pytest.mark.parametrize(("path", "body"), SURFACES)
async def test_same_request_gets_the_same_answer(
    gateway: Gateway, nursery: trio.Nursery, path: str, body: dict[str, Any]
) -> None:
    worker = await start_worker(nursery, gateway)

    first = await call(gateway, path, key(), body=body)
    again = [await call(each, path, key(), body=body) for each in (gateway, worker)]
    plain = await call(gateway, path, body=body)

    assert 200 == first.status
    assert "idempotent-replayed" not in first.headers
    assert "idempotent-kept" not in first.headers
    assert ["true", "true"] == [answer.headers["idempotent-replayed"] for answer in again]
    assert [first.body] * 2 == [answer.body for answer in again]
    assert [common(first)] * 2 == [common(answer) for answer in again]
    assert first.headers["x-request-id"] != plain.headers["x-request-id"]
    assert 2 == asked(gateway)


async def test_other_body_is_refused(gateway: Gateway) -> None:
    first = await call(gateway, "ask", key())

    other = await call(gateway, "ask", key(), body={"message": "Hello  there"})
    again = await call(gateway, "ask", key())

    assert [200, 200] == [first.status, again.status]
    assert REUSED == told(other)
    assert "idempotent-replayed" not in other.headers
    assert 1 == asked(gateway)


@pytest.mark.parametrize("text", ["", " ", "a b", "x" * 256, "ключ", "a\tb"])
async def test_malformed_key_is_a_400(gateway: Gateway, text: str) -> None:
    head = f"POST /api/{PROJECT}/ask HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {gateway.token}\r\n"
    head += f"content-type: application/json\r\ncontent-length: 22\r\nidempotency-key: {text}\r\n\r\n"

    answer = await send_raw(gateway.port, head.encode() + b'{"message":"Hi there"}')

    assert 400 == answer.status
    assert 0 == asked(gateway)


async def test_two_keys_are_a_400(gateway: Gateway) -> None:
    answer = await call(gateway, "ask", key("a"), key("b"))

    assert (400, "Idempotency-Key: must be 1 to 255 visible ASCII characters.") == told(answer)


async def test_wrong_token_is_told_before_a_bad_key(gateway: Gateway) -> None:
    answer = await call(gateway, "ask", key("a b"), token="pg_live_unknown")

    assert (401, "Invalid or revoked token.") == told(answer)


async def test_longest_key_is_kept(lane: Gateway) -> None:
    answers = [await call(lane, "ask", key("~" * 255)) for _ in range(2)]

    assert [None, "true"] == [answer.headers.get("idempotent-replayed") for answer in answers]


async def test_answers_are_nobody_elses(gateway: Gateway) -> None:
    """Another token, another project, another route, and other subjects of the same parent each run."""
    parent = gateway.make_token(scopes=("mint",))
    terms = {"ttl_seconds": 60, "endpoints": ["ask"]}
    path = f"/api/{PROJECT}/client-tokens"
    minted = [
        (await send_raw(gateway.port, post(path, {**terms, **more}, bearer(parent)))).json()["data"]["token"]
        for more in ({"subject": "ada"}, {"subject": "bob"}, {}, {})
    ]
    foreign = gateway.make_token(OTHER_PROJECT)
    v1 = {"model": "ask", "messages": MESSAGES}

    answers = [
        await call(gateway, "ask", key()),
        await call(gateway, "other", key()),
        await call(gateway, "chat/completions", key(), body={"endpoint": "ask", **BODY}),
        await call(gateway, "v1/chat/completions", key(), body=v1),
        await call(gateway, "ask", key(), token=gateway.make_token()),
        *[await call(gateway, "ask", key(), token=token) for token in minted],
        await send_raw(gateway.port, post(f"/api/{OTHER_PROJECT}/ask", BODY, bearer(foreign), key())),
    ]

    assert [200] * 10 == [answer.status for answer in answers]
    assert [None] * 10 == [answer.headers.get("idempotent-replayed") for answer in answers]
    assert 10 == asked(gateway)


async def test_new_token_of_a_subject_finds_its_answers(lane: Gateway) -> None:
    parent = lane.make_token(scopes=("mint",))
    body = {"ttl_seconds": 60, "endpoints": ["ask"], "subject": "ada"}
    path = f"/api/{PROJECT}/client-tokens"
    minted = [await send_raw(lane.port, post(path, body, bearer(parent))) for _ in range(2)]

    answers = [await call(lane, "ask", key(), token=each.json()["data"]["token"]) for each in minted]

    assert [None, "true"] == [answer.headers.get("idempotent-replayed") for answer in answers]


async def test_replay_is_charged_to_nothing(lane: Gateway) -> None:
    token = lane.make_token(limits=TokenLimits(rate_limit_per_minute=2))

    answers = [await call(lane, "priced", key(), token=token) for _ in range(6)]
    narrow = [await call(lane, "narrow", key(), token=token) for _ in range(3)]
    await lane.stop()

    assert [200] * 9 == [answer.status for answer in answers + narrow]
    rows = lane.log_rows()
    assert [1, 0, 0, 0, 0, 0, 1, 0, 0] == [len(json.loads(row["attempts"])) for row in rows]
    assert [True] + [False] * 5 == [row["cost_nano_usd"] is not None for row in rows[:6]]
    assert [False] + [True] * 5 == ["replay" in json.loads(row["stages_ms"]) for row in rows[:6]]
    assert {(200, "ok", None)} == {(row["status"], row["outcome"], row["error_code"]) for row in rows}
    assert {"priced"} == {row["endpoint_slug"] for row in rows[:6]}


async def test_counting_tokens_takes_no_key(lane: Gateway) -> None:
    body = {"model": "ask", "messages": MESSAGES}

    answers = [await call(lane, "v1/messages/count_tokens", key("a b"), body=body) for _ in range(2)]

    assert [200, 200] == [answer.status for answer in answers]
    assert ["idempotent-replayed" in answer.headers for answer in answers] == [False, False]


async def test_mistakes_of_the_caller_are_kept(gateway: Gateway) -> None:
    asks: list[tuple[str, object]] = [
        ("strict", BODY),
        ("ask", {"messages": 5}),
        ("ask", b"{"),
        ("v1/chat/completions", {"model": "missing", "messages": MESSAGES}),
    ]
    answers = []
    for number, (path, body) in enumerate(asks):
        answers += [[await call(gateway, path, key(f"k{number}"), body=body) for _ in range(2)]]
    await gateway.stop()

    assert [422, 400, 400, 404] == [first.status for first, _ in answers]
    assert all(first.body == again.body and common(first) == common(again) for first, again in answers)
    assert {"true"} == {again.headers["idempotent-replayed"] for _, again in answers}
    rows = gateway.log_rows()
    assert [422, 422, 400, 400, 400, 400, 404, 404] == [row["status"] for row in rows]
    assert "Replayed" == rows[1]["error_code"]


async def test_corrected_body_needs_another_key(lane: Gateway) -> None:
    refused = await call(lane, "strict", key())
    corrected = await call(lane, "strict", key(), body={**BODY, "n": 1})
    other_key = await call(lane, "strict", key("key-2"), body={**BODY, "n": 1})

    assert [422, 422, 200] == [answer.status for answer in (refused, corrected, other_key)]
    assert REUSED == told(corrected)


# ── what is not kept ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_failures_are_not_kept(gateway: Gateway) -> None:
    down = [await call(gateway, "down", key()) for _ in range(2)]
    gateway.simulator.behave("down", "")
    mended = await call(gateway, "down", key())
    limited = [await call(gateway, "narrow", key(f"n{number}")) for number in (1, 2, 2)]

    assert [502, 502, 200] == [answer.status for answer in (*down, mended)]
    assert [200, 429, 429] == [answer.status for answer in limited]
    assert not any("idempotent-replayed" in answer.headers for answer in (*down, mended, *limited))


async def test_broken_stream_is_not_kept(gateway: Gateway) -> None:
    body = {**BODY, "stream": True}
    broken = await call(gateway, "cut", key(), body=body)
    gateway.simulator.behave("cut", "tokens=5")

    whole = await call(gateway, "cut", key(), body=body)
    again = await call(gateway, "cut", key(), body=body)

    assert b"event: error" in broken.body
    assert b"event: error" not in whole.body
    assert whole.body == again.body
    assert [None, "true"] == [answer.headers.get("idempotent-replayed") for answer in (whole, again)]


async def test_long_answers_are_not_kept(gateway: Gateway) -> None:
    gateway.simulator.behave("ask", "", content="x" * 100_000)
    gateway.simulator.behave("stream", "", content="x" * 100_000)

    whole = [await call(gateway, "ask", key()) for _ in range(2)]
    streams = [await call(gateway, "stream", key(), body={**BODY, "stream": True}) for _ in range(2)]

    assert [200] * 4 == [answer.status for answer in whole + streams]
    assert ["false", "false"] == [answer.headers["idempotent-kept"] for answer in whole]
    assert not any("idempotent-replayed" in answer.headers for answer in whole + streams)
    assert 4 == asked(gateway)


async def test_answer_of_a_client_that_left_is_not_kept(gateway: Gateway) -> None:
    gateway.simulator.behave("slow", "fault=stall")
    async with trio.open_nursery() as leaving:
        leaving.start_soon(partial(call, gateway, "slow", key()))
        await gateway.simulator.wait_request(1)
        leaving.cancel_scope.cancel()
    gateway.simulator.behave("slow", "")

    with trio.fail_after(PATIENCE_S):
        answer = await call(gateway, "slow", key())

    assert 200 == answer.status
    assert "idempotent-replayed" not in answer.headers


async def test_disk_that_keeps_nothing_fails_no_request(lane: Gateway) -> None:
    # A file where the folder must be.
    (lane.settings.gateway.data_dir / "idempotency").write_text("in the way")

    answers = [await call(lane, "ask", key()) for _ in range(2)]
    streams = [await call(lane, "stream", key(), body={**BODY, "stream": True}) for _ in range(2)]

    assert [200] * 4 == [answer.status for answer in answers + streams]
    assert ["false"] * 4 == [answer.headers["idempotent-kept"] for answer in answers + streams]
    assert 4 == asked(lane)


# ── running ones ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("path", "body"), [("slow", BODY), ("stream", {**BODY, "stream": True})])
async def test_running_one_is_joined_from_any_worker(
    gateway: Gateway, nursery: trio.Nursery, path: str, body: dict[str, Any]
) -> None:
    worker = await start_worker(nursery, gateway)
    gateway.simulator.behave(path, "latency=300ms&pace=20ms&tokens=10")
    answers: list[HttpResponse] = []

    async def ask(where: Gateway) -> None:
        answers.append(await call(where, path, key(), body=body))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask, gateway)
        await gateway.simulator.wait_request(1)
        for number in range(8):
            asking.start_soon(ask, (gateway, worker)[number % 2])
        other = await call(worker, path, key(), body={**body, "message": "another"})

    assert REUSED == told(other)
    assert [200] * 9 == [answer.status for answer in answers]
    assert 1 == len({answer.body for answer in answers})
    assert 1 == len({answer.headers["x-request-id"] for answer in answers})
    assert 8 == sum(answer.headers.get("idempotent-replayed") == "true" for answer in answers)
    assert 1 == asked(gateway)


@pytest.mark.parametrize("path", ["slow", "stream", "resumable"])
async def test_call_runs_on_as_long_as_one_waits(gateway: Gateway, nursery: trio.Nursery, path: str) -> None:
    worker = await start_worker(nursery, gateway)
    gateway.simulator.behave(path, "latency=1s&pace=20ms&tokens=10")
    body = {**BODY, "stream": path != "slow"}
    answers: list[HttpResponse] = []

    async def ask() -> None:
        answers.append(await call(worker, path, key(), body=body))

    async with trio.open_nursery() as asking, trio.open_nursery() as leaving:
        leaving.start_soon(partial(call, gateway, path, key(), body=body))
        await gateway.simulator.wait_request(1)
        asking.start_soon(ask)
        await wait_until(lambda: waiting_for(gateway) == 1)
        leaving.cancel_scope.cancel()

    (answer,) = answers
    assert (200, "true") == (answer.status, answer.headers["idempotent-replayed"])
    assert answer.body.rstrip().endswith(b"}" if path == "slow" else b"[DONE]")
    assert 1 == asked(gateway)


@pytest.mark.parametrize("path", ["slow", "stream"])
async def test_one_that_waits_may_leave(gateway: Gateway, path: str) -> None:
    gateway.simulator.behave(path, "latency=1s&pace=20ms&tokens=10")
    body = {**BODY, "stream": path == "stream"}
    answers: list[HttpResponse] = []

    async def ask() -> None:
        answers.append(await call(gateway, path, key(), body=body))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await gateway.simulator.wait_request(1)
        async with trio.open_nursery() as leaving:
            leaving.start_soon(partial(call, gateway, path, key(), body=body))
            await wait_until(lambda: waiting_for(gateway) == 1)
            leaving.cancel_scope.cancel()
        await wait_until(lambda: waiting_for(gateway) == 0)
    again = await call(gateway, path, key(), body=body)
    await gateway.stop()

    assert [(200, again.body)] == [(answer.status, answer.body) for answer in answers]
    assert "true" == again.headers["idempotent-replayed"]
    assert 1 == asked(gateway)
    # The one that left has its row, as every client that leaves.
    assert {"ok": 2, "client_left": 1} == Counter(row["outcome"] for row in gateway.log_rows())


async def test_one_of_those_that_wait_runs_after_a_failure(gateway: Gateway, nursery: trio.Nursery) -> None:
    worker = await start_worker(nursery, gateway)
    gateway.simulator.behave("down", "latency=1s&fault=status:500")
    answers: list[HttpResponse] = []

    async def ask(where: Gateway) -> None:
        answers.append(await call(where, "down", key()))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask, gateway)
        await gateway.simulator.wait_request(1)
        for number in range(6):
            asking.start_soon(ask, (gateway, worker)[number % 2])
        await wait_until(lambda: waiting_for(gateway) == 6)
        gateway.simulator.behave("down", "latency=100ms")

    statuses = sorted(answer.status for answer in answers)
    assert [200] * 6 == statuses[:6]
    assert 1 == len({answer.body for answer in answers if answer.status == 200})
    assert asked(gateway) <= 2


async def test_those_that_wait_keep_their_own_deadline(gateway: Gateway) -> None:
    gateway.simulator.behave("slow", "latency=1000ms")
    answers: list[HttpResponse] = []

    async def ask(*headers: Headers) -> None:
        answers.append(await call(gateway, "slow", key(), *headers))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await gateway.simulator.wait_request(1)
        await ask(("x-pg-timeout-ms", "150"))

    assert [504, 200] == [answer.status for answer in answers]
    assert 1 == asked(gateway)


async def test_short_deadline_of_the_first_fails_nobody_else(lane: Gateway) -> None:
    lane.simulator.behave("slow", "latency=400ms")
    answers: list[HttpResponse] = []

    async def ask(*headers: Headers) -> None:
        answers.append(await call(lane, "slow", key(), *headers))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask, ("x-pg-timeout-ms", "200"))
        await lane.simulator.wait_request(1)
        asking.start_soon(ask)

    assert [504, 200] == [answer.status for answer in answers]
    assert 2 == asked(lane)


async def test_replay_has_the_fields_for_its_own_page(nursery: trio.Nursery, tmp_path: Path) -> None:
    configured = project(cors_origins=["https://a.example", "https://b.example"]) + endpoint(
        "ask", streaming_enabled=True
    )
    gateway = await start_gateway(nursery, tmp_path, configured)
    answers = []
    for body in (BODY, {**BODY, "stream": True}):
        for origin in ("https://a.example", "https://b.example", None):
            headers = [] if origin is None else [("origin", origin)]
            answers.append(await call(gateway, "ask", key(f"k{len(body)}"), *headers, body=body))

    origins = [answer.headers.get("access-control-allow-origin") for answer in answers]
    assert ["https://a.example", "https://b.example", None] * 2 == origins
    assert ["Origin"] * 6 == [answer.headers["vary"] for answer in answers]


async def test_kept_files_hold_no_request(lane: Gateway) -> None:
    secret = "the text of the request"
    lane.simulator.behave("ask", "", content="an answer")
    await call(lane, "ask", key("a-telling-key"), body={"message": secret})

    kept = b"".join(
        file.read_bytes() for file in (lane.settings.gateway.data_dir / "idempotency").rglob("*") if file.is_file()
    )

    assert secret.encode() not in kept
    assert b"a-telling-key" not in kept
    assert lane.token.encode() not in kept


async def test_other_methods_take_no_key(lane: Gateway) -> None:
    answer = await send_raw(lane.port, get(f"/api/{PROJECT}/v1/models", bearer(lane.token), key()))

    assert 200 == answer.status
    assert "idempotent-replayed" not in answer.headers
