"""Commands whose PostgreSQL is stopped or killed: they say so within a limit, and followers go on when it is back."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.cluster.postgres.command_connection import CommandConnection, connect_command, explained
from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from pg_trio.errors import StoreAway, StoreError
from tests.support.engines import PostgresServer, running_postgres
from tests.support.gateway import endpoint, project
from tests.support.processes import PG_TRIO, PROCESS_LIMIT_S, run_command

WRITE_ROW = (
    "SELECT pgtrio.make_log_day(0);"
    " INSERT INTO pgtrio.gateway_logs (id, node, request_id, at, status, latency_ms, stages_ms, attempts)"
    " SELECT nextval('pgtrio.log_batches') * 1024, 'gw-2', '00000000-0000-0000-0000-{:012d}', 0, 200, 1, '{{}}', '[]'"
)


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server that the test stops."""
    with running_postgres() as server:
        yield server


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def test_stopped_server_costs_a_statement_its_limit(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect_command(postgres.url) as connection:
        # Of what follows: connecting may take longer on a busy machine.
        monkeypatch.setattr(CommandConnection, "limit_s", 0.3)
        with stopped(postgres), pytest.raises(StoreAway, match=r"has not answered for 0\.3 s"), explained():
            connection.execute("SELECT 1")

        assert connection.closed


def test_stopped_server_costs_a_transaction_its_limit_once(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect_command(postgres.url)
    monkeypatch.setattr(CommandConnection, "limit_s", 0.3)
    waits: list[str] = []
    wait = CommandConnection.wait

    def count(*given: Any, **named: Any) -> Any:
        waits.append("one")
        return wait(*given, **named)

    monkeypatch.setattr(CommandConnection, "wait", count)

    def use() -> None:
        with explained(), connection.transaction():
            postgres.freeze()
            connection.execute("SELECT 1")

    with pytest.raises(StoreAway):
        use()
    postgres.thaw()
    connection.close()

    # BEGIN and the statement; what is closed is not asked to roll back.
    assert 2 == len(waits)


def test_slow_answer_that_comes_is_waited_for(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CommandConnection, "limit_s", 20.0)
    with connect_command(postgres.url) as connection:
        rows = connection.execute("SELECT repeat('x', 1000) FROM generate_series(1, 20000)").fetchall()

    assert 20_000 == len(rows)


@pytest.mark.parametrize(
    ("statement", "is_away"),
    [
        ("SELECT pg_terminate_backend(pg_backend_pid())", True),
        ("SELECT * FROM missing", False),
        ("SET statement_timeout = 10; SELECT pg_sleep(10)", False),
    ],
)
def test_what_counts_as_away(postgres: PostgresServer, statement: str, is_away: bool) -> None:
    connection = connect_command(postgres.url)
    with pytest.raises(StoreError) as raised, explained():
        connection.execute(statement.encode())
    connection.close()

    assert is_away == isinstance(raised.value, StoreAway)


def test_missing_database_is_not_away(postgres: PostgresServer) -> None:
    with pytest.raises(StoreError, match="does not exist") as raised:
        PostgresTokenAdmin(postgres.url_of("missing"))

    assert not isinstance(raised.value, StoreAway)


def away_by_stop(server: PostgresServer) -> Callable[[], None]:
    server.freeze()
    return server.thaw


def away_by_kill(server: PostgresServer) -> Callable[[], None]:
    server.kill()
    return server.start


@pytest.mark.slow
@pytest.mark.parametrize("go_away", [away_by_stop, away_by_kill])
async def test_follower_goes_on_when_the_server_is_back(
    postgres: PostgresServer, tmp_path: Path, go_away: Callable[[PostgresServer], Callable[[], None]]
) -> None:
    config = tmp_path / "pg.toml"
    section = f'[cluster]\nredis_url = "redis://127.0.0.1:1/0"\npostgres_url = "{postgres.url}"\nnode = "gw-1"\n'
    config.write_text(section + '[[credentials]]\nname = "sim"\nprovider = "ollama"\n' + project() + endpoint("open"))
    assert 0 == (await run_command("migrate", "--config", str(config)))[0]
    postgres.query(WRITE_ROW.format(1))
    command = [*PG_TRIO, "logs", "--config", str(config), "--json", "--follow"]
    follower = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, notes = follower.stdout, follower.stderr
    assert output is not None
    assert notes is not None
    try:
        # The command notices a silent server after 12 s.
        with trio.fail_after(3 * PROCESS_LIMIT_S):
            rows = await read_until(output, b"-000000000001")
            come_back = await trio.to_thread.run_sync(go_away, postgres)
            said = await read_until(notes, b"trying again until it answers")
            await trio.to_thread.run_sync(come_back)
            postgres.query(WRITE_ROW.format(2))
            rows += await read_until(output, b"-000000000002")
            said += await read_until(notes, b"answers again")
            follower.send_signal(signal.SIGINT)
            status = await follower.wait()
    finally:
        follower.kill()
        with trio.CancelScope(shield=True):
            await follower.wait()
            await output.aclose()
            await notes.aclose()

    assert (130, 2) == (status, rows.count(b"\n"))
    assert 1 == said.count(b"trying again")


async def read_until(stream: trio.abc.ReceiveStream, text: bytes) -> bytes:
    """What comes, to the end of the line with this text."""
    got = b""
    while text not in got or not got.endswith(b"\n"):
        piece = await stream.receive_some()
        assert piece, got
        got += piece
    return got
