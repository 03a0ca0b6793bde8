"""Guardrails hold for every piece of text in a Messages request, also for what only Anthropic understands."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.guardrails import GuardrailRules, KeywordBlocklist, PiiFilter
from pg_trio.domain.message_json import message_to_json
from pg_trio.errors import BadRequest, CandidateUnfit, KeywordBlocked, PiiBlocked
from pg_trio.stages.guardrails import compile_chain
from tests.support.messages_bodies import Body, bodies, prompt_of, read_body, sent_to

EMAIL = "ada.lovelace@example.org"
MASK = "[E-Mail REDACTED]"
ASKED: Body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
CHAIN = compile_chain(GuardrailRules(pii_filter=PiiFilter(enabled=True, mode="mask", types=("email",))))


def guard(body: Body) -> ChatRequest:
    return CHAIN.apply(read_body(body))


def places_of(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every string in a body, by its path."""
    if isinstance(node, dict):
        for name, item in node.items():
            yield from places_of(item, (*path, name))
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from places_of(item, (*path, index))
    elif isinstance(node, str) and path != ("model",):
        yield path


def objects_of(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every object in a body, by its path."""
    if isinstance(node, dict):
        yield path
    if isinstance(node, dict | list):
        for step, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from objects_of(item, (*path, step))


def put(body: Body, path: tuple[Any, ...], text: Any) -> Body:
    changed = copy.deepcopy(body)
    node: Any = changed
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = text
    return changed


@given(body=bodies(), data=st.data())
@settings(max_examples=250)
def test_address_anywhere_never_reaches_a_provider(body: Body, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(places_of(body))))

    check_no_address_leaves(put(body, path, f"Write to {EMAIL} soon"))


@given(body=bodies(), data=st.data(), extra=st.sampled_from([{"note": EMAIL}, {EMAIL: 1}, {"note": {"deep": [EMAIL]}}]))
@settings(max_examples=120)
def test_address_in_an_added_field_never_reaches_a_provider(body: Body, data: st.DataObject, extra: Body) -> None:
    path = data.draw(st.sampled_from(list(objects_of(body))))
    [(name, item)] = extra.items()

    check_no_address_leaves(put(body, (*path, name), item))


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "tool", "name": "f"}, {"type": "later"}])
@pytest.mark.parametrize("extra", [{"note": EMAIL}, {EMAIL: True}, {"note": {"deep": [EMAIL]}}])
def test_address_in_a_tool_choice_never_reaches_a_provider(choice: Body, extra: Body) -> None:
    tools = [{"name": "f", "input_schema": {"type": "object"}}]

    check_no_address_leaves({**ASKED, "tools": tools, "tool_choice": {**choice, **extra}})


def check_no_address_leaves(body: Body) -> None:
    try:
        request = guard(body)
    except (BadRequest, PiiBlocked):
        # The place takes no such text, or it is a name.
        return

    stored = orjson.dumps([message_to_json(message) for message in request.messages])
    assert EMAIL.encode() not in stored
    for provider in ("anthropic", "openai", "google"):
        try:
            sent = orjson.dumps(sent_to(provider, prompt_of(request)))
        except CandidateUnfit:
            continue
        assert EMAIL.encode() not in sent


def test_only_the_address_changes() -> None:
    block = {"type": "a_later_type", "note": f"Write to {EMAIL}", "cache_control": {"type": "ephemeral"}}
    body = {**ASKED, "messages": [{"role": "user", "content": [block, {"type": "text", "text": "Hi"}]}]}

    sent = sent_to("anthropic", prompt_of(guard(body)))

    assert [{**block, "note": f"Write to {MASK}"}, {"type": "text", "text": "Hi"}] == sent["messages"][0]["content"]


def test_metadata_and_stops_are_masked_for_every_wire() -> None:
    request = guard({**ASKED, "metadata": {"user_id": EMAIL}, "stop_sequences": [EMAIL]})

    anthropic, openai = (sent_to(provider, prompt_of(request)) for provider in ("anthropic", "openai"))

    assert ({"user_id": MASK}, [MASK]) == (anthropic["metadata"], anthropic["stop_sequences"])
    assert (MASK, [MASK]) == (openai["user"], openai["stop"])


def test_address_across_two_blocks_is_masked() -> None:
    texts = ["Write to ada.lovelace", "@example.org soon"]
    blocks = [
        {"type": "text", "text": texts[0]},
        {"type": "text", "text": texts[1], "cache_control": {"type": "ephemeral"}},
    ]

    sent = sent_to("anthropic", prompt_of(guard({**ASKED, "messages": [{"role": "user", "content": blocks}]})))

    joined = {"type": "text", "text": f"Write to {MASK} soon", "cache_control": {"type": "ephemeral"}}
    assert [joined] == sent["messages"][0]["content"]


def test_blocks_without_a_match_stay_apart() -> None:
    blocks = [{"type": "text", "text": "Hello "}, {"type": "text", "text": f"to {EMAIL}"}]

    sent = sent_to("anthropic", prompt_of(guard({**ASKED, "messages": [{"role": "user", "content": blocks}]})))

    assert ["Hello ", f"to {MASK}"] == [block["text"] for block in sent["messages"][0]["content"]]


def test_masked_thinking_is_left_out() -> None:
    """Its signature is for the text as it was."""
    thought = {"type": "thinking", "thinking": f"They are {EMAIL}.", "signature": "c2ln"}
    turns = [*ASKED["messages"], {"role": "assistant", "content": [thought, {"type": "text", "text": "Hm."}]}]

    sent = sent_to("anthropic", prompt_of(guard({**ASKED, "messages": turns})))

    assert [{"type": "text", "text": "Hm."}] == sent["messages"][1]["content"]


def test_encrypted_results_go_back_as_they_came() -> None:
    opaque = "QUJD" * 40 + "ada"
    found = {"type": "web_search_result", "title": f"By {EMAIL}", "encrypted_content": opaque}
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [found]}
    turns = [*ASKED["messages"], {"role": "assistant", "content": [result]}]

    sent = sent_to("anthropic", prompt_of(guard({**ASKED, "messages": turns})))

    assert {**found, "title": f"By {MASK}"} == sent["messages"][1]["content"][0]["content"][0]


CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}


def result_with(**fields: str) -> Body:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", **fields}]}


PLACES: list[Body] = [
    {"system": "A secret plan"},
    {"system": [{"type": "text", "text": "A secret plan"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "A se"}, {"type": "text", "text": "cret"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "later", "a": {"b": ["secret"]}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "later", "secret": 1}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "later": "secret"}]}]},
    {"messages": [{"role": "user", "content": "Hi", "later": "secret"}]},
    {"messages": [CALL, result_with(content="secret")]},
    {"messages": [CALL, result_with(later="secret")]},
    {"tools": [{"name": "f", "input_schema": {}, "later": "secret"}]},
    {"tools": [{"type": "web_search_20250305", "name": "w", "blocked_domains": ["secret"]}]},
    {"tool_choice": {"type": "tool", "name": "secret"}, "tools": [{"name": "f", "input_schema": {}}]},
    {"stop_sequences": ["secret"]},
    {"metadata": {"user_id": "secret"}},
    {"later_field": {"a": "secret"}},
]


@pytest.mark.parametrize("fields", PLACES, ids=[str(index) for index in range(len(PLACES))])
def test_keyword_is_found_anywhere(fields: Body) -> None:
    chain = compile_chain(GuardrailRules(keyword_blocklist=KeywordBlocklist(enabled=True, words=("secret",))))

    with pytest.raises(KeywordBlocked):
        chain.apply(read_body({**ASKED, **fields}))


def test_words_of_the_format_are_no_text() -> None:
    request = read_body(
        {
            **ASKED,
            "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            "tool_choice": {"type": "auto"},
            "thinking": {"type": "enabled", "budget_tokens": 2048},
            "top_k": 3,
        }
    )

    assert ("Be kind.\nHi", len("Be kind.Hi")) == (request.text(), request.characters())
