"""Bodies of Chat Completions are read alike on the straight way for usual ones and on the way for all others.

A null field counts as absent, but the straight ways take only what is not there at all. So the same body with a null
field goes the other way, and must mean the same.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import NO_NEW_SESSION, ChatRequest, Message
from pg_trio.domain.options import NO_OPTIONS
from pg_trio.errors import GatewayError
from pg_trio.surfaces.reading.chat_messages import read_any_messages, read_plain_messages
from pg_trio.surfaces.v1.chat import CHAT

HEAD = RequestHead(UUID(int=7), "p", None, [], "application/json", [], 0.0, 1763800000.7)
LIMITS = GatewaySettings()
ODD: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3) | st.just([]) | st.just({})
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "developer", "function"])
PARTS = st.just([{"type": "text", "text": "a"}]) | st.just([{"type": "text", "text": 1}])
PLAIN = st.fixed_dictionaries({"role": ROLES, "content": st.text(max_size=8)})
# Each is like a plain one, but for one thing.
NEARLY = st.one_of(
    st.fixed_dictionaries({"role": st.just("user"), "content": st.just("a"), "name": st.sampled_from(["ann", "a n"])}),
    st.fixed_dictionaries({"role": st.just("user"), "content": PARTS | ODD}),
    st.fixed_dictionaries({"role": st.just("tool") | ODD, "content": st.just("a")}),
)
ANY = st.fixed_dictionaries(
    {},
    optional={
        "role": ROLES | ODD,
        "content": st.text(max_size=8) | PARTS | ODD,
        "name": st.sampled_from(["ann", "a n n"]) | ODD,
        "tool_call_id": st.just("c1") | ODD,
        "weight": ODD,
    },
)
MESSAGES = st.one_of(
    st.lists(PLAIN, max_size=6),
    st.lists(NEARLY, min_size=1, max_size=1),
    st.lists(PLAIN | NEARLY, min_size=2, max_size=3),
    st.lists(PLAIN | ANY | ODD, max_size=6),
    ODD,
)


def read(body: Any) -> ChatRequest | str:
    """The request without its body, or the error's text."""
    try:
        request = CHAT.read(orjson.dumps(body), LIMITS, HEAD)
    except GatewayError as error:
        return error.text
    return evolve(request, body={})


def with_nulls(messages: Any) -> Any:
    if not isinstance(messages, list):
        return messages
    return [{**one, "reasoning_details": None} if isinstance(one, dict) else one for one in messages]


@given(MESSAGES)
def test_plain_messages_are_those_that_are_read_one_by_one(messages: Any) -> None:
    try:
        expected = read_any_messages(messages, 5)
    except GatewayError:
        expected = ()

    plain = read_plain_messages(messages, 5)

    is_plain = expected and all(one.keys() == {"role", "content"} and type(one["content"]) is str for one in messages)
    assert plain == (expected if is_plain else None)


@given(MESSAGES)
def test_messages_mean_the_same_with_null_fields(messages: Any) -> None:
    body = {"model": "ask", "messages": messages}

    assert read({**body, "messages": with_nulls(messages)}) == read(body)


PLAIN_BODIES = st.fixed_dictionaries(
    {"model": st.just("ask") | ODD, "messages": st.lists(PLAIN, max_size=3)}, optional={"stream": st.booleans() | ODD}
)


@given(PLAIN_BODIES)
def test_fields_mean_the_same_beside_a_null_one(body: dict[str, Any]) -> None:
    assert read({**body, "temperature": None}) == read(body)


def test_a_history_of_texts_takes_the_straight_way() -> None:
    turns = [{"role": "developer", "content": "s"}, {"role": "user", "content": "a"}] * 3

    request = read({"model": "ask", "messages": turns})

    expected = (Message("system", "s"), Message("user", "a")) * 3
    assert request == ChatRequest(expected, {}, model="ask", options=NO_OPTIONS, session_terms=NO_NEW_SESSION)


@pytest.mark.parametrize("count", [0, LIMITS.max_messages + 1])
def test_number_of_messages(count: int) -> None:
    refused = read({"model": "ask", "messages": [{"role": "user", "content": "a"}] * count})

    assert str(refused).startswith("messages: must not be empty." if count == 0 else f"messages: has {count} messages")


def test_empty_user_is_absent() -> None:
    request = read({"model": "ask", "messages": [{"role": "user", "content": "a"}], "user": ""})

    assert isinstance(request, ChatRequest)
    assert NO_OPTIONS is request.options


@pytest.mark.parametrize("field", ["model", "messages", "stream", "temperature", "functions"])
@pytest.mark.parametrize("spell", [str, lambda field: f"\\u{ord(field[0]):04x}{field[1:]}"])
def test_no_field_is_there_twice(field: str, spell: Any) -> None:
    body = f'{{"model":"ask","messages":[{{"role":"user","content":"a"}}],"{field}":null,"{spell(field)}":null}}'

    with pytest.raises(GatewayError, match=f"{field}: is there more than once"):
        CHAT.read(body.encode(), LIMITS, HEAD)


@pytest.mark.parametrize("field", ["model", "messages"])
@pytest.mark.parametrize("spell", [str, lambda field: f"\\u{ord(field[0]):04x}{field[1:]}"])
def test_no_field_is_there_twice_beside_no_other(field: str, spell: Any) -> None:
    fields = {"model": '"ask"', "messages": '[{"role":"user","content":"a"}]'}
    members = [f'"{name}":{value}' for name, value in fields.items()] + [f'"{spell(field)}":{fields[field]}']

    with pytest.raises(GatewayError, match=f"{field}: is there more than once"):
        CHAT.read(f"{{{','.join(members)}}}".encode(), LIMITS, HEAD)


@pytest.mark.parametrize("content", ['"model"', '"messages": "messages":', r"\u006dodel \u0000", 'a "stream":'])
def test_names_of_fields_in_a_text_are_no_fields(content: str) -> None:
    request = read({"model": "ask", "messages": [{"role": "user", "content": content}]})

    assert isinstance(request, ChatRequest)
    assert content == request.messages[0].content


@pytest.mark.parametrize("field", ["x", "model"])
def test_nesting_beside_a_key_that_may_be_there_twice(field: str) -> None:
    nested = "[" * 1000 + "]" * 1000
    body = f'{{"{field}":{nested},"model":"\\u0061","messages":[{{"role":"user","content":"a"}}]}}'

    with pytest.raises(GatewayError, match=r"nested deeper than 64 levels|model: is there more than once"):
        CHAT.read(body.encode(), LIMITS, HEAD)
