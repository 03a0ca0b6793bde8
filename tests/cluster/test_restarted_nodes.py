"""A node that starts while Redis is away goes by its last share of every limit, as one that runs does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg_trio.cluster.node import COUNT_NAME, Node, open_node
from tests.cluster.waiting import wait_for
from tests.cluster.world import ClusterWorld, ask
from tests.support.engine_relay import engine_relay
from tests.support.gateway import endpoint, project

CONFIGURATION = project() + endpoint("narrow", rate_limit_per_hour=20)


async def test_node_that_starts_without_redis_has_its_share(world: ClusterWorld) -> None:
    async with engine_relay(world.redis.port) as relay:
        first, _ = await world.start(CONFIGURATION, 2, redis_port=relay.port)
        token = world.make_token()
        count = first.settings.gateway.data_dir / COUNT_NAME
        await wait_for(lambda: count.exists() and count.read_text() == "2")
        await first.stop()
        relay.accepts = False
        relay.cut()

        again = await world.start_again(0)
        statuses = [(await ask(again, token, "narrow")).status for _ in range(20)]
        await world.stop()

    assert (10, 10) == (statuses.count(200), statuses.count(429))


def test_count_is_kept(tmp_path: Path) -> None:
    node = open_node("gw-1", tmp_path)
    node.note_nodes(3)
    node.note_nodes(3)

    assert (3, 1) == (open_node("gw-1", tmp_path).live_nodes, Node("gw-1", "1").live_nodes)
    assert {"node.id", COUNT_NAME} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1000000", "²", "\udcff"])
def test_damaged_count_is_one_node(tmp_path: Path, text: str) -> None:
    (tmp_path / COUNT_NAME).write_bytes(text.encode("utf-8", "surrogateescape"))

    assert 1 == open_node("gw-1", tmp_path).live_nodes


def test_count_that_cannot_be_kept_counts_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node = Node("gw-1", "1", count_file=tmp_path / "missing" / COUNT_NAME)

    node.note_nodes(2)

    assert 2 == node.live_nodes
    assert "cannot be written" in caplog.text
