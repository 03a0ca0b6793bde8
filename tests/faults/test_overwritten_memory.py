"""Another program overwrites, shortens or removes `shared.mem` while the gateway runs.

What clients see meanwhile, and how long it takes until all workers count together again.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import endpoint
from tests.support.processes import Served
from tests.support.site import Site, make_site

PER_HOUR = 30
WELL_WITHIN_S = 10.0
MOVED = "this worker has moved to a new one"
BUDGET: dict[str, Any] = {"monthly_budget_usd": "1000", "estimated_cost_per_1k_tokens_usd": "1"}


def write_noise(path: Path, first: int = 0, size: int | None = None) -> None:
    with path.open("r+b") as file:
        file.seek(first)
        file.write(random.Random(1).randbytes(path.stat().st_size - first if size is None else size))


def write_zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"not ours")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "noise": write_noise,
    "zeros": write_zeros,
    "a noisy header": lambda path: write_noise(path, 0, 64),
    "noise in the middle": lambda path: write_noise(path, 1 << 20, 1 << 20),
    "deleted": Path.unlink,
    "replaced": replace,
}


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    return await make_site(
        nursery, tmp_path, endpoint("ok") + endpoint("paid", **BUDGET) + endpoint("few", rate_limit_per_hour=PER_HOUR)
    )


async def wait_well(site: Site, served: Served) -> list[int]:
    """The statuses of calls until both workers have moved to a new file, and some more."""
    statuses: list[int] = []
    with trio.fail_after(WELL_WITHIN_S):
        while served.output.count(MOVED) < 2 or statuses[-10:] != [200] * 10:
            some = [(await site.ask(served, slug)).status for slug in ("paid", "ok", "few")]
            statuses += [status for status in some if status != 429]
    return statuses


async def count_admitted(site: Site, served: Served) -> int:
    statuses = [(await site.ask(served, "few")).status for _ in range(2 * PER_HOUR)]
    return statuses.count(200)


# The others are found by the same two looks: tests/unit/shared_memory/test_renewal.py has many more.
QUICK = ("noise", "deleted")


@pytest.mark.parametrize(
    "damage", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in DAMAGES]
)
async def test_workers_come_together_again(nursery: trio.Nursery, site: Site, damage: str) -> None:
    served = await site.serve(nursery, "--workers", "2")
    pids = site.workers()
    path = site.data / "shared.mem"
    for slug in ("paid", "few", "ok"):
        assert 200 == (await site.ask(served, slug)).status

    DAMAGES[damage](path)
    began = time.monotonic()
    statuses = await wait_well(site, served)
    well_s = time.monotonic() - began
    print(f"{damage}: well after {well_s:.1f} s; of {len(statuses)} calls {statuses.count(200)} were answered")

    # No worker died of it, and nothing but a refusal was ever said.
    assert pids == site.workers()
    assert set(statuses) <= {200, 422, 503}
    left = len(list(site.data.glob("shared.mem.bad-*")))
    assert (damage != "deleted") == (left == 1)
    # Both workers count in one file: taken together, no more than the limit says.
    assert await count_admitted(site, served) <= PER_HOUR
    assert 429 == (await site.ask(served, "few")).status
    await served.stop()
    assert "Traceback" not in served.output


async def test_spend_comes_from_the_log(nursery: trio.Nursery, tmp_path: Path) -> None:
    # One call costs more than half of the budget.
    budget: dict[str, Any] = {
        "monthly_budget_usd": "0.02",
        "estimated_cost_per_1k_tokens_usd": "1",
        "max_output_tokens": 5,
    }
    site = await make_site(nursery, tmp_path, endpoint("paid", **budget) + endpoint("ok", **BUDGET))
    served = await site.serve(nursery, "--workers", "2")
    before = [(await site.ask(served, "paid")).status]
    while before[-1] == 200:
        before.append((await site.ask(served, "paid")).status)
    await trio.sleep(0.2)  # log_batch_ms

    write_noise(site.data / "shared.mem")
    with trio.fail_after(WELL_WITHIN_S):
        while served.output.count(MOVED) < 2:  # noqa: ASYNC110  # the output tells, but not of the second
            await trio.sleep(0.05)
    after = [(await site.ask(served, "paid")).status for _ in range(10)]

    assert [200, 422] == sorted(set(before))
    assert [422] * 10 == after
    await served.stop()


async def test_shortened_file_costs_a_worker_not_the_gateway(nursery: trio.Nursery, site: Site) -> None:
    # What lies behind the end of a mapped file ends the process that touches it.
    served = await site.serve(nursery, "--workers", "2")
    os.truncate(site.data / "shared.mem", 0)
    began = time.monotonic()

    with trio.fail_after(WELL_WITHIN_S):
        statuses: list[int] = []
        while statuses[-20:] != [200] * 20:
            try:
                statuses.append((await site.ask(served, "paid")).status)
            except (OSError, ExceptionGroup):
                # Cut, with the worker that had it.
                statuses.append(0)
    print(f"shortened: well after {time.monotonic() - began:.1f} s, {statuses.count(0)} calls cut")

    assert set(statuses) <= {0, 200, 422, 503}
    await served.stop()
