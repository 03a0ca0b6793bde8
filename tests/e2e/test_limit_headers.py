"""`RateLimit` and `RateLimit-Policy` on what a client really gets: plain, streamed, refused, failed."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse

CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("free"),
        endpoint("plain", rate_limit_per_minute=2, rate_limit_per_hour=100),
        endpoint("stream", rate_limit_per_hour=100, streaming_enabled=True),
        endpoint("down", rate_limit_per_hour=100),
        endpoint("schema", rate_limit_per_hour=100, input_schema={"type": "object", "required": ["n"]}),
    ]
)
HOUR_POLICY = '"hour";q=100;w=3600'


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    started = await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)
    started.simulator.behave("down", "fault=status:500")
    return started


def limits_of(response: HttpResponse) -> tuple[int, str | None, str | None]:
    headers = response.headers
    return response.status, headers.get("ratelimit-policy"), headers.get("ratelimit")


async def test_answers_and_refusals_say_what_is_left(gateway: Gateway) -> None:
    answers = [limits_of(await gateway.call("plain")) for _ in range(3)]

    policy = '"minute";q=2;w=60, "hour";q=100;w=3600'
    assert [(200, policy), (200, policy), (429, policy)] == [answer[:2] for answer in answers]
    assert ['"minute";r=1;t=30, "hour";r=99;t=36', '"minute";r=0;t=30, "hour";r=98;t=36'] == [
        answer[2] for answer in answers[:2]
    ]
    assert (answers[2][2] or "").startswith('"minute";r=0;t=')


async def test_stream_heads_say_what_is_left(gateway: Gateway) -> None:
    response = await gateway.call("stream", {"message": "Hi", "stream": True})

    assert (200, HOUR_POLICY, '"hour";r=99;t=36') == limits_of(response)


@pytest.mark.parametrize(("slug", "status"), [("down", 502), ("schema", 422)])
async def test_later_failures_say_what_is_left(gateway: Gateway, slug: str, status: int) -> None:
    assert (status, HOUR_POLICY, '"hour";r=99;t=36') == limits_of(await gateway.call(slug))


async def test_earlier_failures_and_free_endpoints_say_nothing(gateway: Gateway) -> None:
    malformed, free = await gateway.call("plain", b"{"), await gateway.call("free")

    assert [(400, None, None), (200, None, None)] == [limits_of(malformed), limits_of(free)]
