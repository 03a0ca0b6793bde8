"""Requests: from bytes to messages, from bodies to calls."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.simulator.chat_call import ChatCall, RefusedCall, read_chat_call, read_json_object
from pg_trio.simulator.request_reader import ReaderLimits, RequestReader

USER = {"role": "user", "content": "Hi"}
REQUEST = b'POST /v1/x HTTP/1.1\r\nHost: s\r\nX-A: b\r\nContent-Length: 4\r\n\r\n"ab"'


@pytest.mark.parametrize("cut", range(1, len(REQUEST)))
def test_request_is_read_however_it_arrives(cut: int) -> None:
    reader = RequestReader(ReaderLimits())

    reader.feed(REQUEST[:cut])
    reader.feed(REQUEST[cut:])

    (message,) = reader.messages
    assert ("POST", "/v1/x", "b", b'"ab"') == (
        message.method,
        message.path,
        message.headers["x-a"],
        b"".join(message.body),
    )


def test_two_requests_in_one_read() -> None:
    reader = RequestReader(ReaderLimits())

    reader.feed(REQUEST + REQUEST)

    assert 2 == len(reader.messages)


@pytest.mark.parametrize("step", [1, 100, 5_000])
def test_endless_head_is_refused(step: int) -> None:
    reader = RequestReader(ReaderLimits(head_bytes=1_000))
    head = b"GET / HTTP/1.1\r\nX: " + b"x" * 5_000

    fed = 0
    while reader.refusal is None:
        reader.feed(head[fed : fed + step])
        fed += step

    assert 431 == reader.refusal.status
    assert fed <= 1_000 + step


def test_upgrade_is_refused() -> None:
    reader = RequestReader(ReaderLimits())

    reader.feed(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")

    assert reader.refusal is not None
    assert 400 == reader.refusal.status


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    reader = RequestReader(ReaderLimits(head_bytes=50, body_bytes=50))

    reader.feed(data)

    assert reader.refusal is None or reader.refusal.status in (400, 413, 431)


def test_call_is_read() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "bc"}]
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "You are kind."}, {"role": "user", "content": parts}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 9,
    }

    call = read_chat_call(body)

    assert ChatCall("m", said="a  bc", prompt_tokens=5, stream=True, include_usage=True, max_tokens=9) == call


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [USER, {"role": "boss", "content": ""}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"stream": 1}, "stream"),
        ({"stream_options": 1}, "stream_options"),
        ({"stream_options": {"include_usage": "yes"}}, "include_usage"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
    ],
)
def test_wrong_field_is_named(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedCall) as caught:
        read_chat_call({"model": "m", "messages": [USER]} | changes)

    assert (400, param) == (caught.value.status, caught.value.param)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("model", "messages", "stream", "max_tokens"), JSON)))
def test_any_object_is_read_or_refused(body: dict[str, Any]) -> None:
    try:
        call = read_chat_call(body)
    except RefusedCall:
        return

    assert body["model"] == call.model


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("application/json", b"{"), ("application/json", b"[]"), ("text/plain", b"{}"), ("", b"{}")],
)
def test_body_that_is_no_json_object(content_type: str, body: bytes) -> None:
    with pytest.raises(RefusedCall) as caught:
        read_json_object(content_type, body)

    assert 400 == caught.value.status


def test_charset_is_allowed() -> None:
    body = {"model": "m"}

    assert body == read_json_object("Application/JSON; charset=utf-8", orjson.dumps(body))
