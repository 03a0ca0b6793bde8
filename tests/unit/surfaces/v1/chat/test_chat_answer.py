"""Whole answers of Chat Completions."""

from __future__ import annotations

from uuid import UUID

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.call import WholeAnswer
from pg_trio.domain.chat import Reasoning, Reply, ToolCall, Usage
from pg_trio.domain.stage_times import NO_TIMES
from pg_trio.surfaces.v1.chat.chat_answer import render_answer, render_any
from tests.support.requests import REQUEST

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_COUNTS = st.integers(0, 10**9)
_RARELY = st.sampled_from([0, 0, 0, 1])


@st.composite
def _replies(draw: st.DrawFn) -> Reply:
    """Most are a text alone, as the straight way writes it."""
    is_rare = draw(st.booleans())
    return Reply(
        id=draw(_TEXTS | _TEXTS.map("chatcmpl-{}".format)),
        model=draw(_TEXTS),
        content=draw(st.none() | _TEXTS),
        finish_reason=draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"])),
        tool_calls=(ToolCall("c1", "add", "{}"),) * (is_rare and draw(_RARELY)),
        reasoning=draw(st.sampled_from([None, "", "why"])) if is_rare else None,
        reasoning_blocks=(Reasoning("why", "c2ln"),) * (is_rare and draw(_RARELY)),
        logprobs=draw(st.sampled_from([None, {}, {"content": []}])) if is_rare else None,
    )


@given(
    _replies(),
    st.builds(Usage, _COUNTS, _COUNTS, st.booleans(), cached_tokens=_RARELY, reasoning_tokens=_RARELY),
    st.floats(0, 2**40),
)
def test_a_plain_text_has_the_object_of_any_answer(reply: Reply, usage: Usage, at: float) -> None:
    answer = WholeAnswer(reply, usage, UUID(int=1), "openai", [], NO_TIMES, REQUEST, at)

    rendered = render_answer(answer).body

    assert render_any(answer) == rendered
    assert int(at) == orjson.loads(rendered)["created"]
