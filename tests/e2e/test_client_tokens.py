"""Client tokens over sockets, on both server paths and two workers: minted, verified, limited, revoked with their
parent."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

from pg_trio.cli import main
from pg_trio.domain.client_grant import holder_key
from pg_trio.domain.project import TokenLimits
from pg_trio.store.token_admin import TokenAdmin
from tests.support.chat_client import open_socket, refused
from tests.support.gateway import (
    OTHER_PROJECT,
    PROJECT,
    Gateway,
    endpoint,
    project,
    start_gateway,
    start_pages,
    start_worker,
)
from tests.support.toy_ledger import ToyEngine, toy_engines
from tests.support.wire import HttpResponse, bearer, get, post, send_raw

# A tenth of a dollar a token: an answer of 2 + 3 tokens costs 0.50.
PRICED: dict[str, Any] = {"estimated_cost_per_1k_tokens_usd": "100", "max_output_tokens": 3}
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("support", sessions_enabled=True, streaming_enabled=True, model_names=["gpt-*"]),
        endpoint("other"),
        endpoint("priced", **PRICED),
        endpoint("stall", streaming_enabled=True),
        project(OTHER_PROJECT, name="Other"),
        endpoint("support"),
    ]
)
PATIENCE_S = 10
UNKNOWN = (401, "Invalid or revoked token.")
NOT_GRANTED = (403, "Token is not valid for this endpoint.")


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    started = await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)
    started.simulator.behave("stall", "fault=stall")
    return started


@pytest.fixture
async def lane(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    started = await start_gateway(nursery, tmp_path, CONFIGURATION)
    started.simulator.behave("stall", "fault=stall")
    return started


def make_parent(gateway: Gateway, project_uuid: UUID = PROJECT, **limits: int) -> str:
    return gateway.make_token(project_uuid, ("mint",), TokenLimits(**limits) if limits else None)


async def ask_mint(gateway: Gateway, parent: str, body: object, project_uuid: UUID = PROJECT) -> HttpResponse:
    return await send_raw(gateway.port, post(f"/api/{project_uuid}/client-tokens", body, bearer(parent)))


async def mint(gateway: Gateway, parent: str, **terms: object) -> str:
    body = {"ttl_seconds": 600, "endpoints": ["support", "priced", "stall"], **terms}
    answer = await ask_mint(gateway, parent, body)
    assert 201 == answer.status, answer.body
    token: str = answer.json()["data"]["token"]
    return token


async def call(gateway: Gateway, token: str, slug: str = "support", **body: object) -> HttpResponse:
    path = f"/api/{PROJECT}/{slug}"
    return await send_raw(gateway.port, post(path, {"message": "Hello there", **body}, bearer(token)))


def told(answer: HttpResponse) -> tuple[int, str]:
    return answer.status, answer.json()["error"]


# ── minting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_minted_token_calls_its_endpoint(gateway: Gateway) -> None:
    parent = make_parent(gateway)
    before = int(time.time())

    answer = await ask_mint(gateway, parent, {"ttl_seconds": 60, "endpoints": ["support"], "subject": "user-17"})
    data = answer.json()["data"]
    called = await call(gateway, data["token"])

    assert (201, True, {"token", "expires_at"}) == (answer.status, answer.json()["ok"], set(data))
    assert before + 60 <= data["expires_at"] <= int(time.time()) + 60
    assert isinstance(data["expires_at"], int)
    assert data["token"].startswith("pg_tmp_")
    assert set(data["token"]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert "no-store" == answer.headers["cache-control"]
    assert 200 == called.status


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"ttl_seconds": None}, "ttl_seconds: is required."),
        ({"ttl_seconds": 59}, "ttl_seconds: must be from 60 to 86400."),
        ({"ttl_seconds": 86_401}, "ttl_seconds: must be from 60 to 86400."),
        ({"ttl_seconds": "600"}, "ttl_seconds: must be a whole number."),
        ({"ttl_seconds": 600.0}, "ttl_seconds: must be a whole number."),
        ({"ttl_seconds": True}, "ttl_seconds: must be a whole number."),
        ({"endpoints": None}, "endpoints: is required."),
        ({"endpoints": []}, "endpoints: must not be empty."),
        ({"endpoints": "support"}, "endpoints: must be a list of strings."),
        ({"endpoints": [1]}, "endpoints[0]: must be a string."),
        ({"endpoints": ["support", "nope"]}, "endpoints: "),
        ({"endpoints": ["support"] * 33}, "endpoints: has 33 entries, the limit is 32."),
        ({"subject": ""}, "subject: must be 1 to 256 printable characters."),
        ({"subject": "x" * 257}, "subject: must be 1 to 256 printable characters."),
        ({"subject": "a\nb"}, "subject: must be 1 to 256 printable characters."),
        ({"subject": 17}, "subject: must be a string."),
        ({"rate_limit_per_minute": 0}, "rate_limit_per_minute: must be from 1 to 1000000000."),
        ({"rate_limit_per_minute": 1.5}, "rate_limit_per_minute: must be a whole number."),
        ({"max_concurrent": -1}, "max_concurrent: must be from 1 to 1000000000."),
        ({"max_concurrent": "2"}, "max_concurrent: must be a whole number."),
        ({"monthly_budget_usd": "0"}, "monthly_budget_usd: must be more than 0 and at most 1000000000."),
        ({"monthly_budget_usd": "-1"}, "monthly_budget_usd: must be more than 0 and at most 1000000000."),
        ({"monthly_budget_usd": "1e10"}, "monthly_budget_usd: must be more than 0 and at most 1000000000."),
        ({"monthly_budget_usd": "a lot"}, "monthly_budget_usd: must be an amount"),
        ({"monthly_budget_usd": "NaN"}, "monthly_budget_usd: must be an amount"),
        ({"monthly_budget_usd": "1_000"}, "monthly_budget_usd: must be an amount"),
        ({"monthly_budget_usd": " 1"}, "monthly_budget_usd: must be an amount"),
        ({"monthly_budget_usd": "٣"}, "monthly_budget_usd: must be an amount"),
        ({"monthly_budget_usd": True}, "monthly_budget_usd: must be an amount"),
        ({"monthly_budget_usd": "9" * 5_000}, "monthly_budget_usd: must be an amount"),
        ({"rate_limit": 5}, "Unknown field; "),
    ],
)
async def test_bad_field_is_a_400_that_names_it(lane: Gateway, changed: dict[str, Any], error: str) -> None:
    body = {"ttl_seconds": 600, "endpoints": ["support"], **changed}

    answer = await ask_mint(lane, make_parent(lane), body)

    assert 400 == answer.status
    assert answer.json()["error"].startswith(error)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"ttl_seconds":60,"ttl_seconds":90,"endpoints":["support"]}', b'{"subject":"\\ud800"}'],
)
async def test_bad_body_is_a_400(gateway: Gateway, body: bytes) -> None:
    head = (
        f"POST /api/{PROJECT}/client-tokens HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {make_parent(gateway)}\r\ncontent-length: {len(body)}\r\n\r\n"
    )

    answer = await send_raw(gateway.port, head.encode() + body)

    assert (400, False) == (answer.status, answer.json()["ok"])


async def test_minting_needs_the_scope(gateway: Gateway) -> None:
    parent = make_parent(gateway)
    minted = await mint(gateway, parent)
    body = {"ttl_seconds": 60, "endpoints": ["support"]}

    plain = await ask_mint(gateway, gateway.token, body)
    child = await ask_mint(gateway, minted, body)
    foreign = await ask_mint(gateway, parent, body, OTHER_PROJECT)
    wrong_method = await send_raw(gateway.port, get(f"/api/{PROJECT}/client-tokens", bearer(parent)))

    assert (403, "Missing required scope: 'mint'. Token has: chat, models, admin.") == told(plain)
    assert (403, "Missing required scope: 'mint'. Token has: chat.") == told(child)
    assert 403 == foreign.status
    assert 405 == wrong_method.status


# ── what a client token may do ───────────────────────────────────────────────────────────────────────────────────────


async def test_other_endpoints_are_refused_alike(gateway: Gateway) -> None:
    token = await mint(gateway, make_parent(gateway), endpoints=["support"])
    v1 = f"/api/{PROJECT}/v1"
    messages = [{"role": "user", "content": "Hi"}]

    by_path = [await call(gateway, token, slug) for slug in ("other", "missing")]
    by_body = [
        await send_raw(
            gateway.port,
            post(f"/api/{PROJECT}/chat/completions", {"endpoint": slug, "messages": messages}, bearer(token)),
        )
        for slug in ("other", "missing")
    ]
    by_model = [
        await send_raw(gateway.port, post(f"{v1}/{path}", {"model": slug, **rest}, bearer(token)))
        for path, rest in (
            ("chat/completions", {"messages": messages}),
            ("responses", {"input": "Hi"}),
            ("messages", {"messages": messages, "max_tokens": 5}),
            ("messages/count_tokens", {"messages": messages}),
            ("embeddings", {"input": "Hi"}),
        )
        for slug in ("other", "missing", "openai:gpt-4o", "not a model!")
    ]

    assert [NOT_GRANTED] * 4 == [told(answer) for answer in by_path + by_body]
    assert {403} == {answer.status for answer in by_model}
    assert all(NOT_GRANTED[1] in answer.body.decode() for answer in by_model)
    assert 0 == len(gateway.simulator.requests)


async def test_its_endpoint_answers_on_every_surface(gateway: Gateway) -> None:
    token = await mint(gateway, make_parent(gateway), endpoints=["support"])
    v1 = f"/api/{PROJECT}/v1"
    messages = [{"role": "user", "content": "Hi"}]
    asked = [
        (f"{v1}/chat/completions", {"model": "support", "messages": messages}),
        # Another name of the same endpoint.
        (f"{v1}/chat/completions", {"model": "gpt-4o", "messages": messages}),
        (f"{v1}/responses", {"model": "support", "input": "Hi"}),
        (f"{v1}/messages", {"model": "support", "messages": messages, "max_tokens": 5}),
        (f"{v1}/messages/count_tokens", {"model": "support", "messages": messages}),
        (f"{v1}/embeddings", {"model": "support", "input": "Hi"}),
        (f"/api/{PROJECT}/chat/completions", {"endpoint": "support", "messages": messages}),
    ]

    answers = [await send_raw(gateway.port, post(path, body, bearer(token))) for path, body in asked]
    with_key = await send_raw(gateway.port, post(*asked[0], ("x-api-key", token)))

    assert [200] * len(asked) == [answer.status for answer in answers]
    assert 200 == with_key.status


async def test_lists_show_its_endpoints_alone(gateway: Gateway) -> None:
    token = await mint(gateway, make_parent(gateway), endpoints=["support"])

    listed = await send_raw(gateway.port, get(f"/api/{PROJECT}/v1/models", bearer(token)))
    own, other, missing = [
        await send_raw(gateway.port, get(f"/api/{PROJECT}/v1/models/{name}", bearer(token)))
        for name in ("support", "other", "missing")
    ]
    refused = [
        await send_raw(gateway.port, get(f"/api/{PROJECT}/{path}", bearer(token)))
        for path in ("models", "info", "endpoints", "candidates", "tokens")
    ]

    assert ["support"] == [entry["id"] for entry in listed.json()["data"]]
    assert [200, 403, 403] == [answer.status for answer in (own, other, missing)]
    assert [403] * 5 == [answer.status for answer in refused]


async def test_sessions_belong_to_the_subject(gateway: Gateway) -> None:
    parent = make_parent(gateway)
    ada, again, bob, nameless, other = [
        await mint(gateway, parent, **({"subject": subject} if subject else {}))
        for subject in ("ada", "ada", "bob", None, None)
    ]
    session_id = (await call(gateway, ada)).json()["meta"]["session_id"]
    own_id = (await call(gateway, nameless)).json()["meta"]["session_id"]

    resumed = await call(gateway, again, session_id=session_id)
    refused = [await call(gateway, token, session_id=session_id) for token in (bob, nameless)]
    refused += [await call(gateway, token, session_id=own_id) for token in (ada, other)]
    kept = await call(gateway, nameless, session_id=own_id)

    assert [200, 200] == [resumed.status, kept.status]
    assert [(403, "Session not found or not accessible.")] * 4 == [told(answer) for answer in refused]


# ── altered, expired and orphaned tokens ─────────────────────────────────────────────────────────────────────────────


async def test_altered_tokens_are_unknown(lane: Gateway) -> None:
    parent = make_parent(lane)
    token, second = await mint(lane, parent, subject="ada"), await mint(lane, parent, subject="bob")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    start = len("pg_tmp_")
    flipped = [
        token[:place] + alphabet[alphabet.index(token[place]) ^ 1] + token[place + 1 :]
        for place in range(start, len(token))
        if token[place] != "."
    ]
    head, _, signature = token.rpartition(".")
    others = [
        second.rpartition(".")[0] + "." + signature,
        head + ".",
        head,
        "pg_tmp_." + signature,
        token + "A",
        token + ".",
        head + "." + signature[:-1],
        head + "." + signature[::-1],
        *[token[:length] for length in range(start + 1, len(token))],
    ]

    answers = [await call(lane, altered) for altered in [*flipped, *others]]

    assert {UNKNOWN} == {told(answer) for answer in answers}
    assert 0 == len(lane.simulator.requests)
    assert 200 == (await call(lane, token)).status


@pytest.mark.parametrize("tail", ["é", "A" * 5_000, "%41", "+/="])
async def test_tail_that_no_token_has_is_a_401(gateway: Gateway, tail: str) -> None:
    token = await mint(gateway, make_parent(gateway))

    answer = await send_raw(
        gateway.port,
        post(f"/api/{PROJECT}/support", {"message": "Hi"}, ("authorization", f"Bearer {token}{tail}")),
    )

    assert UNKNOWN == told(answer)
    assert 0 == len(gateway.simulator.requests)


async def test_token_of_another_gateway_is_unknown(lane: Gateway, nursery: trio.Nursery, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    elsewhere = await start_gateway(nursery, tmp_path / "elsewhere", CONFIGURATION)
    token = await mint(elsewhere, make_parent(elsewhere))

    assert UNKNOWN == told(await call(lane, token))


async def test_token_of_another_project_is_refused_as_any(gateway: Gateway) -> None:
    foreign = make_parent(gateway, OTHER_PROJECT)
    minted = await ask_mint(gateway, foreign, {"ttl_seconds": 60, "endpoints": ["support"]}, OTHER_PROJECT)

    answer = await call(gateway, minted.json()["data"]["token"])

    assert (403, "Token does not belong to this project.") == told(answer)


async def test_expired_token_is_unknown(lane: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = make_parent(lane)
    token, never_used = await mint(lane, parent, ttl_seconds=60), await mint(lane, parent, ttl_seconds=60)
    first = await call(lane, token)
    really = time.time

    monkeypatch.setattr("pg_trio.web.head_template.time.time", lambda: really() + 61)

    assert 200 == first.status
    assert [UNKNOWN, UNKNOWN] == [told(await call(lane, each)) for each in (token, never_used)]


@pytest.mark.parametrize("ends", ["rotate", "revoke"])
async def test_parent_ends_its_tokens_in_every_worker(gateway: Gateway, nursery: trio.Nursery, ends: str) -> None:
    worker = await start_worker(nursery, gateway)
    parent = make_parent(gateway)
    token, never_used = await mint(gateway, parent), await mint(gateway, parent)
    first = [await call(each, token) for each in (gateway, worker)]

    with TokenAdmin(gateway.settings.gateway.data_dir) as admin:
        getattr(admin, ends)(parent)
    began = trio.current_time()
    with trio.fail_after(PATIENCE_S):
        for each in (gateway, worker):
            while (answer := await call(each, token)).status == 200:
                await trio.lowlevel.checkpoint()
            assert UNKNOWN == told(answer)
    took_s = trio.current_time() - began

    assert [200, 200] == [answer.status for answer in first]
    assert UNKNOWN == told(await call(worker, never_used))
    # The poll is every 250 ms; the promise is a second.
    assert took_s < PATIENCE_S


async def test_verified_without_reading_the_file(lane: Gateway) -> None:
    parent = make_parent(lane)
    tokens = [await mint(lane, parent, subject=f"user-{number}") for number in range(5)]
    first = await call(lane, tokens[0])
    folder = lane.settings.gateway.data_dir

    # Nothing can be read of it any more: what was not read by now is a 503.
    with closing(sqlite3.connect(folder / "tokens.db", isolation_level=None)) as file:
        file.execute("ALTER TABLE tokens RENAME TO gone")
        answers = [await call(lane, token) for token in tokens]
        unread = await call(lane, "pg_live_never_seen")
        file.execute("ALTER TABLE gone RENAME TO tokens")

    assert 200 == first.status
    assert [200] * 5 == [answer.status for answer in answers]
    assert 503 == unread.status


# ── limits, by parent and subject ────────────────────────────────────────────────────────────────────────────────────


async def test_rate_limit_counts_by_subject_over_workers(gateway: Gateway, nursery: trio.Nursery) -> None:
    worker = await start_worker(nursery, gateway)
    parent = make_parent(gateway)
    ada, again, bob = [
        await mint(gateway, parent, subject=subject, rate_limit_per_minute=2) for subject in ("ada", "ada", "bob")
    ]

    answers = [await call(where, token) for where, token in ((gateway, ada), (worker, again), (gateway, again))]
    of_bob = await call(worker, bob)

    assert [200, 200, 429] == [answer.status for answer in answers]
    refusal = answers[-1].json()
    assert ("Rate limit exceeded.", "subject_minute") == (refusal["error"], refusal["scope"])
    assert str(refusal["retry_after"]) == answers[-1].headers["retry-after"]
    assert '"subject_minute";q=2;w=60' in answers[0].headers["ratelimit-policy"]
    assert 200 == of_bob.status


async def test_without_a_subject_each_token_counts(lane: Gateway) -> None:
    parent = make_parent(lane)
    first, second = [await mint(lane, parent, rate_limit_per_minute=1) for _ in range(2)]

    answers = [await call(lane, token) for token in (first, second, first, second)]

    assert [200, 200, 429, 429] == [answer.status for answer in answers]


async def test_concurrency_counts_by_subject(gateway: Gateway, nursery: trio.Nursery) -> None:
    worker = await start_worker(nursery, gateway)
    parent = make_parent(gateway)
    ada, again, bob = [
        await mint(gateway, parent, subject=subject, max_concurrent=1) for subject in ("ada", "ada", "bob")
    ]

    async with trio.open_nursery() as leaving:
        leaving.start_soon(partial(call, gateway, ada, "stall", stream=True))
        await gateway.simulator.wait_request(1)
        refused = await call(worker, again)
        of_bob = await call(worker, bob)
        leaving.cancel_scope.cancel()
    with trio.fail_after(PATIENCE_S):
        while (after := await call(worker, again)).status == 429:
            await trio.lowlevel.checkpoint()

    assert (429, "subject_concurrent") == (refused.status, refused.json()["scope"])
    assert [200, 200] == [of_bob.status, after.status]


async def test_parents_limits_hold_for_all_of_its_tokens(gateway: Gateway) -> None:
    parent = make_parent(gateway, rate_limit_per_minute=2)
    tokens = [await mint(gateway, parent, subject=f"user-{number}", rate_limit_per_minute=9) for number in range(3)]

    answers = [await call(gateway, token) for token in tokens]
    own = await call(gateway, tokens[0])

    assert [200, 200, 429] == [answer.status for answer in answers]
    assert "token_minute" == answers[-1].json()["scope"]
    # What the parent refused was given back to the subject.
    assert '"subject_minute";r=7' in own.headers["ratelimit"]


async def test_budget_counts_by_subject(gateway: Gateway, nursery: trio.Nursery) -> None:
    worker = await start_worker(nursery, gateway)
    gateway.simulator.behave("priced", "tokens=2")
    parent = make_parent(gateway)
    ada, again, bob = [
        await mint(gateway, parent, subject=subject, monthly_budget_usd="0.60") for subject in ("ada", "ada", "bob")
    ]

    first = await call(gateway, ada, "priced")
    spent = first.json()["usage"]["total_tokens"] / 10
    over = await call(worker, again, "priced")
    of_bob = await call(worker, bob, "priced")

    assert 200 == first.status
    assert spent >= 0.3
    assert 422 == over.status
    assert over.json()["error"].startswith("Token monthly budget ")
    assert 200 == of_bob.status
    # The provider is told the limit that was reserved.
    assert 3 == gateway.simulator.requests[0].body["max_completion_tokens"]


async def test_exhausted_budget_says_so(lane: Gateway) -> None:
    lane.simulator.behave("priced", "tokens=2")
    parent = make_parent(lane)
    token = await mint(lane, parent, subject="ada", monthly_budget_usd="0.60")
    # "Hello there" is 3 tokens by estimate; what the provider counts is settled.
    spent = (await call(lane, token, "priced")).json()["usage"]["total_tokens"] / 10

    lower = await mint(lane, parent, subject="ada", monthly_budget_usd="0.30")
    answer = await call(lane, lower, "priced")

    text = f"Token monthly budget exhausted: ~${spent:.2f} spent, budget $0.30. Resets at the start of next month."
    assert (422, text) == told(answer)


async def test_spend_survives_a_restart(nursery: trio.Nursery, tmp_path: Path) -> None:
    first = await start_gateway(nursery, tmp_path, CONFIGURATION)
    first.simulator.behave("priced", "tokens=2")
    parent = make_parent(first)
    token = await mint(first, parent, subject="ada", monthly_budget_usd="0.60")
    spent = (await call(first, token, "priced")).json()["usage"]["total_tokens"] / 10
    await first.stop()
    # As after a restart of the machine.
    for file in first.settings.gateway.data_dir.glob("*.mem"):
        file.unlink()

    second = await start_gateway(nursery, tmp_path, CONFIGURATION)
    lower = await mint(second, parent, subject="ada", monthly_budget_usd="0.30")

    text = f"Token monthly budget exhausted: ~${spent:.2f} spent, budget $0.30. Resets at the start of next month."
    assert (422, text) == told(await call(second, lower, "priced"))
    assert 422 == (await call(second, token, "priced")).status


async def test_row_names_parent_subject_and_token(lane: Gateway) -> None:
    parent = make_parent(lane)
    token, nameless = await mint(lane, parent, subject="user-17"), await mint(lane, parent)
    for each in (token, nameless, lane.token):
        await call(lane, each)

    await lane.stop()

    rows = lane.log_rows()
    assert ["user-17", None, None] == [row["subject"] for row in rows]
    assert [True, True, False] == [row["client_token"] is not None for row in rows]
    assert rows[0]["client_token"] != rows[1]["client_token"]
    assert rows[0]["token_id"] == rows[1]["token_id"] != rows[2]["token_id"]


async def test_full_book_refuses_new_subjects_with_limits(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, "[gateway]\nclient_subjects = 100\n" + CONFIGURATION)
    parent = make_parent(gateway)
    body = {"ttl_seconds": 600, "endpoints": ["support"], "rate_limit_per_minute": 5, "max_concurrent": 5}
    statuses: list[int] = []
    with trio.fail_after(60):
        # A place is taken by the first request.
        while 503 not in statuses[-1:]:
            answer = await ask_mint(gateway, parent, {**body, "subject": f"user-{len(statuses)}"})
            statuses.append(answer.status)
            if answer.status == 201:
                assert 200 == (await call(gateway, answer.json()["data"]["token"])).status

    known = await ask_mint(gateway, parent, {**body, "subject": "user-0"})
    unlimited = await ask_mint(gateway, parent, {"ttl_seconds": 600, "endpoints": ["support"], "subject": "new"})
    stored = await gateway.call("support")

    assert (503, "Too many subjects with limits.") == told(answer)
    assert len(statuses) > 100
    assert [201, 201, 200] == [each.status for each in (known, unlimited, stored)]


@pytest.mark.parametrize("slug", ["support", "priced"])
async def test_ledger_that_waits_counts_alike(nursery: trio.Nursery, tmp_path: Path, slug: str) -> None:
    engine = ToyEngine()
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, engines=toy_engines(engine))
    gateway.simulator.behave("priced", "tokens=2")
    parent = make_parent(gateway, max_concurrent=5)
    limits = {"rate_limit_per_minute": 1, "max_concurrent": 1, "monthly_budget_usd": "5"}
    ada, again, bob = [await mint(gateway, parent, subject=subject, **limits) for subject in ("ada", "ada", "bob")]

    answers = [await call(gateway, token, slug) for token in (ada, again, bob)]

    assert [200, 429, 200] == [answer.status for answer in answers]
    keys = [holder_key(2, f"s:{subject}") for subject in ("ada", "bob")]
    assert [0, 0] == [engine.leases.engine.count(b"c" + key) for key in keys]
    assert [0, 0] == [row[1] for key in keys for row in engine.spend.engine._rows.get(key, {0: (0, 0)}).values()]


async def test_page_may_read_what_minting_answers(nursery: trio.Nursery, tmp_path: Path) -> None:
    origin = ("origin", "https://app.example.com")
    configured = project(cors_origins=[origin[1]]) + endpoint("support")
    gateway = await start_gateway(nursery, tmp_path, configured)
    body = {"ttl_seconds": 600, "endpoints": ["support"]}

    minted = await send_raw(
        gateway.port, post(f"/api/{PROJECT}/client-tokens", body, bearer(make_parent(gateway)), origin)
    )
    token = minted.json()["data"]["token"]
    called = await send_raw(gateway.port, post(f"/api/{PROJECT}/support", {"message": "Hi"}, bearer(token), origin))
    refused = await send_raw(gateway.port, post(f"/api/{PROJECT}/other", {"message": "Hi"}, bearer(token), origin))

    answers = (minted, called, refused)
    assert [201, 200, 403] == [answer.status for answer in answers]
    assert [origin[1]] * 3 == [answer.headers.get("access-control-allow-origin") for answer in answers]


async def test_operators_find_a_subjects_requests(lane: Gateway, nursery: trio.Nursery) -> None:
    operators = await start_pages(nursery, lane)
    parent = make_parent(lane)
    for subject in ("user-17", "USER-17", "user-18"):
        await call(lane, await mint(lane, parent, subject=subject))

    with trio.fail_after(PATIENCE_S):
        while len((await operators.call("GET", "requests")).json()["data"]) < 3:
            await trio.lowlevel.checkpoint()
    found = (await operators.call("GET", "requests?filter=subject:user-17")).json()["data"]
    (shown,) = found
    whole = (await operators.call("GET", f"requests/{shown['request_id']}")).json()["data"]

    assert "user-17" == shown["subject"] == whole["subject"]
    assert 12 == len(whole["client_token"])


async def test_logs_command_shows_a_subject(lane: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    parent = make_parent(lane)
    for subject in ("user-17", "user-18"):
        await call(lane, await mint(lane, parent, subject=subject))
    await lane.stop()
    folder = str(lane.settings.gateway.data_dir)

    await trio.to_thread.run_sync(main, ["logs", "--data-dir", folder, "--subject", "user-17", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    await trio.to_thread.run_sync(main, ["logs", "--data-dir", folder, "--long"])
    table = capsys.readouterr().out

    assert ["user-17"] == [row["subject"] for row in rows]
    assert 12 == len(rows[0]["client_token"])
    assert "user-17" in table
    assert "user-18" in table


async def test_socket_takes_a_client_token(gateway: Gateway) -> None:
    parent = make_parent(gateway)
    token = await mint(gateway, parent, endpoints=["support"], subject="ada")
    protocols = ("pg-chat.v1", f"pg-token.{token}")

    async with open_socket(gateway, "support", token="", protocols=protocols) as client:
        assert "done" == (await client.answer("c1"))[-1]["type"]
        with TokenAdmin(gateway.settings.gateway.data_dir) as admin:
            admin.revoke(parent)
        with trio.fail_after(PATIENCE_S):
            revoked = await client.read_end()
    await gateway.stop()

    assert 4401 == revoked.code
    assert ["ada"] == [row["subject"] for row in gateway.log_rows()]


@pytest.mark.parametrize("slug", ["other", "stall", "missing"])
async def test_socket_for_another_endpoint_is_refused(gateway: Gateway, slug: str) -> None:
    token = await mint(gateway, make_parent(gateway), endpoints=["support"])
    protocols = ("pg-chat.v1", f"pg-token.{token}")

    async with open_socket(gateway, slug, token="", protocols=protocols) as client:
        ended = await client.read_end()
    plain = await refused(gateway, slug, token=token)

    assert 4403 == ended.code
    assert [{"type": "error", "status": 403, "error": NOT_GRANTED[1]}] == ended.frames
    assert (403, {"ok": False, "error": NOT_GRANTED[1]}) == plain


async def test_streams_belong_to_the_subject(nursery: trio.Nursery, tmp_path: Path) -> None:
    configured = project() + endpoint("stream", streaming_enabled=True, resumable_streams=True)
    gateway = await start_gateway(nursery, tmp_path, configured)
    parent = make_parent(gateway)
    ada, again, bob, nameless, other = [
        await mint(gateway, parent, endpoints=["stream"], **({"subject": subject} if subject else {}))
        for subject in ("ada", "ada", "bob", None, None)
    ]
    began = {token: await call(gateway, token, "stream", stream=True) for token in (ada, nameless)}

    async def resume(token: str, of: str) -> HttpResponse:
        path = f"/api/{PROJECT}/stream/streams/{began[of].headers['x-request-id']}"
        return await send_raw(gateway.port, get(f"{path}?after=0", bearer(token)))

    own = [await resume(token, of) for token, of in ((ada, ada), (again, ada), (nameless, nameless))]
    foreign = [
        await resume(token, of) for token, of in ((bob, ada), (nameless, ada), (other, nameless), (ada, nameless))
    ]

    assert [began[ada].body, began[ada].body, began[nameless].body] == [answer.body for answer in own]
    assert [(404, "Stream not found or not accessible.")] * 4 == [told(answer) for answer in foreign]


async def test_streams_of_other_endpoints_are_not_granted(nursery: trio.Nursery, tmp_path: Path) -> None:
    kept: dict[str, Any] = {"streaming_enabled": True, "resumable_streams": True}
    configured = project() + endpoint("stream", **kept) + endpoint("narrow", **kept)
    gateway = await start_gateway(nursery, tmp_path, configured)
    parent = make_parent(gateway)
    wide, narrow = [
        await mint(gateway, parent, endpoints=endpoints, subject="ada")
        for endpoints in (["stream", "narrow"], ["narrow"])
    ]
    began = await call(gateway, wide, "stream", stream=True)
    request_id = began.headers["x-request-id"]

    async def ask(method: bytes, route: str, token: str) -> HttpResponse:
        asked = get(f"/api/{PROJECT}/{route}", bearer(token))
        return await send_raw(gateway.port, asked.replace(b"GET", method, 1))

    own = await ask(b"GET", f"streams/{request_id}", wide)
    named = [await ask(method, f"stream/streams/{request_id}", narrow) for method in (b"GET", b"DELETE")]
    nameless = [await ask(method, f"streams/{request_id}", narrow) for method in (b"GET", b"DELETE")]

    assert began.body == own.body
    assert [NOT_GRANTED] * 2 == [told(answer) for answer in named]
    assert [(404, "Stream not found or not accessible.")] * 2 == [told(answer) for answer in nameless]


async def test_idempotency_keys_lead_to_granted_endpoints_alone(lane: Gateway) -> None:
    parent = make_parent(lane)
    wide, renewed, narrow = [
        await mint(lane, parent, endpoints=endpoints, subject="ada")
        for endpoints in (["support", "other"], ["other", "support"], ["support"])
    ]

    async def ask(token: str, key: str) -> HttpResponse:
        body = {"model": "other", "messages": [{"role": "user", "content": "Hello there"}]}
        asked = post(f"/api/{PROJECT}/v1/chat/completions", body, bearer(token), ("idempotency-key", key))
        return await send_raw(lane.port, asked)

    asked = [(wide, "a"), (renewed, "a"), (narrow, "a"), (narrow, "b"), (wide, "b")]
    answers = [await ask(token, key) for token, key in asked]

    assert [200, 200, 403, 403, 200] == [answer.status for answer in answers]
    assert ["true"] == [
        answer.headers["idempotent-replayed"] for answer in answers if "idempotent-replayed" in answer.headers
    ]
    assert answers[0].body == answers[1].body
