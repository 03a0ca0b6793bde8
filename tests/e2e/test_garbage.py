"""A request leaves nothing for the garbage collector: what it would find late is memory that grows meanwhile."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.support.gateway import endpoint, project, start_gateway

REQUESTS = 40
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("plain", rate_limit_per_minute=10_000),
        endpoint("stream", streaming_enabled=True),
        endpoint("invalid", input_schema={"type": "object", "required": ["n"]}),
    ]
)


@pytest.mark.parametrize(
    ("slug", "stream", "status"), [("plain", False, 200), ("stream", True, 200), ("invalid", False, 422)]
)
async def test_requests_make_no_cycles(
    nursery: trio.Nursery, tmp_path: Path, slug: str, stream: bool, status: int
) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    body = {"message": "Hello there", "stream": stream}
    await gateway.call(slug, body)

    found = await _collect_garbage_of(gateway.call, slug, body, status)

    # Two: what a background task may leave meanwhile.
    assert {} == {name: count for name, count in found.items() if count > 2}


async def _collect_garbage_of(call: object, slug: str, body: dict[str, object], status: int) -> Counter[str]:
    """The gateway's own kinds of objects that nobody could reach any more after so many requests."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(REQUESTS):
            answer = await call(slug, body)  # type: ignore[operator]
            assert status == answer.status
        gc.collect()
        kinds = [type(one) for one in gc.garbage]
        return Counter(kind.__qualname__ for kind in kinds if kind.__module__.startswith("pg_trio."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
