"""One token's large bodies: its neighbours wait for a turn, memory is bounded, and what is refused costs nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import trio

from pg_trio.domain.project import TokenLimits
from tests.contract.fault_server import FaultServer, Peer, answer_with
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.processes import PG_TRIO, run_command, start
from tests.support.wire import HttpResponse, bearer, get, post, read_response, send_raw

MIB = 1024 * 1024
LIMIT_S = 30
SCANNED = {"pii_filter": {"enabled": True}, "prompt_injection": {"enabled": True}}
REPLY = b'{"choices":[{"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'


def large_post(token: str, size: int, slug: str = "e", text: str = "call a@example.org now ") -> bytes:
    body = json.dumps({"message": (text * (size // len(text) + 1))[:size]}).encode()
    return post(f"/api/{PROJECT}/{slug}", body, bearer(token))


# ── fair turns ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_neighbour_waits_for_a_turn_and_not_for_a_line(nursery: trio.Nursery, tmp_path: Path) -> None:
    # It was 26 s: behind every large body of the other token.
    configuration = project() + endpoint("e", guardrails=SCANNED)
    gateway = await start_gateway(nursery, tmp_path, "[gateway]\nmax_inflight_body_bytes = 268435456\n" + configuration)
    noisy, answered = gateway.make_token(), 0

    async def make_noise() -> None:
        nonlocal answered
        assert 200 == (await send_raw(gateway.port, large_post(noisy, MIB))).status
        answered += 1

    async with trio.open_nursery() as noise:
        for _ in range(30):
            noise.start_soon(make_noise)
        with trio.fail_after(LIMIT_S):
            await gateway.simulator.wait_request(1)
        before = answered

        answer = await send_raw(gateway.port, large_post(gateway.token, 300_000))

        # Three pieces of work each (read, guard, check): in turn with three of the other token's.
        assert 200 == answer.status
        assert answered - before <= 4


# ── what is over a limit ─────────────────────────────────────────────────────────────────────────────────────────────


LIMITED = project() + endpoint("e", rate_limit_per_minute=2)


@pytest.fixture(params=["lane", "hypercorn"])
async def limited(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await start_gateway(nursery, tmp_path, LIMITED, request.param)


async def ask_with_head_alone(gateway: Gateway, token: str, path: str) -> HttpResponse:
    """The head of a large request whose body never comes."""
    head = post(path, b"", bearer(token), ("content-length", str(3 * MIB)))
    client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    async with client:
        await client.send_all(head)
        with trio.fail_after(LIMIT_S):
            return await read_response(client)


async def test_large_body_over_a_limit_is_not_received(limited: Gateway) -> None:
    for _ in range(2):
        assert 200 == (await limited.call("e")).status

    answer = await ask_with_head_alone(limited, limited.token, f"/api/{PROJECT}/e")

    assert (429, "minute") == (answer.status, answer.json()["scope"])
    assert answer.headers["retry-after"] == str(answer.json()["retry_after"])


async def test_tokens_limit_holds_where_the_body_names_the_endpoint(limited: Gateway) -> None:
    token = limited.make_token(limits=TokenLimits(rate_limit_per_minute=1))
    good = post(f"/api/{PROJECT}/chat/completions", {"message": "Hi", "endpoint": "e"}, bearer(token))
    assert 200 == (await send_raw(limited.port, good)).status

    answer = await ask_with_head_alone(limited, token, f"/api/{PROJECT}/chat/completions")

    assert (429, "token_minute") == (answer.status, answer.json()["scope"])


async def test_malformed_large_bodies_cost_no_quota(limited: Gateway) -> None:
    broken = post(f"/api/{PROJECT}/e", b'{"message": "' + b"x" * 300_000, bearer(limited.token))
    for _ in range(4):
        assert 400 == (await send_raw(limited.port, broken)).status

    assert [200, 200, 429] == [(await limited.call("e")).status for _ in range(3)]


@pytest.mark.parametrize("size", [0, 300_000])
async def test_malformed_body_over_a_limit_is_over_it(limited: Gateway, size: int) -> None:
    for _ in range(2):
        assert 200 == (await limited.call("e")).status

    broken = post(f"/api/{PROJECT}/e", b'{"message": "' + b"x" * size, bearer(limited.token))

    assert 429 == (await send_raw(limited.port, broken)).status


async def test_body_that_costs_too_much_to_read_is_a_mistake(limited: Gateway) -> None:
    body = b'{"message":"Hi","x":[' + b"[]," * MIB + b"0]}"

    answer = await send_raw(limited.port, post(f"/api/{PROJECT}/e", body, bearer(limited.token)))

    assert (400, "Body has more than 250000 objects, lists and keys.") == (answer.status, answer.json()["error"])


# ── bytes in flight ──────────────────────────────────────────────────────────────────────────────────────────────────


class StalledProvider:
    """A provider that takes requests and answers them when it is told."""

    def __init__(self) -> None:
        self.released = trio.Event()
        self.asked = 0
        self._came = trio.Event()
        self.server = FaultServer((self._serve,))

    async def _serve(self, peer: Peer) -> None:
        await peer.read_request()
        peer.requests.clear()
        self.asked += 1
        came, self._came = self._came, trio.Event()
        came.set()
        await self.released.wait()
        await peer.send(answer_with(REPLY, headers=b"content-type: application/json\r\nconnection: close\r\n"))

    async def wait_asked(self, count: int) -> None:
        with trio.fail_after(LIMIT_S):
            while self.asked < count:
                await self._came.wait()

    def configuration(self) -> str:
        url = self.server.url.removesuffix("/chat/completions")
        credential = f'[[credentials]]\nname = "p"\nprovider = "openai"\napi_key = "k"\nbase_url = "{url}"\n'
        return credential + project() + '[[projects.endpoints]]\nslug = "e"\ncredential = "p"\nmodel = "m"\n'


@pytest.fixture
async def stalled(nursery: trio.Nursery) -> StalledProvider:
    provider = StalledProvider()
    await nursery.start(provider.server.serve)
    return provider


class Senders:
    """Clients that send large bodies; how each was answered."""

    def __init__(self, nursery: trio.Nursery, port: int) -> None:
        self._nursery = nursery
        self._port = port
        self.answers: list[HttpResponse] = []
        self._came = trio.Event()

    def send(self, request: bytes, count: int = 1) -> None:
        for _ in range(count):
            self._nursery.start_soon(self._send, request)

    async def wait_answers(self, count: int) -> list[int]:
        """The statuses, once there are so many."""
        with trio.fail_after(LIMIT_S):
            while len(self.answers) < count:
                await self._came.wait()
        return sorted(answer.status for answer in self.answers)

    async def _send(self, request: bytes) -> None:
        self.answers.append(await send_raw(self._port, request))
        came, self._came = self._came, trio.Event()
        came.set()


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_past_the_bound_wait_or_are_shed(
    chunked: bool, stalled: StalledProvider, nursery: trio.Nursery, tmp_path: Path
) -> None:
    limits = f"[gateway]\nmax_inflight_body_bytes = {MIB}\nmax_body_bytes = {MIB // 2}\nadmission_wait_ms = 300\n"
    gateway = await start_gateway(nursery, tmp_path, limits + stalled.configuration())
    other = gateway.make_token()
    senders = Senders(nursery, gateway.port)
    as_sent = chunk if chunked else bytes
    senders.send(as_sent(large_post(gateway.token, 400_000)), 3)

    # One is in flight, half of all is a token's; the two that waited are turned away.
    assert [503, 503] == await senders.wait_answers(2)
    assert {"1"} == {answer.headers["retry-after"] for answer in senders.answers}
    assert {"Gateway is overloaded."} == {answer.json()["error"] for answer in senders.answers}

    # Another token finds room, and small bodies always do.
    senders.send(as_sent(large_post(other, 400_000)))
    senders.send(large_post(gateway.token, 100))
    await stalled.wait_asked(3)
    stalled.released.set()
    assert [200, 200, 200, 503, 503] == await senders.wait_answers(5)

    # What was kept was given back.
    senders.send(as_sent(large_post(gateway.token, 400_000)))
    assert [200, 200, 200, 200, 503, 503] == await senders.wait_answers(6)


async def test_waiting_body_is_served_when_there_is_room(
    stalled: StalledProvider, nursery: trio.Nursery, tmp_path: Path
) -> None:
    limits = f"[gateway]\nmax_inflight_body_bytes = {MIB}\nadmission_wait_ms = 20000\n"
    gateway = await start_gateway(nursery, tmp_path, limits + stalled.configuration())
    senders = Senders(nursery, gateway.port)
    senders.send(large_post(gateway.token, 400_000), 5)
    await stalled.wait_asked(1)

    stalled.released.set()

    assert [200] * 5 == await senders.wait_answers(5)


async def test_waiting_body_meets_its_own_deadline(
    stalled: StalledProvider, nursery: trio.Nursery, tmp_path: Path
) -> None:
    limits = f"[gateway]\nmax_inflight_body_bytes = {MIB}\nadmission_wait_ms = 20000\n"
    gateway = await start_gateway(nursery, tmp_path, limits + stalled.configuration())
    senders = Senders(nursery, gateway.port)
    senders.send(large_post(gateway.token, 400_000))
    await stalled.wait_asked(1)
    hurried = large_post(gateway.token, 400_000).replace(b"\r\n", b"\r\nx-pg-timeout-ms: 200\r\n", 1)

    senders.send(hurried)

    assert [504] == await senders.wait_answers(1)
    stalled.released.set()


def chunk(request: bytes) -> bytes:
    """The same request with a chunked body."""
    head, _, body = request.partition(b"\r\n\r\n")
    head = re.sub(rb"content-length: \d+", b"transfer-encoding: chunked", head)
    return b"%b\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (head, len(body), body)


async def test_memory_is_bounded_by_bytes_in_flight(
    stalled: StalledProvider, nursery: trio.Nursery, tmp_path: Path
) -> None:
    """100 bodies of 4 MB took a worker to 1.9 GB."""
    bound = 32 * MIB
    limits = f'[server]\nbind = "127.0.0.1:0"\n[gateway]\nmax_inflight_body_bytes = {bound}\nadmission_wait_ms = 500\n'
    config = tmp_path / "gateway.toml"
    config.write_text(limits + stalled.configuration(), encoding="utf-8")
    tokens = []
    for name in ("a", "b"):
        command = ("token", "create", "--config", str(config), "--project", str(PROJECT), "--name", name)
        tokens.append((await run_command(*command))[1].strip())
    served = await start(nursery, [*PG_TRIO, "serve", "--config", str(config)])
    [worker] = json.loads((tmp_path / "data" / "serve.json").read_text())["workers"]
    await send_raw(served.port, get("/healthz"))
    before = peak_bytes(worker)
    senders = Senders(nursery, served.port)

    for token in tokens:
        senders.send(large_post(token, 4 * MIB - 100, text="x"), 20)
    # Each token has 16 MiB: four bodies.
    assert [503] * 32 == await senders.wait_answers(32)

    await stalled.wait_asked(8)

    grown = peak_bytes(worker) - before
    assert 8 == stalled.asked
    # Of each byte in flight some three are kept (parsed, and for the provider), five for a moment.
    assert grown < 5 * bound
    stalled.released.set()
    assert [200] * 8 + [503] * 32 == await senders.wait_answers(40)
    assert 0 == await served.stop()


def peak_bytes(pid: int) -> int:
    """The most memory that a process had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024
