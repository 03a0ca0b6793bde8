"""A mock server that is not this project's (PyPI: llmock) breaks nine providers on demand, and judges its client."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from scripts.bench.harness.processes import find_free_port
from tests.e2e.test_mock_servers import CREDENTIAL, INSTALL_LIMIT_S, ROOT, TOOLS, calls_of, chunks_of, text_of
from tests.support.gateway import Gateway, endpoint, project, start_gateway

pytestmark = pytest.mark.slow

# Where each provider is on that server, and a model.
PROVIDERS = {
    "openai": ("/v1", "gpt-4o-mini"),
    "anthropic": ("/anthropic/v1", "claude-sonnet-4-5"),
    "google": ("/gemini/v1beta", "gemini-2.5-pro"),
    "cohere": ("/cohere/v2", "command-r-plus"),
    "groq": ("/groq/openai/v1", "llama-3.3-70b-versatile"),
    "mistral": ("/mistral/v1", "mistral-large-latest"),
    "together": ("/together/v1", "openai/gpt-oss-20b"),
    "perplexity": ("/perplexity/v1", "sonar"),
    "xai": ("/xai/v1", "grok-4"),
}
# What the server calls them.
NAMES = {"google": "gemini"}
START_LIMIT_S = 30.0
TEXT = "Here is an answer of quite a few words. 🙂"
WORDS = "One two three four five six seven eight nine."
EACH = pytest.mark.parametrize("provider", PROVIDERS)
WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@frozen
class Breaking:
    """The server, and what may be asked of it."""

    address: str

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """What the server's own routes answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/_llmock/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=START_LIMIT_S) as answer:
            return json.load(answer)

    def script(self, *behaviours: dict[str, Any]) -> None:
        """What it does with the next requests that match."""
        self.ask("POST", "scenario", {"behaviors": list(behaviours)})


def to(provider: str) -> dict[str, Any]:
    return {"match": {"provider": NAMES.get(provider, provider)}}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's program, installed for this session."""
    command = [str(ROOT / "scripts" / "mock-servers"), str(tmp_path_factory.mktemp("llmock")), "llmock"]
    try:
        installed = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
    except subprocess.TimeoutExpired:
        pytest.skip("pip did not install the mock server in time")
    if installed.returncode != 0:
        pytest.skip(f"pip could not install the mock server: {installed.stderr.strip()[-200:]}")
    return Path(installed.stdout.strip())


@pytest.fixture(scope="session")
def started(program: Path) -> Iterator[Breaking]:
    """The server, listening; it ends with the session."""
    port = find_free_port()
    command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        server, limit = Breaking(f"http://127.0.0.1:{port}"), time.monotonic() + START_LIMIT_S
        while True:
            try:
                server.ask("POST", "reset")
                break
            except OSError:
                if time.monotonic() > limit or process.poll() is not None:
                    process.kill()
                    pytest.fail("the mock server did not start")
                time.sleep(0.1)
        yield server
        process.terminate()


@pytest.fixture
def server(started: Breaking) -> Breaking:
    started.ask("POST", "reset")
    return started


def on(slug: str, *providers: str, **settings: object) -> str:
    """An endpoint whose candidates are of these providers, in this order."""
    first, *others = providers
    failover = [{"credential": f"{name}-mock", "model": PROVIDERS[name][1]} for name in others]
    given = {"streaming_enabled": True, "deadline_ms": 10_000, "failover": failover, **settings}
    return endpoint(slug, PROVIDERS[first][1], **given).replace('"sim"', f'"{first}-mock"', 1)


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path, server: Breaking) -> Gateway:
    parts = [
        CREDENTIAL.format(name=f"{name}-mock", wire=name, url=server.address + path)
        for name, (path, _) in PROVIDERS.items()
    ]
    parts += [project()]
    parts += [on(name, name) for name in PROVIDERS]
    parts += [on(f"{name}-retried", name, max_attempts=3) for name in PROVIDERS]
    parts += [
        on(f"{name}-carried", name, "cohere" if name == "openai" else "openai", on_stream_failure="continue")
        for name in PROVIDERS
    ]
    parts += [on(f"{name}-quick", name, "xai", first_token_timeout_ms=500, idle_timeout_ms=500) for name in PROVIDERS]
    parts += [on("chain", "openai", "anthropic", "google", "cohere")]
    return await start_gateway(nursery, tmp_path, "\n".join(parts))


def said_by(response: Any, stream: bool) -> str:
    return text_of(response) if stream else response.json()["content"]


def answered_by(response: Any, stream: bool) -> str:
    return str(chunks_of(response)[-1]["meta"]["provider"] if stream else response.headers["x-pg-provider"])


