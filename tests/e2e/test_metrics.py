"""What `/metrics` says after requests of every outcome, who may read it, and that official parsers accept it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

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
from tests.support.metrics_text import OPENMETRICS, Scrape, scrape
from tests.support.processes import wait_until
from tests.support.wire import bearer, get, post, send_raw

FAILOVER = [{"credential": "sim", "model": "second"}]
CONFIGURATION = "\n".join(
    [
        '[[projects]]\nuuid = "6f1c0000-0000-4000-8000-000000000001"\nname = "Test"\nslug = "shop"',
        endpoint("plain", estimated_cost_per_1k_tokens_usd="1", monthly_budget_usd="10"),
        endpoint("hedged", "first", failover=FAILOVER, hedge_after_ms=0),
        endpoint("failing", "first", failover=FAILOVER),
        endpoint("streamed", streaming_enabled=True),
        endpoint("short", deadline_ms=300),
        endpoint("limited", rate_limit_per_minute=1),
        endpoint("masked", guardrails={"pii_filter": {"enabled": True}}),
        endpoint("words", guardrails={"keyword_blocklist": {"enabled": True, "words": ["forbidden"]}}),
        endpoint("shaped", input_schema={"type": "object", "required": ["message", "answer"]}),
        endpoint("small", usage_hard_limit_tokens=1),
    ]
)


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


@pytest.fixture
async def operators(nursery: trio.Nursery, gateway: Gateway) -> Operators:
    return await start_pages(nursery, gateway)


def outcomes(scraped: Scrape) -> set[tuple[str, str, str]]:
    return {
        (labels["endpoint"], labels["status"], labels["outcome"]) for labels in scraped.labels("pg_trio_requests_total")
    }


async def test_answered_requests_are_counted(gateway: Gateway, operators: Operators) -> None:
    answers = [await gateway.call("plain") for _ in range(3)]

    scraped = await scrape(operators.port)

    usage = [answer.json()["usage"] for answer in answers]
    one = {"project": "shop", "endpoint": "plain"}
    assert 3 == scraped.sum("pg_trio_requests_total", **one, surface="gateway", status="200", outcome="ok")
    assert 3 == scraped.sum("pg_trio_request_duration_seconds_count", **one)
    assert 3 == scraped.sum("pg_trio_request_duration_seconds_bucket", **one, le="+Inf")
    assert 3 == scraped.sum("pg_trio_overhead_seconds_count", **one)
    assert 3 == scraped.sum("pg_trio_stage_duration_seconds_count", stage="auth")
    attempt = {"provider": "openai", "model": "plain"}
    assert 3 == scraped.sum("pg_trio_attempts_total", **attempt, outcome="won")
    assert 3 == scraped.sum("pg_trio_attempt_duration_seconds_count", **attempt)
    for kind, name in (("input", "prompt_tokens"), ("output", "completion_tokens")):
        tokens = sum(each[name] for each in usage)
        assert tokens == scraped.sum("pg_trio_tokens_total", **one, **attempt, kind=kind)
        assert tokens == scraped.sum("gen_ai_client_token_usage_sum", gen_ai_token_type=kind)
    spent = sum(each["total_tokens"] for each in usage) / 1000
    assert pytest.approx(spent) == scraped.sum("pg_trio_cost_usd_total", **one)
    assert pytest.approx(spent) == scraped.sum("pg_trio_budget_spent_usd", **one)
    assert 10 == scraped.sum("pg_trio_budget_limit_usd", **one)
    call = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai", "gen_ai_request_model": "plain"}
    assert 3 == scraped.sum("gen_ai_client_operation_duration_seconds_count", **call)
    assert 3 == scraped.sum("gen_ai_server_request_duration_seconds_count", **call)


async def test_opened_credential_shows_its_budget(nursery: trio.Nursery, tmp_path: Path) -> None:
    opened = '[[projects.providers]]\ncredential = "sim"\nmonthly_budget_usd = "7"\n'
    head = CONFIGURATION.partition("[[projects.endpoints]]")[0] + '\nproject_type = "ai_wrapper"\n'
    gateway = await start_gateway(nursery, tmp_path, head + opened)
    operators = await start_pages(nursery, gateway)

    scraped = await scrape(operators.port)

    assert 7 == scraped.sum("pg_trio_budget_limit_usd", project="shop")


async def test_refusals_have_their_outcomes(gateway: Gateway, operators: Operators) -> None:
    gateway.simulator.behave("short", "fault=stall")
    gateway.simulator.behave("first", "fault=status:400")
    for slug in ("short", "limited", "limited", "shaped", "small", "failing", "unknown-slug"):
        await gateway.call(slug)
    await gateway.call("words", {"message": "this is forbidden"})
    await gateway.call("masked", {"message": "My mail is jane@example.com"})
    await gateway.call("plain", {"message": 7})
    await send_raw(gateway.port, post(f"/api/{PROJECT}/plain", {"message": "Hi"}))

    scraped = await scrape(operators.port)

    assert {
        ("short", "504", "deadline"),
        ("limited", "200", "ok"),
        ("limited", "429", "refused_rate"),
        ("shaped", "422", "refused_schema"),
        ("small", "422", "refused_budget"),
        ("failing", "502", "all_failed"),
        ("other", "404", "refused_request"),
        ("words", "422", "refused_guardrail"),
        ("masked", "200", "ok"),
        ("plain", "400", "refused_request"),
        ("other", "401", "refused_auth"),
    } == outcomes(scraped)
    assert {"shop", "other"} == {labels["project"] for labels in scraped.labels("pg_trio_requests_total")}
    assert 1 == scraped.sum("pg_trio_rate_limit_rejections_total", endpoint="limited", scope="minute")
    assert 1 == scraped.sum("pg_trio_guardrail_hits_total", endpoint="words", action="block")
    assert 1 == scraped.sum("pg_trio_guardrail_hits_total", endpoint="masked", guardrail="pii_filter", action="mask")
    assert 1 == scraped.sum("pg_trio_deadline_overrun_seconds_count", endpoint="short")
    assert 1 == scraped.sum("pg_trio_attempts_total", model="first", outcome="failed", reason="HTTP 400")
    assert 1 == scraped.sum("pg_trio_attempts_total", model="short", outcome="cancelled")
    assert "unknown-slug" not in str(scraped.samples)


async def test_hedge_is_counted(gateway: Gateway, operators: Operators) -> None:
    gateway.simulator.behave("first", "fault=stall")
    await gateway.call("hedged")

    scraped = await scrape(operators.port)

    assert 1 == scraped.sum("pg_trio_hedges_total", endpoint="hedged", outcome="won")
    assert 1 == scraped.sum("pg_trio_attempts_total", model="first", outcome="lost")
    assert 1 == scraped.sum("pg_trio_attempts_total", model="second", outcome="won")
    error = {"gen_ai_request_model": "first", "error_type": "cancelled"}
    assert 1 == scraped.sum("gen_ai_client_operation_duration_seconds_count", **error)


async def test_stream_is_counted(gateway: Gateway, operators: Operators) -> None:
    await gateway.call("streamed", {"message": "Tell me a long story", "stream": True})

    scraped = await scrape(operators.port)

    for name in ("time_to_first_token", "time_per_output_token"):
        assert 1 == scraped.sum(f"pg_trio_{name}_seconds_count", project="shop", endpoint="streamed")
        assert 1 == scraped.sum(f"gen_ai_server_{name}_seconds_count", gen_ai_request_model="streamed")
    assert 0 == scraped.sum("pg_trio_streams_active")


async def test_gauges_of_now(gateway: Gateway, operators: Operators, nursery: trio.Nursery) -> None:
    gateway.simulator.behave("plain", "fault=stall")
    nursery.start_soon(gateway.call, "plain")
    await wait_until(lambda: bool(gateway.simulator.requests))

    scraped = await scrape(operators.port)

    assert 1 == scraped.sum("pg_trio_requests_active", worker="0")
    assert 1 == scraped.sum("pg_trio_connections_open", worker="0")
    assert 0 < scraped.sum("pg_trio_budget_reserved_usd", endpoint="plain")
    assert 1 == scraped.sum("pg_trio_storage_up")
    assert 0 < scraped.sum("pg_trio_shared_memory_slots_used")
    assert {"worker": "0"} in scraped.labels("process_resident_memory_bytes")
    assert 0 < scraped.sum("process_cpu_seconds_total", worker="0")
    assert 0 == scraped.sum("pg_trio_breaker_state", provider="openai", model="plain")
    assert 1 == scraped.sum("pg_trio_build_info")


async def test_open_breaker_shows(gateway: Gateway, operators: Operators) -> None:
    gateway.simulator.behave("plain", "fault=status:500")
    for _ in range(5):
        await gateway.call("plain")

    assert 2 == (await scrape(operators.port)).sum("pg_trio_breaker_state", provider="openai", model="plain")


async def test_any_worker_shows_all(gateway: Gateway, nursery: trio.Nursery) -> None:
    other = await start_worker(nursery, gateway)
    operators = await start_pages(nursery, other)
    await gateway.call("plain")
    await other.call("plain")

    scraped = await scrape(operators.port)

    assert 2 == scraped.sum("pg_trio_requests_total", endpoint="plain")
    assert [{"worker": "0"}, {"worker": "1"}] == sorted(
        scraped.labels("pg_trio_requests_active"), key=lambda labels: labels["worker"]
    )
    await other.stop()
    assert 2 == (await scrape((await start_pages(nursery, gateway)).port)).sum("pg_trio_requests_total")


async def test_rows_lost_at_a_stop_are_counted(
    gateway: Gateway, operators: Operators, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.store.log.CLOSE_LIMIT_S", 0.1)
    other = await start_worker(nursery, gateway)
    log = gateway.settings.gateway.data_dir / "log.db"
    with closing(sqlite3.connect(log, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            await other.call("plain")
        await other.stop()

    scraped = await scrape(operators.port)

    assert 3 == scraped.sum("pg_trio_log_dropped_total")


async def test_openmetrics_where_asked_for(gateway: Gateway, operators: Operators) -> None:
    await gateway.call("plain")

    plain, asked = await scrape(operators.port), await scrape(operators.port, ("accept", OPENMETRICS))

    assert plain.sum("pg_trio_requests_total") == asked.sum("pg_trio_requests_total") == 1


async def status(port: int, *headers: tuple[str, str]) -> int:
    return (await send_raw(port, get("/metrics", ("connection", "close"), *headers))).status


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for"])
async def test_only_this_machine_needs_no_key(operators: Operators, name: str) -> None:
    proxied = (name, "for=127.0.0.1" if name == "forwarded" else "127.0.0.1")

    assert 200 == await status(operators.port)
    assert 401 == await status(operators.port, proxied)
    assert 200 == await status(operators.port, proxied, bearer(operators.viewer))
    assert 401 == await status(operators.port, bearer("pg_op_wrong"))


async def test_not_on_the_public_address(gateway: Gateway) -> None:
    assert 404 == await status(gateway.port)


@pytest.mark.parametrize("server", ["lane", "hypercorn"])
async def test_public_where_configured(nursery: trio.Nursery, tmp_path: Path, server: str) -> None:
    configuration = "[observe]\nmetrics_public = true\n" + project() + endpoint("plain")
    gateway = await start_gateway(nursery, tmp_path, configuration, server)
    await gateway.call("plain")

    scraped = await scrape(gateway.port, ("x-forwarded-for", "203.0.113.7"))

    assert 1 == scraped.sum("pg_trio_requests_total", endpoint="plain")


async def test_metrics_may_be_off(nursery: trio.Nursery, tmp_path: Path) -> None:
    configuration = "[observe]\nmetrics = false\nmetrics_public = true\n" + project() + endpoint("plain")
    gateway = await start_gateway(nursery, tmp_path, configuration)
    await gateway.call("plain")

    assert 404 == await status(gateway.port)
    assert not (gateway.settings.gateway.data_dir / "metrics.mem").exists()


async def test_removed_file_is_made_anew(gateway: Gateway, operators: Operators) -> None:
    await gateway.call("plain")
    path = gateway.settings.gateway.data_dir / "metrics.mem"
    path.unlink()
    await wait_until(path.exists)
    await gateway.call("plain")

    assert 2 == (await scrape(operators.port)).sum("pg_trio_requests_total", endpoint="plain")


async def test_unreadable_file_says_so(gateway: Gateway, operators: Operators) -> None:
    path = gateway.settings.gateway.data_dir / "metrics.mem"
    path.unlink()
    path.mkdir()

    answer = await send_raw(operators.port, get("/metrics", ("connection", "close")))

    assert (503, "Metrics are unavailable.") == (answer.status, answer.json()["error"])
    assert 200 == (await gateway.call("plain")).status


async def test_gateway_serves_without_a_file_of_metrics(nursery: trio.Nursery, tmp_path: Path) -> None:
    """A full disk, or something else in the file's place: requests are answered, and `/metrics` says that it is off."""
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "metrics.mem").mkdir()

    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    operators = await start_pages(nursery, gateway)
    answered = await gateway.call("plain")
    shown = await send_raw(operators.port, get("/metrics", ("connection", "close")))

    assert (200, 404) == (answered.status, shown.status)
