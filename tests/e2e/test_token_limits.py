"""A token's own limits through a whole gateway: refused by their names, everything given back on every way out."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pytest
import trio

from pg_trio.domain.project import TokenLimits
from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, send_raw

CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("ok", max_output_tokens=100),
        endpoint("narrow", rate_limit_per_minute=1, max_output_tokens=100),
        endpoint("down", max_output_tokens=100),
        endpoint("stall", streaming_enabled=True, max_output_tokens=100),
        endpoint("cut", streaming_enabled=True, max_output_tokens=100),
        # A second model: a breaker opens where two streams of one were cut.
        endpoint("cut-too", streaming_enabled=True, max_output_tokens=100),
        endpoint("schema", input_schema={"type": "object", "required": ["n"]}, max_output_tokens=100),
        endpoint("stream", streaming_enabled=True, max_output_tokens=100),
    ]
)
PATIENCE_S = 10
# The gateway's own token, which has no limits, is the first.
LIMITED_ID = 2


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    started = await start_gateway(nursery, tmp_path, CONFIGURATION)
    started.simulator.behave("down", "fault=status:500")
    started.simulator.behave("stall", "fault=stall")
    for model in ("cut", "cut-too"):
        started.simulator.behave(model, "tokens=5&fault=cut:2")
    return started


async def call(gateway: Gateway, token: str, slug: str, **body: object) -> HttpResponse:
    path = f"/api/{PROJECT}/{slug}"
    return await send_raw(gateway.port, post(path, {"message": "Hello there", **body}, bearer(token)))


def count_under_way(gateway: Gateway) -> int:
    """Requests of the limited token under way: another process's view of the file."""
    with closing(open_segment(gateway.settings.gateway.data_dir / "shared.mem")) as segment:
        return LeaseBook(SharedSpend(segment)).count(b"c" + LIMITED_ID.to_bytes(8, "big"))


@pytest.mark.parametrize(
    ("limits", "scope"),
    [(TokenLimits(rate_limit_per_minute=1), "token_minute"), (TokenLimits(tokens_per_minute=110), "token_tokens")],
)
async def test_refusal_names_the_tokens_limit(gateway: Gateway, limits: TokenLimits, scope: str) -> None:
    gateway.simulator.behave("ok", "tokens=60")
    token = gateway.make_token(limits=limits)

    first, second = [await call(gateway, token, slug) for slug in ("ok", "stream")]
    unlimited = await gateway.call("ok")

    assert [200, 429, 200] == [answer.status for answer in (first, second, unlimited)]
    refusal = second.json()
    assert ("Rate limit exceeded.", scope) == (refusal["error"], refusal["scope"])
    assert refusal["retry_after"] >= 1
    assert str(refusal["retry_after"]) == second.headers["retry-after"]
    assert f'"{scope}";q=' in first.headers["ratelimit-policy"]
    assert f'"{scope}";r=' in first.headers["ratelimit"]
    assert "ratelimit" not in unlimited.headers


async def test_requests_at_once_are_bounded(gateway: Gateway) -> None:
    token = gateway.make_token(limits=TokenLimits(max_concurrent=1))

    async with trio.open_nursery() as leaving:
        leaving.start_soon(partial(call, gateway, token, "stall", stream=True))
        await gateway.simulator.wait_request(1)
        refused = await call(gateway, token, "ok")
        leaving.cancel_scope.cancel()
    with trio.fail_after(PATIENCE_S):
        while (again := await call(gateway, token, "ok")).status == 429:
            await trio.lowlevel.checkpoint()

    assert (429, "token_concurrent", 1) == (refused.status, refused.json()["scope"], refused.json()["retry_after"])
    assert '"token_concurrent";r=0;t=1' == refused.headers["ratelimit"]
    assert 200 == again.status


@pytest.mark.parametrize(
    ("slugs", "stream", "status"),
    [
        (["ok"], False, 200),
        (["down"], False, 502),
        (["schema"], False, 422),
        (["stream"], True, 200),
        (["cut", "cut-too"], True, 200),
    ],
)
async def test_every_way_out_settles(gateway: Gateway, slugs: list[str], stream: bool, status: int) -> None:
    # Two reservations of some 103 tokens fit: a third one only if what was not used came back.
    token = gateway.make_token(limits=TokenLimits(1000, 230, 1))

    answers = [await call(gateway, token, slug, stream=stream) for slug in islice(cycle(slugs), 4)]

    assert [status] * 4 == [answer.status for answer in answers]
    assert 0 == count_under_way(gateway)
