"""Races that are cancelled at random moments, in one process with the gateway's own rooms and real sockets.

Run as a module of its own; it prints its counts as JSON. The gateway is opened as its server opens it; only the server
is missing. Races are cancelled in every state: connecting, waiting for a head, in mid-hedge, with the first token just
come, as an answer arrives.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from random import Random

import trio
from attrs import frozen

from pg_trio.config import load_settings
from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Endpoint
from pg_trio.errors import GatewayError
from pg_trio.gateway import RunningGateway, open_gateway
from scripts.bench.harness.client import run_crowd

_AT_ONCE = 50
# Twice what the quicker answers take: some races end before they are cancelled.
_LONGEST_S = 0.03
_ASKED_S = 20.0
_SETTLE_LIMIT_S = 10.0
_PROMPT = Prompt((Message("user", "Hello there"),))
# The endpoint that must still answer afterwards; all others are stormed.
GOOD = "good"


@frozen(slots=True)
class Order:
    """What is asked of this module: a gateway's configuration, and how many races."""

    configuration: str
    races: int


async def run(order: Order) -> dict[str, object]:
    """Storm the gateway of a configuration; what it held before and after, and whether it still answers."""
    settings = load_settings(Path(order.configuration))
    (project,) = settings.projects.values()
    stormed = [endpoint for slug, endpoint in project.endpoints.items() if slug.startswith("storm")]
    unopened = _look()
    async with AsyncExitStack() as stack:
        gateway, background = await open_gateway(settings, stack)
        async with trio.open_nursery() as nursery:
            for task in background:
                nursery.start_soon(task)
            await _ask(gateway, project.endpoints[GOOD])
            before, started_at = _look(), time.monotonic()
            storm = await _storm(gateway, stormed, order.races)
            seconds = time.monotonic() - started_at
            after = await _settle(before)
            await _ask(gateway, project.endpoints[GOOD])
            nursery.cancel_scope.cancel()
    # With the gateway its pool is closed: what was kept idle is no leak, what is open still is one.
    held = {"unopened": unopened, "before": before, "after": after, "closed": _look()}
    return {"seconds": seconds, "storm": storm, **held}


async def _storm(gateway: RunningGateway, endpoints: Sequence[Endpoint], races: int) -> dict[str, int]:
    """How many were cancelled, answered, failed."""
    left, counts = iter(range(races)), Counter(cancelled=0, answered=0, failed=0)

    async def race_on(seed: int) -> None:
        random = Random(seed)
        for number in left:
            endpoint = random.choice(endpoints)
            with trio.move_on_after(random.random() * _LONGEST_S) as scope:
                try:
                    await (_ask if number % 2 else _stream)(gateway, endpoint)
                    counts["answered"] += 1
                except GatewayError:
                    counts["failed"] += 1
            counts["cancelled"] += scope.cancelled_caught

    await run_crowd(_AT_ONCE, race_on)
    return counts


async def _ask(gateway: RunningGateway, endpoint: Endpoint) -> None:
    now, stage = trio.current_time(), gateway.pipeline.provider_call
    await stage.ask(stage.compile(endpoint), _PROMPT, now + _ASKED_S, Attempts(now))


async def _stream(gateway: RunningGateway, endpoint: Endpoint) -> None:
    now, stage = trio.current_time(), gateway.pipeline.provider_call
    opened = await stage.open_stream(stage.compile(endpoint), _PROMPT, now + _ASKED_S, Attempts(now))
    async with aclosing(opened) as stream:
        while not any(event.is_last for event in await stream.receive_events()):
            pass


def _look() -> dict[str, int]:
    """What the process holds: living tasks, open files, and objects that only a running race needs."""
    gc.collect()
    attempts = sum(type(thing).__name__ in ("Permit", "OpenStream", "_Race") for thing in gc.get_objects())
    tasks, files = trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/proc/self/fd"))
    return {"tasks": tasks, "files": files, "attempts": attempts}


async def _settle(before: dict[str, int]) -> dict[str, int]:
    """What is held once nothing changes any more: connections that are closing need a moment."""
    held = _look()
    with trio.move_on_after(_SETTLE_LIMIT_S):
        while any(held[kind] > before[kind] for kind in ("tasks", "attempts")):
            await trio.sleep(0.1)
            held = _look()
    return held


if __name__ == "__main__":
    print(json.dumps(trio.run(run, Order(**json.loads(Path(sys.argv[1]).read_text())))))
