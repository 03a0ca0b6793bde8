"""Any JSON in any place of a request is read, or refused with a 4xx in the surface's shape. What is read can be sent.

The bodies below have every field that a surface knows. Each example puts another value into one place of one of them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.embeddings import EmbeddingRequest
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.errors import CandidateUnfit, GatewayError
from pg_trio.providers import adapter_for, embeddings_for
from pg_trio.stages.prompt import compile_prompt
from pg_trio.surfaces import SURFACES, Surface

Body = dict[str, Any]
HEAD = RequestHead(UUID(int=7), "p", None, [], "application/json", [], 0.0, 1763800000.7)
LIMITS = GatewaySettings()
PNG = "iVBORw0KGgo="
SCHEMA: Body = {"type": "object", "properties": {"a": {"type": "string"}}}
MEDIA: Body = {"type": "base64", "media_type": "image/png", "data": PNG}

CHAT: Body = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_data": "AAAA", "filename": "a.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "abc"}},
                }
            ],
            "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "abc", "format": "unknown"}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
    ],
    "temperature": 1,
    "top_p": 1,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "stop": ["a"],
    "seed": 1,
    "n": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {"1": 2},
    "logprobs": True,
    "top_logprobs": 2,
    "user": "u",
    "parallel_tool_calls": True,
    "reasoning_effort": "low",
    "metadata": {"a": "b"},
    "store": False,
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": False}}
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
    "service_tier": "auto",
    "prediction": {"type": "content", "content": "x"},
    "modalities": ["text"],
    "audio": {"voice": "a", "format": "wav"},
    "stream": True,
    "stream_options": {"include_usage": True},
    "made_up": {"a": ["b"]},
}
RESPONSE: Body = {
    "model": "m",
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "x"},
                {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
                {"type": "input_file", "file_data": "AAAA", "filename": "x"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "x"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
        {"type": "item_reference", "id": "rs_x"},
    ],
    "instructions": "i",
    "max_output_tokens": 5,
    "temperature": 1,
    "top_p": 1,
    "user": "u",
    "store": True,
    "n": 1,
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "service_tier": "auto",
    "metadata": {"a": "b"},
    "include": ["message.output_text.logprobs"],
    "top_logprobs": 1,
    "parallel_tool_calls": True,
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "truncation": "auto",
    "max_tool_calls": 3,
    "stream": True,
    "background": False,
    "stream_options": {"include_obfuscation": False},
    "previous_response_id": None,
    "made_up": {"a": ["b"]},
}
MESSAGES: Body = {
    "model": "m",
    "max_tokens": 10_000,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "x"},
                {"type": "image", "source": MEDIA},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "t"},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
                {"type": "document", "source": {**MEDIA, "media_type": "application/pdf"}, "context": "c"},
                {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "abc"},
                {"type": "redacted_thinking", "data": "abc"},
                {"type": "text", "text": "x"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "x"}, {"type": "image", "source": MEDIA}],
                    "is_error": False,
                }
            ],
        },
    ],
    "tools": [
        {"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True, "type": "custom"},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 1},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "stop_sequences": ["a"],
    "temperature": 1,
    "top_p": 1,
    "top_k": 3,
    "stream": True,
    "service_tier": "auto",
    "metadata": {"user_id": "u"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "mcp_servers": [{"type": "url", "url": "u", "name": "n"}],
    "container": {"id": "x"},
    "context_management": {"edits": []},
    "made_up": {"a": ["b"]},
}
EMBEDDINGS: Body = {
    "model": "m",
    "input": ["a", "b"],
    "encoding_format": "float",
    "dimensions": 5,
    "user": "u",
    "input_type": "search_query",
    "made_up": {"a": ["b"]},
}
TOKENS: Body = {"model": "m", "input": [[1, 2], [3]]}


def without(body: Body, *fields: str, **others: Any) -> Body:
    """The body without what only its own wire takes, so that other wires write the rest."""
    return {**{name: item for name, item in body.items() if name not in fields}, **others}


BODIES: dict[str, list[Body]] = {
    "openai_chat": [
        CHAT,
        without(
            CHAT,
            *("logprobs", "top_logprobs", "audio", "response_format"),
            messages=[*CHAT["messages"][2:], {"role": "user", "content": CHAT["messages"][1]["content"][:2]}],
        ),
    ],
    "openai_responses": [
        RESPONSE,
        without(RESPONSE, "include", "top_logprobs", "text", input=RESPONSE["input"][1:]),
    ],
    "anthropic_messages": [
        MESSAGES,
        without(
            MESSAGES,
            *("mcp_servers", "container", "output_config"),
            messages=[{"role": "user", "content": MESSAGES["messages"][0]["content"][:5]}, *MESSAGES["messages"][1:]],
            tools=MESSAGES["tools"][:1],
        ),
    ],
    "anthropic_count_tokens": [MESSAGES],
    "openai_embeddings": [EMBEDDINGS, TOKENS],
}
WIRES = ("openai", "anthropic", "google", "cohere")

# Values that are near to what readers expect, and any other.
near: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, 0, -1, 1.5, 1e308, 2**63, 2**70, "", "x", "a" * 5_000, "\x00", "😀", "auto", "none"),
        *([], [[]], [None], ["x"], [1], {}, {"": None}, {"type": None}, {"type": ["x"]}, {"type": "text"}),
        *({"type": "text", "text": None}, {"role": "user", "content": "x"}, {"type": "function", "function": {}}),
        *([{}], [{"type": "text"}], [{"type": "text", "text": "x"}], [{"type": "tool_use"}], [{"type": "tool_result"}]),
    ]
)
scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | st.text(max_size=5)
names = st.sampled_from(["type", "text", "content", "role", "id", "name", "function", "source", "data", "input", "x"])
values = near | st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner), max_leaves=6
)


def places_of(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value in a body but the body itself, by its path."""
    if path:
        yield path
    if isinstance(node, dict | list):
        for step, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places_of(item, (*path, step))


