"""The simulator's native wires: what is refused, which key is looked at, and what the official types say of answers."""

from __future__ import annotations

from typing import Any, Literal

import anthropic.types
import cohere.v2
import orjson
import pydantic
import pytest
from google.genai import types as google_types

from pg_trio.simulator.behaviour import parse_behaviour
from pg_trio.simulator.chat_call import ChatCall, RefusedCall
from pg_trio.simulator.chat_completion import Occasion, complete
from pg_trio.simulator.wire_routes import find_route, read_call, read_key
from pg_trio.simulator.wires import WIRES

VERSION = {"anthropic-version": "2023-06-01"}
PATHS = {
    "anthropic": "/v1/messages",
    "google": "/v1beta/models/sim:generateContent",
    "cohere": "/v2/chat",
}
GOOD: dict[str, dict[str, Any]] = {
    "anthropic": {"model": "sim", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello you"}]},
    "google": {"contents": [{"role": "user", "parts": [{"text": "Hello you"}]}]},
    "cohere": {"model": "sim", "messages": [{"role": "user", "content": "Hello you"}]},
}


def call(wire: str, **changes: Any) -> ChatCall:
    body = {name: value for name, value in (GOOD[wire] | changes).items() if value is not None}
    return read_call(wire, PATHS[wire], VERSION, body, "sim")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/chat/completions", ("openai", None)),
        ("/v1/messages", ("anthropic", None)),
        ("/v1/messages?beta=true", ("anthropic", None)),
        ("/v2/chat", ("cohere", None)),
        ("/v1/chat", ("cohere", None)),
        ("/v1beta/models/gemini-x:generateContent", ("google", "gemini-x")),
        ("/v1beta/models/sim%3Flatency=1ms:streamGenerateContent?alt=sse", ("google", "sim?latency=1ms")),
        ("/v1beta/tunedModels/mine:generateContent", ("google", "tunedModels/mine")),
        ("/v1/models", None),
        ("/messages", None),
        ("/v1beta/models/x:countTokens", None),
    ],
)
def test_path_names_the_wire(path: str, found: tuple[str, str | None] | None) -> None:
    assert found == find_route("POST", path)


def test_only_posts_are_chats() -> None:
    assert find_route("GET", "/v1/messages") is None


@pytest.mark.parametrize("wire", GOOD)
def test_good_request_is_understood(wire: str) -> None:
    assert ("sim", "Hello you", wire) == (
        (read := call(wire)).model,
        read.said,
        read.wire,
    )


CALLED = [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "no limit": ("anthropic", {"max_tokens": None}),
    "a limit of nothing": ("anthropic", {"max_tokens": 0}),
    "unknown field": ("anthropic", {"n": 1}),
    "no messages": ("anthropic", {"messages": []}),
    "the assistant first": ("anthropic", {"messages": [{"role": "assistant", "content": "Hi"}]}),
    "a system turn": ("anthropic", {"messages": [{"role": "system", "content": "Hi"}]}),
    "empty text": ("anthropic", {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}),
    "call without a result": (
        "anthropic",
        {
            "messages": [
                *GOOD["anthropic"]["messages"],
                {"role": "assistant", "content": CALLED},
                {"role": "user", "content": "?"},
            ]
        },
    ),
    "result without a call": (
        "anthropic",
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]},
    ),
    "no contents": ("google", {"contents": []}),
    "no parts": ("google", {"contents": [{"role": "user", "parts": []}]}),
    "the model last": (
        "google",
        {"contents": [*GOOD["google"]["contents"], {"role": "model", "parts": [{"text": "Hi"}]}]},
    ),
    "unsigned call": (
        "google",
        {
            "contents": [
                *GOOD["google"]["contents"],
                {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
            ]
        },
    ),
    "unknown field of Google's": ("google", {"messages": []}),
    "role of Cohere's": ("cohere", {"messages": [{"role": "chatbot", "content": "Hi"}]}),
    "nothing said": ("cohere", {"messages": [{"role": "user", "content": ""}]}),
    "result of no call": ("cohere", {"messages": [{"role": "tool", "tool_call_id": "a", "content": "7"}]}),
    "OpenAI's field": ("cohere", {"top_p": 0.5}),
    "no model": ("cohere", {"model": None}),
    "a word for a flag": ("cohere", {"stream": "yes"}),
}


@pytest.mark.parametrize(("wire", "changes"), REFUSED.values(), ids=REFUSED)
def test_wrong_request_is_refused(wire: str, changes: dict[str, Any]) -> None:
    with pytest.raises(RefusedCall) as caught:
        call(wire, **changes)

    assert 400 == caught.value.status


def test_version_is_demanded() -> None:
    with pytest.raises(RefusedCall):
        read_call("anthropic", PATHS["anthropic"], {}, GOOD["anthropic"], None)


@pytest.mark.parametrize(
    ("wire", "headers"),
    [
        ("openai", {"authorization": "Bearer k"}),
        ("anthropic", {"x-api-key": "k"}),
        ("google", {"x-goog-api-key": "k"}),
        ("cohere", {"authorization": "Bearer k"}),
    ],
)
def test_key_is_looked_for_in_its_header(wire: str, headers: dict[str, str]) -> None:
    assert "k" == read_key(wire, headers)
    assert read_key(wire, {}) is None


ANSWERS = ["content=Hi", "tool=f:%7B%22a%22: 1%7D", "content=Hi&reasoning=2", "tokens=0&finish=length"]
CHUNKS = {
    "anthropic": pydantic.TypeAdapter[Any](anthropic.types.RawMessageStreamEvent),
    "google": pydantic.TypeAdapter[Any](google_types.GenerateContentResponse),
    "cohere": pydantic.TypeAdapter[Any](cohere.v2.V2ChatStreamResponse),
}
WHOLE = {
    "anthropic": pydantic.TypeAdapter[Any](anthropic.types.Message),
    "google": pydantic.TypeAdapter[Any](google_types.GenerateContentResponse),
    "cohere": pydantic.TypeAdapter[Any](cohere.v2.V2ChatResponse),
}


@pytest.mark.parametrize("behaviour", ANSWERS)
@pytest.mark.parametrize("wire", GOOD)
def test_official_types_know_the_answers(wire: str, behaviour: str) -> None:
    completion = complete(parse_behaviour(behaviour), call(wire), Occasion(0, "sim", 1))
    spoken = WIRES[wire]
    stream = b"".join(
        [
            spoken.opening_event(completion),
            *spoken.reasoning_events(completion),
            *spoken.token_events(completion),
            spoken.closing_events(completion, include_usage=True),
        ]
    )

    WHOLE[wire].validate_python(spoken.plain_object(completion), extra="forbid")
    for line in stream.split(b"\n"):
        if line.startswith(b"data: "):
            # Cohere's own opening event has fields that its package does not know.
            chunk_extra: Literal["forbid"] | None = None if wire == "cohere" else "forbid"
            CHUNKS[wire].validate_python(orjson.loads(line.removeprefix(b"data: ")), extra=chunk_extra)
