"""What frames mean to `pg-trio chat`, without a connection."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.cli.chatting.conversation import (
    ASKED_TIMES,
    REMEMBERED_MESSAGES,
    Conversation,
    Ended,
    FrameMissing,
    MoreText,
    Note,
    Said,
    SessionLost,
    TokenRefused,
)

START = {"type": "started", "id": "c1", "request_id": "r1"}
DONE = {"type": "done", "id": "c1", "finish_reason": "stop", "usage": {}, "meta": {}}


def delta(seq: int, text: str = "x", id: str = "c1") -> dict[str, Any]:
    return {"type": "delta", "id": id, "seq": seq, "content": text}


def asked(question: str = "Hi") -> Conversation:
    conversation = Conversation()
    conversation.ask(question)
    return conversation


def take(conversation: Conversation, *frames: dict[str, Any]) -> list[Said]:
    return [said for frame in frames for said in conversation.take(frame)]


def answered(question: str = "Hi", text: str = "Ho") -> Conversation:
    conversation = asked(question)
    take(conversation, START, delta(1, text), {**DONE, "seq": 2})
    return conversation


def test_answer_has_its_texts_and_its_end() -> None:
    assert [MoreText("a"), MoreText("b"), Ended()] == take(
        asked(), START, delta(1, "a"), delta(2, "b"), {**DONE, "seq": 3}
    )


def test_repeated_and_late_frames_are_left_out() -> None:
    conversation = asked()

    assert [MoreText("a")] == take(conversation, START, delta(1, "a"), delta(1, "a"), delta(1, "z", "c0"))


def test_gap_is_found() -> None:
    conversation = asked()
    take(conversation, START, delta(1))

    with pytest.raises(FrameMissing):
        conversation.take(delta(3))
    assert ({"type": "resume", "id": "c1", "request_id": "r1", "after": 1}, []) == conversation.reconnected()


def test_restarted_answer_is_remembered_alone() -> None:
    conversation = asked()
    joined = {"type": "joined", "id": "c1", "seq": 2, "mode": "restart"}

    said = take(conversation, START, delta(1, "wrong"), joined, delta(3, "right"), {**DONE, "seq": 4})

    assert [MoreText, Note, MoreText, Ended] == [type(one) for one in said]
    assert "right" == conversation.ask("And?")["messages"][1]["content"]


@pytest.mark.parametrize(("reason", "notes"), [("stop", 0), ("length", 1), ("content_filter", 1)])
def test_early_end_is_noted(reason: str, notes: int) -> None:
    said = take(asked(), START, {**DONE, "seq": 1, "finish_reason": reason})

    assert [Note] * notes + [Ended] == [type(one) for one in said]


def test_failed_answer_leaves_no_turn() -> None:
    conversation = asked()
    error = {"type": "error", "id": "c1", "seq": 1, "status": 429, "error": "Too many.", "retry_after": 3}

    assert [Ended("Too many. Try again in 3 s.")] == conversation.take(error)
    assert 1 == len(conversation.ask("again")["messages"])


@pytest.mark.parametrize("status", [401, 403])
def test_refusal_ends_it_all(status: int) -> None:
    for id in ({}, {"id": "c1"}):
        assert [TokenRefused("No.")] == asked().take({"type": "error", **id, "status": status, "error": "No."})


@pytest.mark.parametrize("status", [403, 410])
def test_lost_session_is_left(status: int) -> None:
    conversation = answered()
    conversation.session_id = "s1"
    assert "s1" == conversation.ask("more")["session_id"]

    said = conversation.take({"type": "error", "id": "c2", "status": status, "error": "Session expired."})

    assert [SessionLost, Ended] == [type(one) for one in said]
    retried = conversation.retry()
    assert retried is not None
    assert "session_id" not in retried


def test_retry_replaces_the_answer() -> None:
    conversation = answered()

    frame = conversation.retry()

    assert frame is not None
    assert [{"role": "user", "content": "Hi"}] == frame["messages"]
    assert None is Conversation().retry()


def test_retry_after_a_failure_keeps_an_equal_earlier_turn() -> None:
    conversation = answered("Hi")
    conversation.ask("Hi")
    conversation.take({"type": "error", "id": "c2", "status": 502, "error": "Bad."})

    frame = conversation.retry()

    assert frame is not None
    assert ["Hi", "Ho", "Hi"] == [turn["content"] for turn in frame["messages"]]


def test_turns_are_bounded() -> None:
    conversation = Conversation()
    for number in range(REMEMBERED_MESSAGES):
        conversation.ask(f"q{number}")
        id = f"c{number + 1}"
        take(conversation, {**START, "id": id}, delta(1, "a", id), {**DONE, "id": id, "seq": 2})

    turns = conversation.ask("last")["messages"]
    assert (REMEMBERED_MESSAGES + 1, "user") == (len(turns), turns[0]["role"])


def test_unanswered_question_is_asked_a_few_times() -> None:
    conversation = asked()
    frames = [conversation.reconnected()[0] for _ in range(ASKED_TIMES - 1)]

    assert [("message", "c1")] * (ASKED_TIMES - 1) == [(frame["type"], frame["id"]) for frame in frames if frame]
    frame, said = conversation.reconnected()
    assert (None, Ended) == (frame, type(said[-1]))


def test_stopped_answer_is_not_resumed() -> None:
    conversation = asked()
    take(conversation, START, delta(1))

    assert {"type": "cancel", "id": "c1"} == conversation.stop()
    assert None is conversation.stop()
    frame, said = conversation.reconnected()
    assert (None, Ended()) == (frame, said[-1])


def test_nothing_runs_nothing_is_said() -> None:
    conversation = Conversation()

    assert (None, []) == conversation.reconnected()
    assert [] == conversation.give_up()
    assert None is conversation.stop()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KINDS = ("started", "delta", "done", "error", "joined", "tool_call", "cancelled", "ready", "closing", "pong", "new")
NAMES = ("id", "seq", "content", "request_id", "session_id", "mode", "meta", "finish_reason", "status", "error", "name")
FRAMES = st.builds(
    lambda kind, fields, id: {"type": kind, **fields, **({"id": "c1"} if id else {})},
    st.sampled_from(KINDS) | VALUES,
    st.dictionaries(st.sampled_from(NAMES), VALUES),
    st.booleans(),
)


@given(st.lists(FRAMES, max_size=8))
def test_no_frame_confuses_it(frames: list[dict[str, Any]]) -> None:
    conversation = asked()
    for frame in frames:
        try:
            conversation.take(frame)
        except FrameMissing:
            conversation.reconnected()

    assert conversation.answer is None or "c1" == conversation.answer.id
