"""Commands against a cluster, from any node."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.cluster.waiting import LIMIT_S, wait_for
from tests.cluster.world import ClusterWorld, ask
from tests.support.engines import PostgresServer, RedisServer, running_redis
from tests.support.gateway import PROJECT, endpoint, project, start_gateway
from tests.support.processes import run_command
from tests.support.wire import bearer, post, send_raw

COUNT_ROWS = "SELECT count(*) FROM pgtrio.gateway_logs"
# It costs 7 billionths, of the same endpoint; and one of the machine's is gone.
OTHER_ROW = (
    "INSERT INTO pgtrio.gateway_logs (id, node, request_id, at, status, latency_ms, stages_ms, attempts,"
    " endpoint_uuid, cost_nano_usd) SELECT 1, 'gw-2', gen_random_uuid(), at, 200, 1, '{}', '[]', endpoint_uuid, 7"
    " FROM pgtrio.gateway_logs WHERE subject IS NULL;"
    " DELETE FROM pgtrio.gateway_logs WHERE subject IS NULL AND cost_nano_usd > 7"
)
LEASED = (
    "SELECT length(b.endpoint), b.leased, sum(l.settled) FROM pgtrio.budgets b"
    " JOIN pgtrio.budget_leases l USING (endpoint, month) GROUP BY b.endpoint, b.leased ORDER BY 1"
)


@pytest.fixture
def query(postgres_server: PostgresServer, postgres_url: str) -> Callable[[str], str]:
    """What the cluster's database has."""
    return partial(postgres_server.query, url=postgres_url)


@pytest.fixture
def config(tmp_path: Path, redis: RedisServer, postgres_url: str) -> Path:
    file = tmp_path / "pg.toml"
    text = f'[cluster]\nredis_url = "{redis.url}"\npostgres_url = "{postgres_url}"\nnode = "gw-1"\n'
    credential = '[[credentials]]\nname = "sim"\nprovider = "ollama"\n'
    file.write_text(text + credential + project() + endpoint("open"))
    return file


def section_of(config: Path) -> str:
    """Its `[cluster]`."""
    return config.read_text().partition("[[credentials]]")[0]


