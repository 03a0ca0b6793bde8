"""Bodies of Messages requests by the thousand, in Anthropic's own terms, and what reads and writes them in tests."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from attrs import frozen
from hypothesis import strategies as st

from pg_trio.domain.call import NO_FIELDS, RequestHead
from pg_trio.domain.chat import ChatRequest, Prompt
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret
from pg_trio.providers import adapter_for
from pg_trio.surfaces.v1.messages.messages_fields import read_messages_request

Body = dict[str, Any]
PIXEL = base64.b64encode(b"\x89PNG not a picture").decode()
CACHED = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
OPAQUE = base64.b64encode(b"encrypted by the provider" * 4).decode()


@frozen
class _Limits:
    max_messages: int = 2048
    max_json_depth: int = 100


def head_with(fields: Mapping[bytes, bytes] = NO_FIELDS) -> RequestHead:
    """The head of a Messages request."""
    return RequestHead(UUID(int=7), "p", None, (), "application/json", (), 0.0, 0.0, fields=fields)


def read_body(body: object, fields: Mapping[bytes, bytes] = NO_FIELDS, *, is_count: bool = False) -> ChatRequest:
    """The request that the surface reads in this body."""
    return read_messages_request(orjson.dumps(body), _Limits(), head_with(fields), is_count=is_count)


def prompt_of(request: ChatRequest) -> Prompt:
    """The prompt of a request to an endpoint without settings of its own."""
    return Prompt(request.messages, request.options, request.tools, request.tool_choice, request.native)


def sent_to(provider: str, prompt: Prompt, model: str = "claude-sonnet-4-5", *, stream: bool = False) -> Body:
    """The body that this provider is sent for the prompt."""
    candidate = Candidate(Credential("main", provider, PROVIDERS[provider].base_url or "", Secret("key")), model)
    body: Body = orjson.loads(adapter_for(provider).build_request(prompt, candidate, stream=stream).body)
    return body


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
names = st.from_regex(r"[a-z_][A-Za-z0-9_-]{0,20}", fullmatch=True)
# What the gateway does not know of a block or a turn.
extras: st.SearchStrategy[Body] = st.sampled_from([{}, {}, CACHED, {"later_field": {"a": [1, None, "b"]}}])
objects: st.SearchStrategy[Body] = st.sampled_from([{}, {"city": "Ulm"}, {"a": [1, None, {"b": True}], "c": 1.5}])


def _block(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Body]:
    plain = st.fixed_dictionaries({"type": st.just(kind), **fields})
    return st.tuples(plain, extras).map(lambda both: {**both[0], **both[1]})


texts = _block("text", text=words)
images = _block(
    "image",
    source=st.sampled_from(
        [
            {"type": "base64", "media_type": "image/png", "data": PIXEL},
            {"type": "base64", "media_type": "image/png", "data": PIXEL, "later_field": 1},
            {"type": "url", "url": "https://example.org/a.webp?size=1"},
            {"type": "file", "file_id": "file_011CNha8iCJcU1wXNR6q4V8w"},
        ]
    ),
)
documents = st.one_of(
    _block(
        "document",
        source=st.sampled_from(
            [
                {"type": "base64", "media_type": "application/pdf", "data": PIXEL},
                {"type": "text", "media_type": "text/plain", "data": "A plain document."},
                {"type": "content", "content": [{"type": "text", "text": "One block."}]},
                {"type": "content", "content": "One text."},
                {"type": "url", "url": "https://example.org/a.pdf"},
            ]
        ),
        title=words,
        citations=st.just({"enabled": True}),
    ),
)
foreign = st.sampled_from(
    [
        {"type": "search_result", "source": "https://a", "title": "T", "content": [{"type": "text", "text": "found"}]},
        {"type": "container_upload", "file_id": "file_1"},
        {"type": "a_later_type", "anything": {"at": ["all"]}},
    ]
)
server_blocks = st.sampled_from(
    [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Ulm"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [{"type": "web_search_result", "url": "https://a", "title": "A", "encrypted_content": OPAQUE}],
        },
    ]
)
thoughts = st.one_of(
    _block("thinking", thinking=st.one_of(words, st.just("")), signature=st.just("c2lnbmVk")),
    _block("redacted_thinking", data=st.just("ZW5jcnlwdGVk")),
)


@st.composite
def _tool_rounds(draw: st.DrawFn) -> list[Body]:
    """An assistant's calls between other blocks, and the results."""
    ids = draw(st.lists(st.from_regex(r"toolu_[A-Za-z0-9]{8}", fullmatch=True), min_size=1, max_size=3, unique=True))
    calls = [draw(_block("tool_use", id=st.just(each), name=names, input=objects)) for each in ids]
    others = draw(st.lists(st.one_of(texts, thoughts, server_blocks), max_size=3))
    said = draw(st.permutations([*calls, *others]))
    results = [draw(_results(each)) for each in ids]
    after = draw(st.lists(st.one_of(texts, images), max_size=2))
    return [{"role": "assistant", "content": said}, {"role": "user", "content": [*results, *after]}]


