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
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from random import Random

import trio
from attrs import asdict, define, frozen

from pg_trio.config import load_settings
from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Endpoint
from pg_trio.errors import GatewayError
from pg_trio.gateway import RunningGateway, open_gateway

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


@frozen(slots=True)
class Held:
    """What the process holds: living tasks, open files, and objects that only a running race needs."""

    tasks: int
    files: int
    attempts: int


@define
class Storm:
    """What became of the races."""

    cancelled: int = 0
    answered: int = 0
    failed: int = 0


async def run(configuration: Path, races: int) -> dict[str, object]:
    """Storm the gateway of a configuration; what it held before and after, and whether it still answers."""
    settings = load_settings(configuration)
    (project,) = settings.projects.values()
    unopened = _look()
    async with AsyncExitStack() as stack:
        gateway, background = await open_gateway(settings, stack)
        async with trio.open_nursery() as nursery:
            for task in background:
                nursery.start_soon(task)
            await _ask(gateway, project.endpoints[GOOD])
            before = _look()
            storm, started_at = Storm(), time.monotonic()
            stormed = [endpoint for slug, endpoint in project.endpoints.items() if slug.startswith("storm")]
            await _storm(gateway, stormed, races, storm)
            seconds = time.monotonic() - started_at
            after = await _settle(before)
            await _ask(gateway, project.endpoints[GOOD])
            nursery.cancel_scope.cancel()
    # With the gateway its pool is closed: what was kept idle is no leak, what is open still is one.
    held = {"unopened": unopened, "before": before, "after": after, "closed": _look()}
    return {"seconds": seconds, "storm": asdict(storm), **{name: asdict(look) for name, look in held.items()}}


async def _storm(gateway: RunningGateway, endpoints: Sequence[Endpoint], races: int, storm: Storm) -> None:
    left = iter(range(races))
    async with trio.open_nursery() as nursery:
        for number in range(_AT_ONCE):
            nursery.start_soon(partial(_work, gateway, endpoints, left, Random(number), storm))


async def _work(
    gateway: RunningGateway, endpoints: Sequence[Endpoint], left: Iterator[int], random: Random, storm: Storm
) -> None:
    for number in left:
        endpoint = random.choice(endpoints)
        with trio.move_on_after(random.random() * _LONGEST_S) as scope:
            try:
                if number % 2:
                    await _ask(gateway, endpoint)
                else:
                    await _open_stream(gateway, endpoint)
                storm.answered += 1
            except GatewayError:
                storm.failed += 1
        storm.cancelled += scope.cancelled_caught


async def _ask(gateway: RunningGateway, endpoint: Endpoint) -> None:
    now, stage = trio.current_time(), gateway.pipeline.provider_call
    await stage.ask(stage.compile(endpoint), _PROMPT, now + _ASKED_S, Attempts(now))


async def _open_stream(gateway: RunningGateway, endpoint: Endpoint) -> None:
    now, stage = trio.current_time(), gateway.pipeline.provider_call
    stream = await stage.open_stream(stage.compile(endpoint), _PROMPT, now + _ASKED_S, Attempts(now))
    try:
        while not any(event.is_last for event in await stream.receive_events()):
            pass
    finally:
        await stream.aclose()


def _look() -> Held:
    gc.collect()
    attempts = sum(type(thing).__name__ in ("Permit", "OpenStream", "_Race") for thing in gc.get_objects())
    return Held(trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/proc/self/fd")), attempts)


async def _settle(before: Held) -> Held:
    """What is held once nothing changes any more: connections that are closing need a moment."""
    held = _look()
    with trio.move_on_after(_SETTLE_LIMIT_S):
        while held.tasks > before.tasks or held.attempts > before.attempts:
            await trio.sleep(0.1)
            held = _look()
    return held


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        order = Order(**json.loads(Path(sys.argv[1]).read_text()))
        print(json.dumps(trio.run(run, Path(order.configuration), order.races)))