def put(body: Body, path: tuple[Any, ...], item: Any) -> Body:
    changed = copy.deepcopy(body)
    node: Any = changed
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = item
    return changed


def dump(body: Body) -> bytes:
    # orjson writes no integer beyond 64 bits, which a client may send.
    return json.dumps(body).encode()


def candidate_of(provider: str) -> Candidate:
    return Candidate(
        Credential("main", provider, PROVIDERS[provider].base_url or "", Secret("key")), "claude-sonnet-4-5"
    )


def check_sendable(request: ChatRequest | EmbeddingRequest) -> None:
    """Every wire writes the request, or says that it cannot take it."""
    for provider in WIRES:
        candidate = candidate_of(provider)
        try:
            if isinstance(request, EmbeddingRequest):
                adapter = embeddings_for(provider)
                assert adapter is not None
                for part in adapter.split(request, candidate):
                    adapter.build_embeddings(part, candidate)
            else:
                endpoint = Endpoint(UUID(int=2), "ask", "Ask", (candidate,), pass_unknown_fields=True)
                prompt = compile_prompt(endpoint).apply(request.messages, request)
                adapter_for(provider).build_request(prompt, candidate, stream=request.stream)
        except CandidateUnfit:
            continue


def check_refusal(surface: Surface, error: GatewayError) -> None:
    answer = surface.render_error(error, HEAD.request_id)
    body = orjson.loads(answer.body)
    assert 400 <= answer.status < 500
    if surface.name.startswith("anthropic"):
        assert ("error", {"type", "error", "request_id"}) == (body["type"], set(body))
        assert {"type", "message"} == set(body["error"])
    else:
        assert ["error"] == list(body)
        assert ["message", "type", "param", "code"] == list(body["error"])


@pytest.mark.parametrize("surface", [each for each in SURFACES if each.name in BODIES], ids=lambda each: each.name)
@given(data=st.data())
@settings(max_examples=150)
def test_any_value_anywhere(surface: Surface, data: st.DataObject) -> None:
    body = data.draw(st.sampled_from(BODIES[surface.name]))
    path = data.draw(st.sampled_from(list(places_of(body))))
    changed = put(body, path, data.draw(values))

    try:
        request = surface.read(dump(changed), LIMITS, HEAD)
    except GatewayError as error:
        check_refusal(surface, error)
        return

    assert isinstance(request.text(), str)
    check_sendable(request)


@pytest.mark.parametrize("name", BODIES)
def test_bodies_are_read_as_they_are(name: str) -> None:
    (surface,) = [each for each in SURFACES if each.name == name]

    for body in BODIES[name]:
        check_sendable(surface.read(orjson.dumps(body), LIMITS, HEAD))