@EACH
@WAYS
async def test_text(gateway: Gateway, server: Breaking, provider: str, stream: bool) -> None:
    server.script({"type": "reply", "text": TEXT})

    answer = await gateway.call(provider, {"message": "Say something, please.", "stream": stream})

    assert (200, TEXT) == (answer.status, said_by(answer, stream))
    usage = chunks_of(answer)[-1]["usage"] if stream else answer.json()["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert not usage.get("estimated")


@EACH
@WAYS
async def test_round_of_tools(gateway: Gateway, server: Breaking, provider: str, stream: bool) -> None:
    """The server makes arguments of the tool's schema, and answers when it understands the result."""
    question = {"role": "user", "content": "What is the weather in Ulm?"}

    asked = await gateway.call(provider, {"messages": [question], "tools": TOOLS, "stream": stream})
    [call] = calls_of(asked, stream)
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "content": "7 degrees", "tool_call_id": call["id"]}
    answer = await gateway.call(provider, {"messages": [question, turn, result], "tools": TOOLS, "stream": stream})

    assert "get_weather" == call["function"]["name"]
    assert ["city"] == list(json.loads(call["function"]["arguments"]))
    assert (200, "") != (answer.status, said_by(answer, stream))
    assert 200 == answer.status


@EACH
@WAYS
async def test_failure_is_tried_again_when_its_time_has_come(
    gateway: Gateway, server: Breaking, provider: str, stream: bool
) -> None:
    server.script(
        {"type": "fail", "status": 429, "retry_after": 1, **to(provider)},
        {"type": "fail", "status": 503, **to(provider)},
        {"type": "reply", "text": TEXT},
    )

    answer = await gateway.call(f"{provider}-retried", {"message": "Hi", "stream": stream})
    verdict = await trio.to_thread.run_sync(server.ask, "GET", "verdict")

    assert (200, TEXT) == (answer.status, said_by(answer, stream))
    assert (3, []) == (verdict["attempts"], verdict["findings"])


@EACH
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_failure_that_lasts_is_not_tried_again(
    gateway: Gateway, server: Breaking, provider: str, status: int
) -> None:
    server.script({"type": "fail", "status": status, "times": 9, **to(provider)})

    answer = await gateway.call(f"{provider}-retried")
    verdict = await trio.to_thread.run_sync(server.ask, "GET", "verdict")

    assert 502 == answer.status
    assert f"HTTP {status}: " in answer.json()["error"]
    assert (1, []) == (verdict["attempts"], verdict["findings"])


@EACH
@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
async def test_stream_that_breaks_is_carried_on(gateway: Gateway, server: Breaking, provider: str, kind: str) -> None:
    server.script(
        {"type": "stream_fault", "kind": kind, "after_chunks": 6, **to(provider)},
        {"type": "reply", "text": WORDS, **to(provider)},
        {"type": "reply", "text": "And ten."},
    )

    answer = await gateway.call(f"{provider}-carried", {"message": "Hi", "stream": True})

    assert "One two" in text_of(answer)
    assert text_of(answer).endswith("And ten.")
    assert answered_by(answer, stream=True) == ("cohere" if provider == "openai" else "openai")


@EACH
async def test_stream_that_breaks_alone_ends_with_the_failure(
    gateway: Gateway, server: Breaking, provider: str
) -> None:
    server.script({"type": "stream_fault", "kind": "truncate", "after_chunks": 6}, {"type": "reply", "text": WORDS})

    answer = await gateway.call(provider, {"message": "Hi", "stream": True})

    assert b'"error":"Provider call failed: the stream was cut' in answer.body
    choices = [choice for chunk in chunks_of(answer) for choice in chunk.get("choices", [])]
    assert ["error"] == [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


@EACH
async def test_silent_stream_is_left(gateway: Gateway, server: Breaking, provider: str) -> None:
    other = "xai"
    server.script({"type": "slow_first_token", "seconds": 5, "match": {"provider": NAMES.get(provider, provider)}})

    answer = await gateway.call(f"{provider}-quick", {"message": "Hi", "stream": True})

    assert 200 == answer.status
    assert answered_by(answer, stream=True) == other


@WAYS
async def test_chain_across_the_wires(gateway: Gateway, server: Breaking, stream: bool) -> None:
    server.script(
        {"type": "fail", "status": 401, **to("openai")},
        {"type": "fail", "status": 529, **to("anthropic")},
        {"type": "fail", "status": 429, "retry_after": 60, **to("google")},
        {"type": "reply", "text": TEXT},
    )

    answer = await gateway.call("chain", {"message": "Hi", "stream": stream})
    verdict = await trio.to_thread.run_sync(server.ask, "GET", "verdict")

    assert (200, TEXT, "cohere") == (answer.status, said_by(answer, stream), answered_by(answer, stream))
    assert [] == [finding for finding in verdict["findings"] if finding["severity"] == "error"]
