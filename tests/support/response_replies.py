"""Any reply of a provider, as adapters make them."""

from __future__ import annotations

from attrs import evolve
from hypothesis import strategies as st

from pg_trio.domain.chat import Reasoning, Reply
from pg_trio.domain.tools import ToolCall

signatures = st.sampled_from(["c2ln", "c2lnbmF0dXJl"])
texts = st.text(min_size=1, max_size=6)
_blocks = st.one_of(
    st.builds(Reasoning, texts, st.one_of(st.none(), signatures)),
    st.builds(lambda data: Reasoning("", data=data), signatures),
)
_calls = st.builds(ToolCall, texts, texts, texts, st.one_of(st.none(), signatures))


def _with_reasoning(reply: Reply) -> Reply:
    """The text of all blocks is the reasoning."""
    return evolve(reply, reasoning="".join([block.text for block in reply.reasoning_blocks]) or None)


replies: st.SearchStrategy[Reply] = st.builds(
    Reply,
    id=st.just("chatcmpl-1"),
    model=st.just("gpt"),
    content=st.one_of(st.just(""), texts),
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    tool_calls=st.lists(_calls, max_size=3, unique_by=lambda call: call.id).map(tuple),
    reasoning_blocks=st.lists(_blocks, max_size=3).map(tuple),
).map(_with_reasoning)
