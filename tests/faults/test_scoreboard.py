"""The faults of scripts/bench/race's scoreboard against a gateway with short limits: right answers, and few calls.

A row of requests each, plain and streamed. What the benchmark measures with real limits is here held as right or wrong.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from scripts.bench.benches.race.faults import FAULTS, Fault, Kind, behaviour_of, find_fault
from scripts.bench.harness.client import Answer
from tests.support.gateway import Gateway, endpoint, project, start_gateway

LIMIT_S = 30
REQUESTS = 5
# Long enough for a machine that is busy, short beside the seconds that a fault takes.
LIMITS = {"attempt_timeout_ms": 700, "first_token_timeout_ms": 700, "idle_timeout_ms": 700, "deadline_ms": 20_000}
CASES = [pytest.param(fault, kind, id=f"{fault.name}, {kind}") for fault in FAULTS for kind in fault.kinds]

REFUSED = """
[[credentials]]
name = "refused"
provider = "openai"
api_key = "sk-simulated-key-0000"
base_url = "http://127.0.0.1:{port}/v1"
"""


def configuration(fault: Fault, closed_port: int) -> str:
    other = {"credential": "sim", "model": f"other?{behaviour_of('other')}"}
    first = endpoint("row", first_model(fault), streaming_enabled=True, failover=[other], **LIMITS)
    if fault.refused:
        first = first.replace('credential = "sim"\n', 'credential = "refused"\n', 1)
    return REFUSED.format(port=closed_port) + project() + first


def first_model(fault: Fault) -> str:
    return f"first?{behaviour_of('first')}&{fault.behaviour}".rstrip("&")


async def ask(gateway: Gateway, kind: Kind) -> Answer:
    response = await gateway.call("row", {"message": "Hello there", "stream": kind == "stream"})
    return Answer(response.status, response.headers, response.body, 0.0)


@pytest.mark.parametrize(("fault", "kind"), CASES)
async def test_fault_is_answered_right(nursery: trio.Nursery, tmp_path: Path, fault: Fault, kind: Kind) -> None:
    with socket.socket() as closed, trio.fail_after(LIMIT_S):
        closed.bind(("127.0.0.1", 0))
        gateway = await start_gateway(nursery, tmp_path, configuration(fault, closed.getsockname()[1]))

        answers = [await ask(gateway, kind) for _ in range(REQUESTS)]
        await gateway.stop()

    wrong = [find_fault(fault.who, fault.finish_reason, answer.status, answer.said()) for answer in answers]
    assert [None] * REQUESTS == wrong
    calls = gateway.simulator.counts[first_model(fault)]
    assert calls <= (REQUESTS if fault.most_calls is None else fault.most_calls)
    if fault.who == "first":
        assert (REQUESTS, 0) == (calls, gateway.simulator.counts[f"other?{behaviour_of('other')}"])
