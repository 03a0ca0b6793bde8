"""`pg-trio logs` as a process of its own, reading what a gateway's store writes meanwhile."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import trio
from attrs import evolve

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.store.log import LogStore
from pg_trio.store.log_file import SCHEMA
from tests.support.processes import PG_TRIO, run_command

NOW = 1_700_000_000.0
PATIENCE_S = 30
SUPPORT = UUID("6f1c0000-0000-4000-8000-000000000001")
CONFIG = f'[gateway]\ndata_dir = "data"\n[[projects]]\nuuid = "{SUPPORT}"\nname = "Support"\nslug = "support"\n'

ROW = LogRow(
    request_id=UUID(int=1),
    at=NOW,
    status=200,
    latency_ms=12.5,
    project_uuid=SUPPORT,
    endpoint_uuid=UUID(int=9),
    endpoint_slug="summarize",
    token_id=4,
    provider="openai",
    model="gpt-4o-mini",
    prompt_tokens=5,
    completion_tokens=6,
    cached_tokens=4,
    reasoning_tokens=3,
    cost_nano_usd=1_500_000,
    price="list 2026-08",
    stages='{"auth":0.25}',
    attempts=(AttemptRow("openai", "gpt-4o-mini", "main", 0.5, 4.0, "won", 1.5),),
    client_request_id="trace-1",
    client_address="2001:db8::7",
    request_body='{"messages":[{"role":"user","content":"Hello"}]}',
    surface="gateway",
    outcome="ok",
    deadline_ms=1_200,
)
FAILED = evolve(
    ROW,
    request_id=UUID(int=2),
    at=NOW + 1,
    status=502,
    endpoint_slug="translate",
    error_code="ProviderCallFailed",
    error="Provider call failed: no",
    client_request_id="trace-2",
    request_body=None,
)
BROKEN_STREAM = evolve(FAILED, request_id=UUID(int=3), at=NOW + 2, status=200)
FOREIGN = LogRow(
    request_id=UUID(int=4), at=NOW + 3, status=401, latency_ms=0.1, error_code="UnknownToken", error="Invalid token."
)
ROWS = [ROW, FAILED, BROKEN_STREAM, FOREIGN]


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "pg.toml").write_text(CONFIG)
    settings = GatewaySettings(data_dir=tmp_path / "data")
    async with await LogStore.open(settings) as store:
        for row in ROWS:
            store.record(row)
    return settings.data_dir


async def logs(*arguments: str) -> str:
    """Standard output of a run that succeeds."""
    status, output, errors = await run_command("logs", *arguments)
    assert (0, "") == (status, errors)
    return output


async def ids(data_dir: Path, *arguments: str) -> list[int]:
    """Which rows are shown: their request ids as small numbers, in their order."""
    output = await logs("--data-dir", str(data_dir), "--json", *arguments)
    return [UUID(json.loads(line)["request_id"]).int for line in output.splitlines()]


async def test_json_has_everything(data_dir: Path) -> None:
    line = (await logs("--data-dir", str(data_dir), "--json")).splitlines()[0]

    expected = {
        "request_id": str(UUID(int=1)),
        "at": NOW,
        "status": 200,
        "outcome": "ok",
        "surface": "gateway",
        "deadline_ms": 1_200,
        "first_token_ms": 1.5,
        "latency_ms": 12.5,
        "project_uuid": str(SUPPORT),
        "endpoint_uuid": str(UUID(int=9)),
        "endpoint": "summarize",
        "token_id": 4,
        "subject": None,
        "client_token": None,
        "client_request_id": "trace-1",
        "client_address": "2001:db8::7",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "error_code": None,
        "error": None,
        "guardrails": [],
        "prompt_tokens": 5,
        "completion_tokens": 6,
        "cached_tokens": 4,
        "cache_write_tokens": 0,
        "reasoning_tokens": 3,
        "cost_usd": 0.0015,
        "price": "list 2026-08",
        "stages_ms": {"auth": 0.25},
        "attempts": [
            {
                "provider": "openai",
                "model": "gpt-4o-mini",
                "credential": "main",
                "started_ms": 0.5,
                "ended_ms": 4.0,
                "first_token_ms": 1.5,
                "outcome": "won",
                "is_hedge": False,
            }
        ],
        "request_body": {"messages": [{"role": "user", "content": "Hello"}]},
        "response_body": None,
    }
    assert expected == json.loads(line)


async def test_table_is_for_people(data_dir: Path) -> None:
    lines = (await logs("--data-dir", str(data_dir))).splitlines()

    assert lines[0].startswith("TIME                     STATUS         MS  SURFACE      ENDPOINT          MODEL  ")
    assert lines[1].startswith(
        "2023-11-14T22:13:20.000  200          12.5  gateway      summarize         gpt-4o-mini  "
    )
    assert lines[2].endswith(f"{UUID(int=2)}  Provider call failed: no")
    assert 5 == len(lines)


async def test_long_table_shows_clients(data_dir: Path) -> None:
    lines = (await logs("--data-dir", str(data_dir), "--long")).splitlines()

    places = [lines[0].index(heading) for heading in ("REQUEST ID", "CLIENT", "CLIENT'S ID", "ERROR")]
    assert places == sorted(places)
    assert lines[1].endswith(f"{UUID(int=1)}  {'2001:db8::7':39}  trace-1")
    assert lines[2].endswith(f"{'2001:db8::7':39}  {'trace-2':36}  Provider call failed: no")
    assert f"{UUID(int=4)}  {'-':39}  {'-':36}  Invalid token." in lines[4]


async def test_terminal_is_not_commanded(data_dir: Path) -> None:
    async with await LogStore.open(GatewaySettings(data_dir=data_dir)) as store:
        store.record(evolve(ROW, model="\x1b[31mred\nline"))

    output = await logs("--data-dir", str(data_dir))

    assert "?[31mred?line" in output
    assert 6 == len(output.splitlines())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [1, 2, 3, 4]),
        (["-n", "2"], [3, 4]),
        (["--endpoint", "translate"], [2, 3]),
        (["--status", "401"], [4]),
        (["--status", "5xx"], [2]),
        (["--errors"], [2, 3, 4]),
        (["--since", "2023-11-14T22:13:22Z"], [3, 4]),
        (["--since", "2023-11-14T23:13:22+01:00", "-n", "1"], [4]),
        (["--since", "90s"], []),
        (["--request-id", str(UUID(int=2))], [2]),
        (["--client-request-id", "trace-2"], [2, 3]),
        (["--client-request-id", "trace-1", "--errors"], []),
        (["--client", "2001:DB8:0::7"], [1, 2, 3]),
        (["--client", "::1"], []),
        (["--project", str(SUPPORT)], [1, 2, 3]),
        (["--project", str(SUPPORT), "--errors", "--status", "502", "--endpoint", "translate"], [2]),
        (["--endpoint", "' OR 1=1 --"], []),
    ],
)
async def test_filters(data_dir: Path, arguments: list[str], expected: list[int]) -> None:
    assert expected == await ids(data_dir, *arguments)


async def test_project_by_name(data_dir: Path) -> None:
    output = await logs("--config", str(data_dir.parent / "pg.toml"), "--json", "--project", "Support")

    assert 3 == len(output.splitlines())


async def test_follow_shows_rows_as_they_come(data_dir: Path) -> None:
    command = [*PG_TRIO, "logs", "--data-dir", str(data_dir), "--json", "--follow", "--errors", "-n", "1"]
    with trio.fail_after(PATIENCE_S):
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        seen = b""
        try:
            while seen.count(b"\n") < 1:
                seen += await process.stdout.receive_some()
            async with await LogStore.open(GatewaySettings(data_dir=data_dir)) as store:
                store.record(evolve(ROW, request_id=UUID(int=5)))
                store.record(evolve(FAILED, request_id=UUID(int=6)))
            while seen.count(b"\n") < 2:
                seen += await process.stdout.receive_some()
        finally:
            process.kill()
            await process.wait()

    assert [4, 6] == [UUID(json.loads(line)["request_id"]).int for line in seen.splitlines()]


async def test_reader_of_half_the_output_ends_it_quietly(data_dir: Path) -> None:
    command = f"{sys.executable} -m pg_trio logs --data-dir {data_dir} --json --follow | head -n 1"
    with trio.fail_after(PATIENCE_S):
        async with await LogStore.open(GatewaySettings(data_dir=data_dir)) as store, trio.open_nursery() as nursery:
            nursery.start_soon(store.write)
            nursery.start_soon(_record_for_ever, store)
            done = await trio.run_process(["sh", "-c", command], capture_stdout=True, capture_stderr=True)
            nursery.cancel_scope.cancel()

    assert (1, b"") == (done.stdout.count(b"\n"), done.stderr)


async def _record_for_ever(store: LogStore) -> None:
    while True:
        store.record(ROW)
        await trio.sleep(0.05)


async def test_reading_changes_nothing(data_dir: Path) -> None:
    before = (data_dir / "log.db").read_bytes()

    await logs("--data-dir", str(data_dir))

    assert before == (data_dir / "log.db").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--status", "6xx"], "'6xx' is no status"),
        (["--since", "yesterday"], "neither like 15m"),
        (["--request-id", "12"], "no request id"),
        (["--client", "localhost"], "'localhost' is no IP address"),
        (["-n", "-1"], "no number of rows"),
    ],
)
async def test_wrong_usage_is_explained(arguments: list[str], text: str) -> None:
    status, _, errors = await run_command("logs", "--data-dir", "nowhere", *arguments)

    assert 2 == status
    assert text in errors


async def test_missing_log_is_explained(tmp_path: Path) -> None:
    status, output, errors = await run_command("logs", "--data-dir", str(tmp_path / "typo"))

    assert (1, "") == (status, output)
    assert "log.db: not there, so no gateway ever ran here; is data_dir the right one?" in errors
    assert not await trio.Path(tmp_path / "typo").exists()


async def test_older_log_is_explained(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / "log.db")) as file:
        file.execute("PRAGMA user_version = 1")

    status, _, errors = await run_command("logs", "--data-dir", str(data_dir))

    assert 1 == status
    assert f"written by an older pg_trio (schema 1; this one wants {len(SCHEMA.steps)})" in errors


async def test_damaged_log_is_explained(data_dir: Path) -> None:
    with (data_dir / "log.db").open("r+b") as file:
        file.write(b"no database at all")

    status, _, errors = await run_command("logs", "--data-dir", str(data_dir))

    assert 1 == status
    assert "not a database of ours, or damaged; move it away" in errors
