"""Answers, chunks, models and errors held against the types that OpenAI publishes, with nothing converted.

These types are in the package of the client `openai`, so its program judges (python/openai_shapes.py).
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.clients.declared import CLIENTS, Client
from tests.clients.talking import ClientProgram
from tests.clients.test_client_errors import ANTHROPIC_TYPES, ROWS, question, refusing
from tests.clients.world import WIRES, World

OPENAI = CLIENTS[0]
[RESPONSES] = [client for client in CLIENTS if client.program == ("openai_responses.py",)]
[ANTHROPIC] = [client for client in CLIENTS if client.program == ("anthropic_sdk.py",)]
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}},
]
# What the provider does, and what is asked of it.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("usage=38:87", {}),
    "cut by its limit": ("finish=length&tokens=3", {"max_tokens": 3}),
    "reasoning": ("reasoning=2", {"reasoning_effort": "low"}),
    "tool": (f"tool=get_weather:{quote(json.dumps({'city': 'Ulm'}))}", {"tools": TOOLS}),
    "without usage": ("usage=off", {}),
    "filtered": ("finish=content_filter&tokens=2", {}),
    "all parameters": (
        "",
        {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["!"], "user": "me", "metadata": {"a": "b"}},
    ),
}

__all__ = ["refusing"]


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Client:
    """Whose package has the types."""
    return getattr(request, "param", OPENAI)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wire", WIRES)
async def test_whole_answers(world: World, program: ClientProgram, wire: str, case: str) -> None:
    behaviour, options = CASES[case]
    world.behave(wire, behaviour)

    text = await program.ask("shape", **world.ask(wire, options=options))

    choice = json.loads(text)["choices"][0]
    assert {"role", "content", "refusal"} <= choice["message"].keys()
    assert ("tool_calls" in choice["message"]) is (case == "tool")


@pytest.mark.parametrize("usage", [False, True], ids=["plain", "with usage"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wire", WIRES)
async def test_chunks(world: World, program: ClientProgram, wire: str, case: str, usage: bool) -> None:
    behaviour, options = CASES[case]
    world.behave(wire, behaviour)
    more = {"stream_options": {"include_usage": True}} if usage else {}

    count = await program.ask("stream_shape", **world.ask(wire, options={**options, **more}))

    assert count >= 3 + usage


async def test_models(world: World, program: ClientProgram) -> None:
    await program.ask("model_shape", **world.ask("openai"))


@pytest.mark.parametrize("told", ROWS)
async def test_errors(refusing: World, program: ClientProgram, told: str) -> None:
    row = ROWS[told]

    gave = await program.ask("error_shape", **question(refusing, row, OPENAI))

    assert (row.type, row.code) == (gave["type"], gave["code"])
    headers = gave["headers"]
    assert "x-request-id" in headers
    assert (row.status in (429, 503)) is ("retry-after" in headers)
    assert ("retry-after-ms" in headers) is ("retry-after" in headers)
    assert ("false" == headers.get("x-should-retry")) is (row.status in (400, 401, 403, 404, 413, 422, 504))


@pytest.mark.parametrize(("told", "param"), [("wrong field", "temperature"), ("no such model", "model")])
async def test_errors_name_the_parameter(refusing: World, program: ClientProgram, told: str, param: str) -> None:
    gave = await program.ask("error_shape", **question(refusing, ROWS[told], OPENAI))

    assert param == gave["param"]


of_responses = pytest.mark.parametrize("client", [RESPONSES], indirect=True, ids=[""])
of_messages = pytest.mark.parametrize("client", [ANTHROPIC], indirect=True, ids=[""])
TOOL = f"tool=get_weather:{quote(json.dumps({'city': 'Ulm'}))}"
BEHAVIOURS = {
    "text": "usage=38:87",
    "reasoning": "reasoning=2",
    "tool": TOOL,
    "cut by its limit": "finish=length&tokens=3",
}


@of_responses
@pytest.mark.parametrize("told", BEHAVIOURS)
@pytest.mark.parametrize("wire", WIRES)
async def test_whole_responses(world: World, program: ClientProgram, client: Client, wire: str, told: str) -> None:
    world.behave(wire, BEHAVIOURS[told])

    await program.ask("response_shape", **world.ask(wire))


@of_responses
@pytest.mark.parametrize("told", [*BEHAVIOURS, "torn"])
@pytest.mark.parametrize("wire", WIRES)
async def test_events_of_responses(world: World, program: ClientProgram, client: Client, wire: str, told: str) -> None:
    world.behave(wire, BEHAVIOURS.get(told, "tokens=8&fault=stream_error:4"))

    kinds = await program.ask("response_stream_shape", **world.ask(wire))

    ends = {"torn": "response.failed", "cut by its limit": "response.incomplete"}
    assert ["response.created", "response.in_progress"] == kinds[:2]
    assert ends.get(told, "response.completed") == kinds[-1]


@of_messages
@pytest.mark.parametrize("told", BEHAVIOURS)
@pytest.mark.parametrize("wire", WIRES)
async def test_whole_messages(world: World, program: ClientProgram, client: Client, wire: str, told: str) -> None:
    world.behave(wire, BEHAVIOURS[told])

    await program.ask("message_shape", **world.ask(wire))


@of_messages
@pytest.mark.parametrize("told", [*BEHAVIOURS, "torn"])
@pytest.mark.parametrize("wire", WIRES)
async def test_events_of_messages(world: World, program: ClientProgram, client: Client, wire: str, told: str) -> None:
    world.behave(wire, BEHAVIOURS.get(told, "tokens=8&fault=stream_error:4"))

    kinds = await program.ask("message_stream_shape", **world.ask(wire))

    assert ("message_start", "error" if told == "torn" else "message_stop") == (kinds[0], kinds[-1])


@of_messages
@pytest.mark.parametrize("told", ROWS)
async def test_errors_of_messages(refusing: World, program: ClientProgram, client: Client, told: str) -> None:
    row = ROWS[told]

    gave = await program.ask("message_error_shape", **question(refusing, row, client))

    status = 529 if row.code == "overloaded" else row.status
    body, headers = gave["body"], gave["headers"]
    assert {"type", "error", "request_id"} == body.keys()
    assert ("error", {"type", "message"}) == (body["type"], body["error"].keys())
    assert ANTHROPIC_TYPES[status] == body["error"]["type"]
    assert body["request_id"] == headers["request-id"] == headers["x-request-id"]
    assert (status in (429, 503, 529)) is ("retry-after" in headers)
