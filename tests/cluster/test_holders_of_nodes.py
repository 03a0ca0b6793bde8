"""Client tokens of a cluster: minted at one node and good at every one, their holders' limits and budgets counted over
all of them."""

from __future__ import annotations

from pathlib import Path

import trio

from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from pg_trio.domain.project import TokenLimits
from pg_trio.stores.holder_file import FILE_NAME
from tests.cluster.waiting import wait_for
from tests.cluster.world import ClusterWorld, ask, statuses_of
from tests.support.engines import PostgresServer, running_redis
from tests.support.gateway import PROJECT, Gateway, endpoint, project
from tests.support.wire import bearer, post, send_raw

CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("open"),
        endpoint("narrow", rate_limit_per_hour=20),
        endpoint("priced", estimated_cost_per_1k_tokens_usd=1, max_output_tokens=200),
        endpoint("session", sessions_enabled=True),
        endpoint("stall", streaming_enabled=True),
    ]
)


def make_parent(world: ClusterWorld, limits: TokenLimits | None = None) -> str:
    with PostgresTokenAdmin(world.postgres_url) as admin:
        return admin.create(PROJECT, "server", "live", ("mint",), limits)[1]


async def mint(node: Gateway, parent: str, **terms: object) -> str:
    body = {"ttl_seconds": 600, "endpoints": ["open", "narrow", "priced", "session", "stall"], **terms}
    answer = await send_raw(node.port, post(f"/api/{PROJECT}/client-tokens", body, bearer(parent)))
    assert 201 == answer.status, answer.body
    token: str = answer.json()["data"]["token"]
    return token


async def test_token_is_good_at_every_node_until_its_parent_is_revoked(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    parent = make_parent(world)
    token = await mint(nodes[0], parent)

    before = [(await ask(node, token, "open")).status for node in nodes]
    with PostgresTokenAdmin(world.postgres_url) as admin:
        admin.revoke(parent)
    with trio.fail_after(10):
        while [401, 401] != [(await ask(node, token, "open")).status for node in nodes]:  # noqa: ASYNC110
            await trio.sleep(0.02)

    assert [200, 200] == before
    assert "1" == world.postgres.query("SELECT count(*) FROM pgtrio.signing_keys", world.postgres_url)
    await world.stop()


async def test_holder_s_limit_counts_over_nodes_and_refused_ones_take_nothing(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    parent = make_parent(world, TokenLimits(rate_limit_per_minute=15))
    one = await mint(nodes[0], parent, subject="ada", rate_limit_per_minute=5)
    other = await mint(nodes[1], parent, subject="bob")

    of_ada = await statuses_of(nodes, one, "narrow", 20)
    # What the holder's limit refused took nothing of its parent's, nor of the endpoint's.
    of_bob = await statuses_of(nodes, other, "narrow", 20)

    assert ({200: 5, 429: 15}, {200: 10, 429: 10}) == (of_ada, of_bob)
    await world.stop()


async def test_holder_s_calls_at_once_count_over_nodes(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = await mint(nodes[0], make_parent(world), subject="ada", max_concurrent=1)
    nodes[0].simulator.behave("stall", "fault=stall")

    async with trio.open_nursery() as clients:
        clients.start_soon(ask, nodes[0], token, "stall", {"message": "Hi", "stream": True})
        await wait_for(lambda: world.redis.command("KEYS", "pg_trio:permits:*") != "")
        refused = await ask(nodes[1], token, "open")
        clients.cancel_scope.cancel()
    await wait_for(lambda: world.redis.command("KEYS", "pg_trio:permits:*") == "")

    assert (429, 200) == (refused.status, (await ask(nodes[1], token, "open")).status)
    await world.stop()


async def test_holder_s_budget_is_one_over_nodes(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = await mint(nodes[0], make_parent(world), subject="ada", monthly_budget_usd="0.5")

    got = await statuses_of(nodes, token, "priced", 40)
    await world.stop()

    # Each request reserves 0.203 of 0.5 dollars, and costs less.
    assert 2 <= got[200] < 40
    assert set(got) == {200, 422}
    spent, leased, length = world.postgres.query(
        "SELECT (SELECT sum(cost_nano_usd) FROM pgtrio.gateway_logs WHERE subject = 'ada' AND client_token <> ''),"
        " leased, length(endpoint) FROM pgtrio.budgets",
        world.postgres_url,
    ).split("|")
    assert int(spent) == int(leased) <= 500_000_000
    assert "17" == length


async def test_session_is_its_holder_s_at_every_node(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    parent = make_parent(world)
    ada, again, bob = [await mint(nodes[0], parent, subject=subject) for subject in ("ada", "ada", "bob")]
    first = await ask(nodes[0], ada, "session", {"message": "My name is Ada."})
    asked = {"message": "And?", "session_id": first.json()["meta"]["session_id"]}

    of_ada, of_bob = await ask(nodes[1], again, "session", asked), await ask(nodes[1], bob, "session", asked)

    assert (200, 4) == (
        of_ada.status,
        int(
            world.postgres.query("SELECT message_count FROM pgtrio.sessions WHERE holder = 's:ada'", world.postgres_url)
        ),
    )
    assert 200 != of_bob.status
    await world.stop()


async def test_holders_do_not_take_the_room_of_endpoints(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 1)
    parent, files = make_parent(world), [world.folder / "gw-1" / "data" / FILE_NAME]
    plain = await mint(nodes[0], parent)
    assert 200 == (await ask(nodes[0], plain, "open")).status
    before = [file.exists() for file in files]

    limited = await mint(nodes[0], parent, subject="ada", rate_limit_per_minute=5)
    assert 200 == (await ask(nodes[0], limited, "open")).status

    assert ([False], [True]) == (before, [file.exists() for file in files])
    await world.stop()


async def test_holder_has_its_share_while_redis_is_away(
    nursery: trio.Nursery, tmp_path: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    with running_redis() as redis:
        world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
        nodes = await world.start(CONFIGURATION, 1)
        token = await mint(nodes[0], make_parent(world), subject="ada", rate_limit_per_minute=10)
        # Begins after the first one, and has counted both at its start.
        nodes = await world.start(CONFIGURATION, 1)
        redis.kill()

        got = await statuses_of(nodes[1:], token, "open", 12)

        assert {200: 5, 429: 7} == got
        await world.stop()


async def test_keys_are_renewed_once_by_many(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 1)
    parent = make_parent(world)
    world.postgres.query("UPDATE pgtrio.signing_keys SET created_at = created_at - 31 * 86400", world.postgres_url)
    token = await mint(nodes[0], parent)

    nodes = await world.start(CONFIGURATION, 2)

    assert "2" == world.postgres.query("SELECT count(*) FROM pgtrio.signing_keys", world.postgres_url)
    fresh = await mint(nodes[2], parent)
    assert [200] * 6 == [(await ask(node, text, "open")).status for node in nodes for text in (token, fresh)]
    await world.stop()
