"""`pg-trio serve` as a user runs it: real processes, signals, reloads, deaths."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define

from pg_trio.simulator import Simulator, serve_simulator
from tests.support.gateway import PROJECT, endpoint, project
from tests.support.processes import PG_TRIO, Served, is_running, run_command, start, wait_until
from tests.support.wire import HttpResponse, bearer, get, post, send_raw


@define
class Setup:
    """A configuration on disk with the simulator as its provider, and a token."""

    folder: Path
    simulator: Simulator
    token: str = ""

    @property
    def config(self) -> Path:
        return self.folder / "gateway.toml"

    def write(self, endpoints: str) -> None:
        """Replace the configuration."""
        credential = (
            f'[server]\nbind = "127.0.0.1:0"\n[[credentials]]\nname = "sim"\nprovider = "openai"\n'
            f'api_key = "sk-test"\nbase_url = "{self.simulator.base_url}"\n'
        )
        self.config.write_text(credential + project() + endpoints, encoding="utf-8")

    async def serve(self, nursery: trio.Nursery, *options: str) -> Served:
        """A running gateway."""
        return await start(nursery, [*PG_TRIO, "serve", "--config", str(self.config), *options])

    async def ask(self, served: Served, slug: str = "ok") -> HttpResponse:
        """One call."""
        return await send_raw(served.port, post(f"/api/{PROJECT}/{slug}", {"message": "Hi"}, bearer(self.token)))

    def workers(self) -> list[int]:
        """Pids of the running workers."""
        pids: list[int] = json.loads((self.folder / "data" / "serve.json").read_text())["workers"]
        return pids


@pytest.fixture
async def setup(nursery: trio.Nursery, tmp_path: Path) -> Setup:
    made = Setup(tmp_path, await nursery.start(serve_simulator))
    made.write(endpoint("ok"))
    status, made.token, _ = await run_command(
        "token", "create", "--config", str(made.config), "--project", str(PROJECT), "--name", "t"
    )
    made.token = made.token.strip()
    assert 0 == status
    return made


async def test_modules_of_the_current_folder_are_not_loaded(nursery: trio.Nursery, setup: Setup) -> None:
    (setup.folder / "attrs.py").write_text("raise SystemExit('attrs.py of the current folder')", encoding="ascii")
    script = Path(sys.executable).with_name("pg-trio")
    options = ["serve", "--config", str(setup.config), "--admin-bind", ""]

    served = await start(nursery, ["env", f"--chdir={setup.folder}", str(script), *options])

    ready = await send_raw(served.port, get("/readyz"))
    assert (200, 0) == (ready.status, await served.stop())


async def test_demo_prints_working_curl_lines(nursery: trio.Nursery) -> None:
    served = await start(nursery, [*PG_TRIO, "serve", "--demo", "--bind", "127.0.0.1:0"])
    await served.wait_output("Ctrl-C stops it")
    line = r"curl \S+ (?:'\S+' )?http://127\.0\.0\.1:\d+(\S+) -H 'Authorization: (Bearer \S+)' .*\n.* -d '(.*)'"
    commands = re.findall(line, served.output)

    whole, stream, openai = [
        await send_raw(served.port, post(path, json.loads(body), ("authorization", bearer)))
        for path, bearer, body in commands
    ]
    status = await served.stop()

    assert (200, "You said: Hello! What can you do?") == (whole.status, whole.json()["content"])
    assert (200, True) == (stream.status, stream.body.endswith(b"data: [DONE]\n\n"))
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert (200, "You said: Hello! What can you do?") == (
        openai.status,
        openai.json()["choices"][0]["message"]["content"],
    )
    assert f"OPENAI_BASE_URL=http://127.0.0.1:{served.port}/api/" in served.output
    assert 0 == status


async def test_sigterm_finishes_what_runs(nursery: trio.Nursery, setup: Setup) -> None:
    setup.simulator.behave("ok", "latency=600ms")
    served = await setup.serve(nursery)
    answers: list[HttpResponse] = []

    async def ask() -> None:
        answers.append(await setup.ask(served))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await setup.simulator.wait_request(1)
        status = await served.stop(signal.SIGTERM)

    assert 0 == status
    assert [200] == [answer.status for answer in answers]
    with closing(sqlite3.connect(setup.folder / "data" / "log.db")) as log:
        assert [(200,)] == log.execute("SELECT status FROM gateway_logs").fetchall()
    assert not (setup.folder / "data" / "serve.json").exists()


async def test_killed_worker_is_replaced(nursery: trio.Nursery, setup: Setup) -> None:
    served = await setup.serve(nursery, "--workers", "2")
    before = setup.workers()

    os.kill(before[0], signal.SIGKILL)
    await wait_until(lambda: setup.workers() != before)
    answers = [await setup.ask(served) for _ in range(10)]
    await served.stop()

    assert [200] * 10 == [answer.status for answer in answers]
    assert "ended with status -9" in served.output
    assert [False, False] == [is_running(pid) for pid in before]


async def test_rate_limit_holds_for_all_workers(nursery: trio.Nursery, setup: Setup) -> None:
    setup.write(endpoint("ok", rate_limit_per_hour=20))
    served = await setup.serve(nursery, "--workers", "2")
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await setup.ask(served)).status)

    async with trio.open_nursery() as asking:
        for _ in range(40):
            asking.start_soon(ask)
    await served.stop()

    assert (20, 20) == (statuses.count(200), statuses.count(429))


@pytest.mark.slow
async def test_killed_workers_reservations_are_taken_back(nursery: trio.Nursery, setup: Setup) -> None:
    # Room for one request at a time: 1,000 output tokens and a few of input, at a cent a token.
    budget: dict[str, Any] = {
        "monthly_budget_usd": "10.5",
        "estimated_cost_per_1k_tokens_usd": "10",
        "max_output_tokens": 1000,
    }
    setup.write(endpoint("ok", **budget))
    setup.simulator.behave("ok", "fault=stall")
    served = await setup.serve(nursery)
    request = post(f"/api/{PROJECT}/ok", {"message": "Hi"}, bearer(setup.token))
    cut = await trio.open_tcp_stream("127.0.0.1", served.port)
    await cut.send_all(request)
    await setup.simulator.wait_request(1)
    setup.simulator.behave("ok", "")

    refused = await setup.ask(served)
    os.kill(setup.workers()[0], signal.SIGKILL)
    with trio.fail_after(20):
        while (allowed := await setup.ask(served)).status == 422:
            await trio.lowlevel.checkpoint()
    await cut.aclose()
    await served.stop()

    assert (422, 200) == (refused.status, allowed.status)


@pytest.mark.slow
async def test_killed_parent_leaves_no_orphans(nursery: trio.Nursery, setup: Setup) -> None:
    served = await setup.serve(nursery, "--workers", "2")
    workers = setup.workers()

    await served.stop(signal.SIGKILL)

    await wait_until(lambda: not any(is_running(pid) for pid in workers))
    assert [False, False] == [is_running(pid) for pid in workers]


async def test_reload_takes_new_configuration(nursery: trio.Nursery, setup: Setup) -> None:
    served = await setup.serve(nursery, "--workers", "2")
    before = setup.workers()

    setup.write(endpoint("ok") + endpoint("new"))
    status, _, said = await run_command("reload", "--config", str(setup.config))
    answer = await setup.ask(served, "new")
    after = setup.workers()
    await served.stop()

    assert (0, "reloaded: 2 new workers\n") == (status, said)
    assert 200 == answer.status
    assert set() == set(before) & set(after)


async def test_bad_configuration_changes_nothing(nursery: trio.Nursery, setup: Setup) -> None:
    served = await setup.serve(nursery)
    before = setup.workers()

    setup.write(endpoint("ok", temperature=3))
    status, _, said = await run_command("reload", "--config", str(setup.config))
    served.process.send_signal(signal.SIGHUP)
    await served.wait_output("reload refused")
    answer = await setup.ask(served)
    after = setup.workers()
    await served.stop()

    assert 1 == status
    assert "temperature: 3 is above 2" in said
    assert "temperature: 3 is above 2" in served.output
    assert (200, before) == (answer.status, after)


@pytest.mark.slow
async def test_reload_cuts_no_answer(nursery: trio.Nursery, setup: Setup) -> None:
    setup.simulator.behave("ok", "latency=700ms")
    served = await setup.serve(nursery, "--workers", "2")
    statuses: list[int] = []

    async def ask() -> None:
        statuses.extend([(await setup.ask(served)).status for _ in range(3)])

    async with trio.open_nursery() as asking:
        for _ in range(64):
            asking.start_soon(ask)
        await setup.simulator.wait_request(64)
        status, _, _ = await run_command("reload", "--config", str(setup.config))
    await served.stop()

    assert 0 == status
    assert [200] * 192 == statuses


@pytest.mark.slow
async def test_reload_cuts_no_stream(nursery: trio.Nursery, setup: Setup) -> None:
    setup.write(endpoint("ok", streaming_enabled=True))
    setup.simulator.behave("ok", "tokens=100&pace=30ms")
    served = await setup.serve(nursery, "--workers", "2")
    before, bodies = setup.workers(), list[bytes]()

    async def read() -> None:
        request = post(f"/api/{PROJECT}/ok", {"message": "Go", "stream": True}, bearer(setup.token))
        bodies.append((await send_raw(served.port, request)).body)

    async with trio.open_nursery() as reading:
        for _ in range(64):
            reading.start_soon(read)
        await setup.simulator.wait_request(64)
        status, _, _ = await run_command("reload", "--config", str(setup.config))
    after = setup.workers()
    await served.stop()

    assert (0, set()) == (status, set(before) & set(after))
    assert [101] * 64 == [body.count(b'"delta":') for body in bodies]
    assert all(b'"finish_reason":"stop"' in body and body.endswith(b"data: [DONE]\n\n") for body in bodies)


async def test_reload_without_gateway_says_so(setup: Setup) -> None:
    status, _, said = await run_command("reload", "--config", str(setup.config))

    assert 1 == status
    assert "no gateway runs" in said


async def test_reload_notices_that_the_gateway_ends(nursery: trio.Nursery, setup: Setup) -> None:
    # What holds the directory's lock here dies of the signal that asks for a reload.
    hold = "import signal, sys; from pathlib import Path; from pg_trio.server.status_file import StatusFile as S; "
    hold += "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # under nohup it would be ignored
    hold += "held = S(Path(sys.argv[1])); held.hold(); held.write(workers=[]); signal.pause()"
    status_file = setup.folder / "data" / "serve.json"
    nursery.start_soon(partial(trio.run_process, [sys.executable, "-c", hold, str(setup.folder / "data")], check=False))
    await wait_until(status_file.exists)

    status, _, said = await run_command("reload", "--config", str(setup.config))

    assert (1, "pg-trio reload: the gateway has stopped\n") == (status, said)


async def test_start_fails_with_reason(nursery: trio.Nursery, setup: Setup) -> None:
    setup.config.write_text("[gateway]\nmax_body_bites = 3\n", encoding="utf-8")

    status, _, said = await run_command("serve", "--config", str(setup.config))

    assert 1 == status
    assert "gateway.max_body_bites" in said
    assert "Traceback" not in said


async def test_taken_address_is_said(nursery: trio.Nursery, setup: Setup) -> None:
    served = await setup.serve(nursery)

    arguments = ("serve", "--config", str(setup.config), "--bind", f"127.0.0.1:{served.port}")
    status, _, said = await run_command(*arguments, environ={"PG_TRIO_GATEWAY__DATA_DIR": "elsewhere"})
    await served.stop()

    assert 1 == status
    assert f"127.0.0.1:{served.port}" in said
    assert "Traceback" not in said


async def test_second_gateway_on_same_data_is_refused(nursery: trio.Nursery, setup: Setup) -> None:
    served = await setup.serve(nursery)

    status, _, said = await run_command("serve", "--config", str(setup.config))
    await served.stop()

    assert 1 == status
    assert f"another pg-trio serve (process {served.process.pid}) uses this data directory" in said


@pytest.mark.slow
async def test_broken_file_on_disk_hurts_nobody(nursery: trio.Nursery, setup: Setup) -> None:
    served = await setup.serve(nursery, "--workers", "2")
    before = setup.workers()

    setup.config.write_text("garbage =", encoding="utf-8")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: not set(before) & set(setup.workers()))
    answer = await setup.ask(served)
    await served.stop()

    assert 200 == answer.status


@pytest.mark.slow
async def test_workers_that_cannot_start_end_everything(nursery: trio.Nursery, setup: Setup) -> None:
    served = await setup.serve(nursery)
    pid = setup.workers()[0]

    (setup.folder / "data" / "tokens.db").write_bytes(b"damaged" * 1000)
    os.kill(pid, signal.SIGKILL)
    with trio.fail_after(60):
        status = await served.process.wait()

    assert 1 == status
    assert "workers in a row died before they were ready; giving up" in served.output
    assert "tokens.db" in served.output
    assert "Traceback" not in served.output


async def test_leftover_status_file_names_nobody(setup: Setup) -> None:
    (setup.folder / "data" / "serve.json").write_text(f'{{"pid": {os.getpid()}, "reloads": 0, "refusals": 0}}')

    status, _, said = await run_command("reload", "--config", str(setup.config))

    assert 1 == status
    assert "no gateway runs" in said


async def test_unusable_data_dir_is_said(nursery: trio.Nursery, setup: Setup) -> None:
    (setup.folder / "data" / "tokens.db").write_bytes(b"not a database, whatever its name says" * 100)

    # Without the admin address, whose port another gateway of this machine may have.
    status, _, said = await run_command("serve", "--config", str(setup.config), "--admin-bind", "")

    assert 1 == status
    # The server's own words ("Lifespan failure …") say nothing to who starts a gateway.
    assert said.startswith(f"pg-trio: {setup.folder / 'data' / 'tokens.db'}: ")
    assert "Traceback" not in said


async def test_revocation_holds_within_a_second(nursery: trio.Nursery, setup: Setup) -> None:
    served = await setup.serve(nursery, "--workers", "2")
    allowed = [(await setup.ask(served)).status for _ in range(8)]

    status, _, said = await run_command("token", "revoke", "--config", str(setup.config), setup.token[:16])
    await trio.sleep(1)  # the promise itself
    refused = [(await setup.ask(served)).status for _ in range(8)]
    await served.stop()

    assert 0 == status, said
    assert [200] * 8 == allowed
    assert [401] * 8 == refused


async def test_stock_hypercorn_serves_the_same(nursery: trio.Nursery, setup: Setup) -> None:
    command = [sys.executable, "-m", "hypercorn", "-k", "trio", "-b", "127.0.0.1:0", "pg_trio.app:create_app()"]
    served = await start(nursery, command, {"PG_TRIO_CONFIG": str(setup.config)})

    answer = await setup.ask(served)
    health = await send_raw(served.port, get("/healthz"))
    status = await served.stop(signal.SIGTERM)

    assert (200, 200, 0) == (answer.status, health.status, status)
    assert re.search(r"Running on http://127\.0\.0\.1", served.output)


@pytest.mark.slow
async def test_killed_workers_places_are_given_back(nursery: trio.Nursery, setup: Setup) -> None:
    status, _, said = await run_command("token", "limit", "--config", str(setup.config), "1", "--max-concurrent", "1")
    assert 0 == status, said
    setup.simulator.behave("ok", "fault=stall")
    served = await setup.serve(nursery, "--workers", "2")
    cut = await trio.open_tcp_stream("127.0.0.1", served.port)
    await cut.send_all(post(f"/api/{PROJECT}/ok", {"message": "Hi"}, bearer(setup.token)))
    await setup.simulator.wait_request(1)
    setup.simulator.behave("ok", "")

    refused = [await setup.ask(served) for _ in range(6)]
    for pid in setup.workers():
        os.kill(pid, signal.SIGKILL)
    with trio.fail_after(20):
        while (allowed := await setup.ask(served)).status == 429:
            await trio.lowlevel.checkpoint()
    await cut.aclose()
    await served.stop()

    assert [(429, "token_concurrent")] * 6 == [(answer.status, answer.json()["scope"]) for answer in refused]
    assert 200 == allowed.status
