"""The chat's protocol without sockets: frames in, orders out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.errors import MalformedFrame
from pg_trio.web.websocket.chat_protocol import (
    AskMessage,
    CancelAnswer,
    ChatProtocol,
    ChatState,
    CheckToken,
    CloseSocket,
    Order,
    ResumeAnswer,
    SendFrame,
    parse_frame,
)


def take(protocol: ChatProtocol, frame: object) -> Order | None:
    text = frame if isinstance(frame, str) else json.dumps(frame)
    return protocol.take(text, parse_frame(text))


def ready(most: int = 2) -> ChatProtocol:
    return ChatProtocol(most, needs_auth=False)


def sent(order: Order | None) -> dict[str, Any]:
    assert isinstance(order, SendFrame)
    frame: dict[str, Any] = json.loads(order.frame)
    return frame


def test_auth_comes_first_and_once() -> None:
    protocol = ChatProtocol(2, needs_auth=True)

    assert CheckToken("Bearer pg_live_x") == take(protocol, {"type": "auth", "token": "pg_live_x"})
    protocol.accept()
    assert 400 == sent(take(protocol, {"type": "auth", "token": "pg_live_x"}))["status"]


def test_message_is_an_order_with_the_frame_as_it_came() -> None:
    text = '{"type": "message", "id": "c1", "message": "Hi", "timeout_ms": 5}'

    order = ready().take(text, parse_frame(text))

    assert AskMessage("c1", text.encode(), 5) == order


def test_places_are_freed_by_the_end() -> None:
    protocol = ready()
    first, second, third = [take(protocol, {"type": "message", "id": f"c{number}"}) for number in range(3)]
    protocol.end_answer("c0")
    protocol.end_answer("c2")
    fourth = take(protocol, {"type": "message", "id": "c0"})

    refusals = [order.refusal for order in (first, second, third, fourth) if isinstance(order, AskMessage)]
    assert [None, None, 429, None] == [None if refusal is None else refusal.status for refusal in refusals]


def test_resume_takes_a_place() -> None:
    protocol = ready(1)
    resume = {"type": "resume", "id": "r1", "request_id": "x", "after": 3}

    assert ResumeAnswer("r1", "x", 3) == take(protocol, resume)
    assert (429, "r2", 1) == tuple(
        sent(take(protocol, {**resume, "id": "r2"}))[name] for name in ("status", "id", "seq")
    )


def test_drain_refuses_new_answers_alone() -> None:
    protocol = ready()
    take(protocol, {"type": "message", "id": "c1"})
    protocol.drain()

    order = take(protocol, {"type": "message", "id": "c2"})

    assert isinstance(order, AskMessage)
    assert order.refusal is not None
    assert 503 == order.refusal.status
    assert CancelAnswer("c1") == take(protocol, {"type": "cancel", "id": "c1"})
    assert {"type": "pong"} == sent(take(protocol, {"type": "ping"}))


def test_nothing_is_read_after_the_end() -> None:
    protocol = ready()
    protocol.close()
    protocol.drain()

    assert take(protocol, {"type": "message", "id": "c1"}) is None
    assert ChatState.CLOSING is protocol.state


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
frames = st.fixed_dictionaries(
    {"type": st.sampled_from(["auth", "message", "cancel", "resume", "ping", "wave"]) | json_values},
    optional={
        "id": st.sampled_from(["c1", "c2", "", "x" * 65]) | json_values,
        "token": json_values,
        "request_id": json_values,
        "after": json_values,
        "timeout_ms": json_values,
    },
)


@given(st.booleans(), st.lists(frames | json_values | st.text(max_size=30), max_size=12))
def test_any_frames_lead_to_orders(needs_auth: bool, said: list[object]) -> None:
    protocol = ChatProtocol(2, needs_auth=needs_auth)

    for frame in said:
        order = take(protocol, frame)
        if isinstance(order, CheckToken):
            protocol.accept()
        elif isinstance(order, CloseSocket):
            assert 4401 == order.code
            protocol.close()
        elif isinstance(order, AskMessage | ResumeAnswer | CancelAnswer):
            assert order.id in protocol.in_flight
        elif isinstance(order, SendFrame):
            assert sent(order)["type"] in ("pong", "error")


@pytest.mark.parametrize("text", ["", "{", "nul", '{"type":"a"', "NaN", '"\\ud800"', "[" * 2000, "1"])
def test_what_is_no_frame_is_a_value(text: str) -> None:
    assert isinstance(parse_frame(text), MalformedFrame)
