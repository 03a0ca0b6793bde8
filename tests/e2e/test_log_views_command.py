"""`pg-trio show`, `stats` and `top` as processes of their own, over a node's own log and over that of a cluster."""

from __future__ import annotations

import json
import time
from pathlib import Path
from uuid import UUID

import pytest
from attrs import evolve

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.store.log import LogStore
from tests.support.processes import run_command
from tests.support.read_logs import send_to_cluster

SUPPORT = UUID("6f1c0000-0000-4000-8000-000000000001")
ROW = LogRow(
    request_id=UUID(int=1),
    at=0.0,
    status=200,
    latency_ms=100.0,
    project_uuid=SUPPORT,
    endpoint_uuid=UUID(int=9),
    endpoint_slug="summarize",
    provider="openai",
    model="gpt-4o-mini",
    prompt_tokens=5,
    completion_tokens=6,
    cost_nano_usd=1_500_000,
    stages='{"auth":1.0,"provider":99.0}',
    attempts=(AttemptRow("openai", "gpt-4o-mini", "main", 1.0, 99.0, "won"),),
    surface="gateway",
    outcome="ok",
    deadline_ms=200,
)


@pytest.fixture(params=["sqlite", "postgres"])
async def place(tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    """The options that name the log."""
    settings = GatewaySettings(data_dir=tmp_path / "data")
    now = time.time()
    async with await LogStore.open(settings) as store:
        store.record(evolve(ROW, at=now - 20))
        store.record(evolve(ROW, request_id=UUID(int=2), at=now - 10, latency_ms=300.0))
        store.record(
            evolve(
                ROW, request_id=UUID(int=3), at=now - 5, status=504, outcome="deadline", error_code="X", error="[late]"
            )
        )
        store.record(evolve(ROW, request_id=UUID(int=4), at=now - 90_000))
    if request.param == "sqlite":
        return ["--data-dir", str(settings.data_dir)]
    return ["--config", str(await send_to_cluster(settings.data_dir, request.getfixturevalue("postgres_url")))]


async def run(place: list[str], *arguments: str) -> str:
    status, output, errors = await run_command(*arguments, *place)
    assert (0, "") == (status, errors)
    return output


async def test_show_draws_a_request(place: list[str]) -> None:
    lines = (await run(place, "show", str(UUID(int=1)))).splitlines()

    assert lines[0].startswith(str(UUID(int=1)))
    assert lines[-1].startswith("openai/gpt-4o-mini")
    assert lines[-1].endswith("won at 99")


async def test_show_of_an_unknown_request_fails(place: list[str]) -> None:
    status, output, errors = await run_command("show", str(UUID(int=99)), *place)

    assert (1, "") == (status, output)
    assert "the log has no request" in errors


async def test_stats_sum_the_last_hour(place: list[str]) -> None:
    found = json.loads(await run(place, "stats", "--json"))

    total = found["total"]
    assert (3, 1, 1) == (total["requests"], total["errors"], total["deadline_misses"])
    assert (100.0, 300.0) == (total["p50_ms"], total["p99_ms"])
    assert pytest.approx(0.0045) == total["cost_usd"]
    assert {"openai": 3} == {name: one["requests"] for name, one in found["providers"].items()}


async def test_stats_are_filtered(place: list[str]) -> None:
    found = json.loads(await run(place, "stats", "--json", "--since", "2d", "--filter", "status:200"))

    assert 3 == found["total"]["requests"]


async def test_stats_for_people(place: list[str]) -> None:
    lines = (await run(place, "stats")).splitlines()

    assert ["all", "3", "1", "1"] == lines[1].split()[:4]
    assert "p50 100.0 ms" in lines[-1]


@pytest.mark.parametrize("words", ["a***", "token:ci"])
async def test_stats_refuse_a_bad_filter(place: list[str], words: str) -> None:
    status, _, errors = await run_command("stats", "--filter", words, *place)

    assert 1 == status
    assert "--filter" in errors


async def test_top_prints_once_without_a_terminal(place: list[str]) -> None:
    output = await run(place, "top")

    assert "the last 60 s" in output
    assert "summarize" in output
    assert "[late]" in output
    assert "\x1b" not in output