async def test_tokens_are_those_of_the_cluster(
    config: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    created = await run_command("token", "create", "--config", str(config), "--project", str(PROJECT), "--name", "ci")
    plaintext = created[1].strip()
    revoked = await run_command("token", "revoke", "--config", str(config), plaintext)
    listed = await run_command("token", "list", "--config", str(config))

    assert (0, 0, 0) == (created[0], revoked[0], listed[0])
    assert plaintext.startswith("pg_live_")
    assert plaintext[:16] in listed[1]
    assert "f" == postgres_server.query("SELECT is_active FROM pgtrio.tokens", postgres_url)


async def test_migrate_makes_the_tables_once(config: Path) -> None:
    first = await run_command("migrate", "--config", str(config))
    second = await run_command("migrate", "--config", str(config))

    assert (0, "PostgreSQL: 001_budgets", 0, "") == (first[0], first[1].splitlines()[0], second[0], second[1])


async def test_doctor_looks_at_both_engines(config: Path, redis: RedisServer) -> None:
    (config.parent / "data").mkdir(mode=0o700)
    before = await run_command("doctor", "--config", str(config))
    await run_command("migrate", "--config", str(config))
    after = await run_command("doctor", "--config", str(config))
    away = await run_command(
        "doctor", "--config", str(config), environ={"PG_TRIO_CLUSTER__REDIS_URL": "redis://127.0.0.1:1/0"}
    )

    assert "problem PostgreSQL: steps are missing (001_budgets" in before[1]
    assert f"ok      Redis at 127.0.0.1:{redis.port}: answers" in after[1]
    assert "ok      PostgreSQL: answers, with this release's tables" in after[1]
    assert "problem Redis at 127.0.0.1:1 cannot be reached (Connection refused)" in away[1]
    assert (1, 1) == (before[0], away[0])


@pytest.mark.parametrize(
    ("ahead", "status", "says"),
    [(1, 0, "note    PostgreSQL: answers, with the next release's tables"), (2, 1, "run the newer release")],
)
async def test_doctor_knows_a_newer_database(
    config: Path, query: Callable[[str], str], ahead: int, status: int, says: str
) -> None:
    await run_command("migrate", "--config", str(config))
    newest = int(query("SELECT max(number) FROM pgtrio.schema_versions"))
    query(f"INSERT INTO pgtrio.schema_versions VALUES ({newest + ahead}, 'later')")

    done, said, _ = await run_command("doctor", "--config", str(config))

    # The node's directory is not there yet.
    assert says in said
    assert status == int("problem PostgreSQL" in said or "problem cluster.postgres_url" in said)
    assert 1 == done


async def test_doctor_says_that_postgres_takes_no_writes(config: Path, query: Callable[[str], str]) -> None:
    database = query("SELECT current_database()")
    query(f"ALTER DATABASE {database} SET default_transaction_read_only = on")

    _, said, _ = await run_command("doctor", "--config", str(config))

    assert "problem PostgreSQL: takes no writes" in said


def turn_to(config: Path, redis: RedisServer, other: RedisServer) -> None:
    config.write_text(config.read_text().replace(f":{redis.port}/", f":{other.port}/"))


async def test_doctor_names_the_redis_that_refuses(config: Path, redis: RedisServer) -> None:
    with running_redis("--requirepass", "geheim") as locked:
        turn_to(config, redis, locked)

        _, said, _ = await run_command("doctor", "--config", str(config))

    assert f"problem Redis at 127.0.0.1:{locked.port} demands a password (cluster.redis_url); without it" in said


async def test_doctor_notes_a_redis_that_drops_keys(config: Path, redis: RedisServer) -> None:
    (config.parent / "data").mkdir(mode=0o700)
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        examined = await run_command("doctor", "--config", str(config))
    finally:
        redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")

    assert f"note    Redis at 127.0.0.1:{redis.port}: its maxmemory-policy is allkeys-lru" in examined[1]


async def test_doctor_on_a_new_node_asks_the_engines(config: Path, redis: RedisServer) -> None:
    examined = await run_command("doctor", "--config", str(config))

    assert f"ok      Redis at 127.0.0.1:{redis.port}: answers" in examined[1]
    assert "problem PostgreSQL: steps are missing" in examined[1]
    assert "data: not there" in examined[1]


async def test_doctor_misses_no_file_that_a_node_does_not_have(config: Path) -> None:
    (config.parent / "data").mkdir(mode=0o700)

    examined = await run_command("doctor", "--config", str(config))

    assert "log.db: not there; the gateway creates it" in examined[1]
    assert "tokens.db" not in examined[1]
    assert "sessions.db" not in examined[1]


async def test_single_machine_is_carried_over(
    config: Path, postgres_server: PostgresServer, postgres_url: str, nursery: trio.Nursery, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    settings = endpoint("open", monthly_budget_usd=25, estimated_cost_per_1k_tokens_usd=1, sessions_enabled=True)
    gateway = await start_gateway(nursery, alone, project() + settings)
    first = await gateway.call("open", {"message": "My name is Ada."})
    session = first.json()["meta"]["session_id"]
    await gateway.stop()
    spent = sum(row["cost_nano_usd"] for row in gateway.log_rows())

    environ = {"PG_TRIO_GATEWAY__DATA_DIR": str(gateway.settings.gateway.data_dir)}
    done = await run_command("cluster", "import", "--config", str(config), environ=environ)
    again = await run_command("cluster", "import", "--config", str(config), environ=environ)

    assert (0, "tokens: 1\noperators: 0\noverrides: 0\nsessions: 1\nmessages: 2\nbudgets: 1\n") == (done[0], done[1])
    assert "The cluster has tokens already; nothing was carried over." in again[2]
    query = "SELECT t.id, s.id, b.leased FROM pgtrio.tokens t, pgtrio.sessions s, pgtrio.budgets b"
    assert f"1|{session}|{spent}" == postgres_server.query(query, postgres_url)
    created = await run_command("token", "create", "--config", str(config), "--project", str(PROJECT), "--name", "new")
    assert 0 == created[0]
    assert "2" == postgres_server.query("SELECT max(id) FROM pgtrio.tokens", postgres_url)


@pytest.mark.parametrize("starts", [0, 1, 2])
async def test_spend_of_a_log_that_was_sent_already_counts_once(
    config: Path, query: Callable[[str], str], nursery: trio.Nursery, tmp_path: Path, starts: int
) -> None:
    configuration = project() + endpoint("open", estimated_cost_per_1k_tokens_usd=1, monthly_budget_usd=25)
    alone = tmp_path / "alone"
    alone.mkdir()
    machine = await start_gateway(nursery, alone, configuration)
    terms = {"ttl_seconds": 600, "endpoints": ["open"], "subject": "ada", "monthly_budget_usd": "5"}
    parent = bearer(machine.make_token(PROJECT, ("mint",)))
    minted = await send_raw(machine.port, post(f"/api/{PROJECT}/client-tokens", terms, parent))
    answers = [await machine.call("open"), await ask(machine, minted.json()["data"]["token"], "open")]
    await machine.stop()
    rows = machine.log_rows()
    # It becomes a node before it is carried over: its log is sent, and at the second start budgets are made of it.
    section = section_of(config)
    for _ in range(starts):
        node = await start_gateway(nursery, alone, section + configuration)
        await wait_for(lambda: query(COUNT_ROWS) == "2")
        await node.stop()
    if starts:
        # A row of the machine that is missing there, and one of another machine that is there.
        query(OTHER_ROW)

    environ = {"PG_TRIO_GATEWAY__DATA_DIR": str(machine.settings.gateway.data_dir)}
    done = await run_command("cluster", "import", "--config", str(config), environ=environ)
    first = query(LEASED)
    # Nothing is left that would refuse it.
    query("TRUNCATE pgtrio.tokens, pgtrio.operators, pgtrio.sessions CASCADE")
    again = await run_command("cluster", "import", "--config", str(config), environ=environ)
    second = query(LEASED)

    assert [200, 200] == [answer.status for answer in answers]
    assert (0, 0) == (done[0], again[0])
    spent = sum(row["cost_nano_usd"] for row in rows) + (7 if starts else 0)
    of_ada = sum(row["cost_nano_usd"] for row in rows if row["subject"] == "ada")
    assert [f"16|{spent}|{spent}", f"17|{of_ada}|{of_ada}"] == first.splitlines() == second.splitlines()


async def test_client_tokens_of_a_machine_stay_good(
    config: Path,
    postgres_server: PostgresServer,
    postgres_url: str,
    nursery: trio.Nursery,
    tmp_path: Path,
    redis: RedisServer,
) -> None:
    configuration = project() + endpoint("open", estimated_cost_per_1k_tokens_usd=1)
    alone = tmp_path / "alone"
    alone.mkdir()
    machine = await start_gateway(nursery, alone, configuration)
    terms = {"ttl_seconds": 600, "endpoints": ["open"], "subject": "ada", "monthly_budget_usd": "5"}
    parent = bearer(machine.make_token(PROJECT, ("mint",)))
    minted = await send_raw(machine.port, post(f"/api/{PROJECT}/client-tokens", terms, parent))
    token = minted.json()["data"]["token"]
    first = await ask(machine, token, "open")
    await machine.stop()
    spent = sum(row["cost_nano_usd"] for row in machine.log_rows())
    # A node that ran before has made a key, which nothing was signed with.
    world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
    (node,) = await world.start(configuration, 1)

    environ = {"PG_TRIO_GATEWAY__DATA_DIR": str(machine.settings.gateway.data_dir)}
    done = await run_command("cluster", "import", "--config", str(config), environ=environ)

    assert (201, 200, 0) == (minted.status, first.status, done[0])
    with trio.fail_after(LIMIT_S):
        while 200 != (await ask(node, token, "open")).status:  # noqa: ASYNC110
            await trio.sleep(0.02)
    of_subject = "SELECT settled FROM pgtrio.budget_leases WHERE length(endpoint) = 17 AND settled = granted"
    assert str(spent) in postgres_server.query(of_subject, postgres_url).splitlines()
    await world.stop()
