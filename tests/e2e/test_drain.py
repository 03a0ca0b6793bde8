"""SIGTERM to a served gateway: who still gets an answer, who is refused, and what a load balancer is told."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.support.gateway import endpoint, project, start_gateway
from tests.support.http_servers import connected
from tests.support.processes import Served
from tests.support.site import Site, make_site
from tests.support.wire import HttpResponse, get, send_raw

SLOW = "latency=2s"


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    made = await make_site(nursery, tmp_path, endpoint("ok") + endpoint("slow"))
    made.simulator.behave("slow", SLOW)
    return made


async def is_refused(port: int) -> bool:
    """Whether nothing listens on the port."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return True
    await stream.aclose()
    return False


async def wait_refused(port: int) -> None:
    with trio.fail_after(20):
        while not await is_refused(port):  # noqa: ASYNC110  # nobody tells
            await trio.sleep(0.02)


async def ask_slowly(site: Site, served: Served, nursery: trio.Nursery) -> list[HttpResponse]:
    """Where the answer of a call will be that is under way now."""
    answers: list[HttpResponse] = []

    async def ask() -> None:
        answers.append(await site.ask(served, "slow"))

    nursery.start_soon(ask)
    await site.simulator.wait_request(1)
    return answers


@pytest.mark.slow
async def test_newcomers_are_refused_while_answers_finish(nursery: trio.Nursery, site: Site) -> None:
    served = await site.serve(nursery, "--workers", "2")
    async with trio.open_nursery() as asking:
        answers = await ask_slowly(site, served, asking)

        served.process.send_signal(signal.SIGTERM)
        await wait_refused(served.port)
        answered_before = len(answers)

    assert (0, [200]) == (answered_before, [answer.status for answer in answers])
    assert "close" == answers[0].headers["connection"]
    assert 0 == await served.process.wait()


async def test_notice_says_not_ready_and_serves(nursery: trio.Nursery, site: Site) -> None:
    site.write(endpoint("ok"), "drain_notice_ms = 5000")
    served = await site.serve(nursery, "--workers", "2")
    async with connected(served.port) as kept:
        await kept.send(get("/readyz"))
        before = await kept.read_answer()

        served.process.send_signal(signal.SIGTERM)
        await served.wait_output("not ready any more")
        with trio.fail_after(20):
            while (await send_raw(served.port, get("/readyz"))).status == 200:
                pass
        answer = await site.ask(served)
        refused_yet = await is_refused(served.port)
        await wait_refused(served.port)

    assert 200 == before.status
    assert (200, "close") == (answer.status, answer.headers["connection"])
    assert not refused_yet
    assert 0 == await served.process.wait()


async def test_kept_connection_ends_with_its_next_answer(nursery: trio.Nursery, site: Site) -> None:
    site.write(endpoint("ok"), "drain_notice_ms = 60000")
    served = await site.serve(nursery)
    async with connected(served.port) as kept:
        await kept.send(site.call("ok"))
        before = await kept.read_answer()

        served.process.send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            while (await send_raw(served.port, get("/readyz"))).status == 200:
                pass
        await kept.send(site.call("ok"))
        after = await kept.read_answer()
        rest = await kept.read_to_end()

    assert (200, None) == (before.status, before.headers.get("connection"))
    assert (200, "close", b"") == (after.status, after.headers["connection"], rest)
    # The second signal: the notice is over, and everything.
    await served.stop(signal.SIGTERM)


async def test_line_in_kernel_is_served(nursery: trio.Nursery, site: Site) -> None:
    served = await site.serve(nursery)
    [worker] = site.workers()
    # Stopped, the worker accepts none of them; what it finds when it goes on is SIGTERM, and them.
    os.kill(worker, signal.SIGSTOP)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.port)) for _ in range(20)]
        for client in clients:
            await client.send(site.call("ok"))
        served.process.send_signal(signal.SIGTERM)
        await served.wait_output("finishing running requests")
        os.kill(worker, signal.SIGCONT)
        answers = [await client.read_answer() for client in clients]

    assert [(200, "close")] * 20 == [(answer.status, answer.headers["connection"]) for answer in answers]
    assert 0 == await served.process.wait()


async def test_silent_client_does_not_hold_the_drain(nursery: trio.Nursery, tmp_path: Path) -> None:
    text = "[server]\nhead_timeout_ms = 200\ndrain_ms = 3600000\n" + project() + endpoint("ok")
    gateway = await start_gateway(nursery, tmp_path, text)
    async with connected(gateway.port) as silent:
        # It was accepted before another one was answered.
        assert 200 == (await gateway.call("ok")).status

        await gateway.stop()

        assert b"" == await silent.read_to_end()


async def test_reload_is_no_leaving(nursery: trio.Nursery, tmp_path: Path) -> None:
    # A worker that drains because another has its place is ready, as far as a load balancer knows.
    gateway = await start_gateway(nursery, tmp_path, project() + endpoint("ok"))
    async with connected(gateway.port) as client:
        await client.send(get("/readyz")[:-2])
        gateway.stopping.set()
        await wait_refused(gateway.port)
        await client.send(b"\r\n")
        answer = await client.read_answer()

    assert (200, "close") == (answer.status, answer.headers["connection"])
