"""A mock server that is not this project's (npm: @copilotkit/aimock) is the provider, on each wire that it speaks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
INSTALL_LIMIT_S = 180
WIRES = ("openai", "anthropic", "google", "cohere")
BASES = {"openai": "/v1", "anthropic": "/v1", "google": "/v1beta", "cohere": "/v2"}
MODELS = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.5-flash",
    "cohere": "command-a-03-2025",
}
# The deadline is short, so that failures are not waited out.
SETTINGS = {"streaming_enabled": True, "deadline_ms": 3_000}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
TEXT = "Ça va, and here are quite a few words more than one chunk of twenty characters holds. 🙂"
# Each wire takes its own words of these; without them the mock reports zeros.
USAGE = {
    "prompt_tokens": 38,
    "completion_tokens": 87,
    "total_tokens": 125,
    "input_tokens": 38,
    "output_tokens": 87,
    "promptTokenCount": 38,
    "candidatesTokenCount": 87,
    "totalTokenCount": 125,
}
FIXTURES = [
    {"match": {"toolResultContains": "7 degrees"}, "response": {"content": "It is 7 degrees."}},
    {
        "match": {"userMessage": "weather"},
        "response": {"toolCalls": [{"name": "get_weather", "arguments": '{"city":"Ulm"}'}]},
    },
    {"match": {"userMessage": "think"}, "response": {"content": "21", "reasoning": "I need the divisor."}},
    {
        "match": {"userMessage": "limit"},
        "response": {"error": {"message": "Too many requests", "type": "rate_limit_error"}, "status": 429},
    },
    {
        "match": {"userMessage": "down"},
        "response": {"error": {"message": "Out of order", "type": "server_error"}, "status": 503},
    },
    {"match": {"userMessage": "hello"}, "response": {"content": TEXT, "usage": USAGE}},
]
CREDENTIAL = '[[credentials]]\nname = "{name}"\nprovider = "{wire}"\napi_key = "key-of-a-mock"\nbase_url = "{url}"\n'


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mock server's program, installed for this session."""
    for needed in ("node", "npm"):
        if shutil.which(needed) is None:
            pytest.skip(f"the mock servers need {needed}, which is not installed")
    command = [ROOT / "scripts" / "mock-servers", tmp_path_factory.mktemp("mock-servers")]
    try:
        installed = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the mock servers in time")
    if installed.returncode != 0:
        pytest.skip(f"npm could not install the mock servers: {installed.stderr.strip()[-200:]}")
    return Path(installed.stdout.strip())


@pytest.fixture(scope="session")
def mock_address(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the mock server listens; it ends with the session."""
    fixtures = tmp_path_factory.mktemp("fixtures") / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": FIXTURES}))
    command = ["node", str(program), "--port", "0", "--fixtures", str(fixtures)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0]
                break
        else:
            pytest.fail(f"the mock server did not start: {said}")
        process.terminate()


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path, mock_address: str) -> Gateway:
    parts = [CREDENTIAL.format(name=f"{wire}-mock", wire=wire, url=mock_address + BASES[wire]) for wire in WIRES]
    parts += [project()]
    parts += [endpoint(wire, MODELS[wire], **SETTINGS).replace('"sim"', f'"{wire}-mock"') for wire in WIRES]
    return await start_gateway(nursery, tmp_path, "\n".join(parts))


def chunks_of(response: HttpResponse) -> list[dict[str, Any]]:
    lines = response.body.decode().split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def text_of(response: HttpResponse) -> str:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(response) if chunk.get("choices")]
    return "".join(delta.get("content") or "" for delta in deltas)


def calls_of(response: HttpResponse, stream: bool) -> list[dict[str, Any]]:
    if not stream:
        return list(response.json()["tool_calls"])
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks_of(response):
        for choice in chunk["choices"]:
            for piece in choice["delta"].get("tool_calls") or []:
                call = calls.setdefault(piece["index"], {"type": "function", "function": {"arguments": ""}})
                call["id"] = piece.get("id") or call.get("id")
                call["function"]["name"] = piece["function"].get("name") or call["function"].get("name")
                call["function"]["arguments"] += piece["function"].get("arguments") or ""
    return list(calls.values())


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("wire", WIRES)
async def test_text(gateway: Gateway, wire: str, stream: bool) -> None:
    answer = await gateway.call(wire, {"message": "hello", "stream": stream})

    assert 200 == answer.status
    assert TEXT == (text_of(answer) if stream else answer.json()["content"])
    usage = chunks_of(answer)[-1]["usage"] if stream else answer.json()["usage"]
    assert (38, 87) == (usage["prompt_tokens"], usage["completion_tokens"])


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("wire", WIRES)
async def test_round_of_tools(gateway: Gateway, wire: str, stream: bool) -> None:
    question = {"role": "user", "content": "What is the weather in Ulm?"}

    asked = await gateway.call(wire, {"messages": [question], "tools": TOOLS, "stream": stream})
    [call] = calls_of(asked, stream)
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "content": "7 degrees", "tool_call_id": call["id"]}
    answer = await gateway.call(wire, {"messages": [question, turn, result], "tools": TOOLS, "stream": stream})

    assert ("get_weather", {"city": "Ulm"}) == (call["function"]["name"], json.loads(call["function"]["arguments"]))
    assert "It is 7 degrees." == (text_of(answer) if stream else answer.json()["content"])


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
# Not on Cohere's: the mock sends reasoning as text there, where the API has blocks of thinking.
@pytest.mark.parametrize("wire", WIRES[:-1])
async def test_reasoning_is_not_content(gateway: Gateway, wire: str, stream: bool) -> None:
    answer = await gateway.call(wire, {"message": "think", "stream": stream})

    assert "21" == (text_of(answer) if stream else answer.json()["content"])


@pytest.mark.parametrize(
    ("said", "status", "words"), [("limit", 429, "Too many requests"), ("down", 503, "Out of order")]
)
@pytest.mark.parametrize("wire", WIRES)
async def test_failure_says_why(gateway: Gateway, wire: str, said: str, status: int, words: str) -> None:
    answer = await gateway.call(wire, {"message": said})

    assert 502 == answer.status
    assert f"HTTP {status}: {words}" in answer.json()["error"]