def _results(call_id: str) -> st.SearchStrategy[Body]:
    content = st.one_of(words, st.lists(st.one_of(texts, images, foreign), min_size=1, max_size=2))
    plain = st.fixed_dictionaries(
        {"type": st.just("tool_result"), "tool_use_id": st.just(call_id)},
        optional={"content": content, "is_error": st.booleans()},
    )
    return st.tuples(plain, extras).map(lambda both: {**both[0], **both[1]})


def _turn(role: str, blocks: st.SearchStrategy[Body]) -> st.SearchStrategy[list[Body]]:
    content = st.one_of(words, st.lists(blocks, min_size=1, max_size=3))
    turn = st.fixed_dictionaries({"role": st.just(role), "content": content})
    return st.tuples(turn, st.sampled_from([{}, {}, {"later_field": 1}])).map(lambda both: [{**both[0], **both[1]}])


turns = st.one_of(
    _turn("user", st.one_of(texts, images, documents, foreign)),
    _turn("assistant", st.one_of(texts, thoughts, server_blocks)),
    _turn("system", texts),
    _tool_rounds(),
)
_first = _turn("user", texts)
conversations = st.tuples(_first, st.lists(turns, max_size=4)).map(
    lambda both: [turn for each in (both[0], *both[1]) for turn in each]
)
tools = st.one_of(
    st.tuples(
        st.fixed_dictionaries(
            {
                "name": names,
                "input_schema": st.sampled_from([{"type": "object"}, {"type": "object", "properties": {}}]),
            },
            optional={"description": words, "strict": st.booleans(), "type": st.just("custom")},
        ),
        extras,
    ).map(lambda both: {**both[0], **both[1]}),
    st.sampled_from(
        [
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
            {"type": "bash_20250124", "name": "bash"},
        ]
    ),
)


def bodies() -> st.SearchStrategy[Body]:
    """Requests with every field, in the ranges of Anthropic's API."""
    return st.fixed_dictionaries(
        {"model": st.just("claude-sonnet-4-5"), "max_tokens": st.integers(1, 64_000), "messages": conversations},
        optional={
            "system": st.one_of(words, st.lists(texts, min_size=1, max_size=3)),
            "tools": st.lists(tools, min_size=1, max_size=3),
            "tool_choice": st.sampled_from(
                [
                    {"type": "auto"},
                    {"type": "any", "disable_parallel_tool_use": True},
                    {"type": "tool", "name": "f", "disable_parallel_tool_use": False},
                    {"type": "none"},
                    {"type": "a_later_type", "names": ["a"]},
                ]
            ),
            "thinking": st.sampled_from(
                [
                    {"type": "disabled"},
                    {"type": "enabled", "budget_tokens": 2048, "display": "summarized"},
                    {"type": "adaptive", "display": "omitted"},
                    {"type": "between_tools"},
                ]
            ),
            "output_config": st.sampled_from(
                [{"effort": "max"}, {"format": {"type": "json_schema", "schema": {"type": "object"}}}, {"later": 1}]
            ),
            "temperature": st.one_of(st.floats(0, 1), st.sampled_from([0, 1])),
            "top_p": st.floats(0, 1),
            "top_k": st.integers(0, 500),
            "stop_sequences": st.lists(words, max_size=3),
            "metadata": st.sampled_from([{}, {"user_id": "u-1"}, {"user_id": "x" * 100, "later_field": 1}]),
            "service_tier": st.just("auto"),
            "context_management": st.just({"edits": [{"type": "clear_tool_uses_20250919"}]}),
            "mcp_servers": st.just([{"type": "url", "url": "https://mcp.example.org", "name": "m"}]),
        },
    )
