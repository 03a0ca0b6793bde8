"""Reasoning that a model writes in its text, between tags."""

from __future__ import annotations

from time import process_time
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pg_trio.domain.chat import Reply
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, ReasoningDelta
from pg_trio.domain.project import Candidate, Credential
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers import adapter_for
from pg_trio.providers.thinking_tags import MAX_SPACE, TextSplitter

CASES = {
    "<think>Hmm.</think>Hello": ("Hmm.", "Hello"),
    "\n <think>\nHmm.\n</think>\n\nHello </think> <think>": ("Hmm.\n", "Hello </think> <think>"),
    "<think>\n\n</think>\n\nHello": ("", "Hello"),
    "<think></think>Hello": ("", "Hello"),
    "<think>a < b, </thin</think>Hello": ("a < b, </thin", "Hello"),
    "Hello <think>Hmm.</think>": ("", "Hello <think>Hmm.</think>"),
    "<thinking>Hmm.</thinking>Hello": ("", "<thinking>Hmm.</thinking>Hello"),
    "<THINK>Hmm.</THINK>Hello": ("", "<THINK>Hmm.</THINK>Hello"),
    "<thi": ("", "<thi"),
    " \n": ("", " \n"),
    "  Hello": ("", "  Hello"),
    "Hmm.</think>Hello": ("", "Hmm.</think>Hello"),
    " " * (MAX_SPACE + 1) + "<think>Hmm.</think>": ("", " " * (MAX_SPACE + 1) + "<think>Hmm.</think>"),
}


def split(*pieces: str) -> tuple[str, str]:
    splitter = TextSplitter("think")
    texts = [*(splitter.split(piece) for piece in pieces), splitter.close()]
    return "".join([reasoning for reasoning, _ in texts]), "".join([content for _, content in texts])


@pytest.mark.parametrize("text", CASES)
def test_text_is_split_in_whatever_pieces_it_comes(text: str) -> None:
    assert CASES[text] == split(text)
    assert CASES[text] == split(*text)
    for place in range(len(text)):
        assert CASES[text] == split(text[:place], text[place:])


parts = st.sampled_from(["<think>", "</think>", "<thi", "nk>", "</", " ", "\n", "a", "<", ">", "ü"])


@given(st.lists(parts, max_size=12))
@example(["<think>", "</", "</think>", "a"])
def test_pieces_make_no_difference(pieces: list[str]) -> None:
    assert split("".join(pieces)) == split(*pieces)


@given(st.lists(parts, max_size=12))
def test_nothing_is_lost_but_tags_and_white_space(pieces: list[str]) -> None:
    text = "".join(pieces)
    reasoning, content = split(text)

    kept = "".join((reasoning + content).split())
    whole = "".join(text.split())
    assert kept in (
        whole,
        whole.replace("<think>", "", 1),
        whole.replace("<think>", "", 1).replace("</think>", "", 1),
    )


def test_work_grows_with_the_text() -> None:
    """A tag that is always about to end: 350 KB in pieces of one character."""
    splitter = TextSplitter("think")
    began = process_time()
    splitter.split("<think>")
    for _ in range(50_000):
        for character in "</think":
            splitter.split(character)

    assert process_time() - began < 10


# ── the adapters ─────────────────────────────────────────────────────────────────────────────────────────────────────


def candidate_of(provider: str) -> Candidate:
    return Candidate(Credential("main", provider, "https://api.test/v1"), "m")


def reply_to(message: dict[str, Any], finish_reason: str = "stop", provider: str = "perplexity") -> Reply:
    body = orjson.dumps({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]})
    return adapter_for(provider).read_reply(200, {}, body, candidate_of(provider), now_s=0.0)


def events_of(*deltas: dict[str, Any], finish_reason: str | None = "stop", provider: str = "perplexity") -> list[Event]:
    """The events behind the first."""
    chunks: list[Any] = [{"id": "1", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    if finish_reason is not None:
        chunks.append({"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]})
    reader = adapter_for(provider).open_stream(candidate_of(provider))
    _, *events = reader.feed(b"".join([b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks]))
    return events + reader.close()


def test_whole_answer_has_its_reasoning_apart() -> None:
    reply = reply_to({"content": '<think>\nHmm.</think>\n\n{"score":1}'})

    assert ("Hmm.", '{"score":1}') == (reply.reasoning, reply.content)


def test_stream_has_its_reasoning_apart() -> None:
    texts = ("<th", "ink>\n", "Hm", "m.</t", "hink>\n\n", "Hel", "lo")

    *events, last = events_of(*[{"content": text} for text in texts])

    assert [ReasoningDelta("Hm"), ReasoningDelta("m."), ContentDelta("Hel"), ContentDelta("lo")] == events
    assert isinstance(last, Finished)


def test_bedrock_has_another_tag() -> None:
    reply = reply_to({"content": "<reasoning>Hmm.</reasoning>Hello"}, provider="bedrock")

    assert ("Hmm.", "Hello") == (reply.reasoning, reply.content)


@pytest.mark.parametrize("provider", ["openai", "deepseek", "mistral"])
def test_other_providers_texts_stay_as_they_are(provider: str) -> None:
    text = "<think>Hmm.</think>Hello"

    assert text == reply_to({"content": text}, provider=provider).content
    assert ContentDelta(text) == events_of({"content": text}, provider=provider)[0]


def test_reasoning_in_a_field_of_its_own_is_told_once() -> None:
    """llama.cpp with `--reasoning-format deepseek-legacy`."""
    text = "<think>Hmm.</think>Hello"

    reply = reply_to({"content": text, "reasoning_content": "Hmm."})
    *events, _ = events_of({"reasoning_content": "Hmm."}, {"content": text})

    assert ("Hmm.", "Hello") == (reply.reasoning, reply.content)
    assert [ReasoningDelta("Hmm."), ReasoningDelta(""), ContentDelta("Hello")] == events


def test_limit_that_ends_the_reasoning() -> None:
    reply = reply_to({"content": "<think>Hmm"}, "length")
    *events, last = events_of({"content": "<think>Hmm</th"}, finish_reason="length")

    assert ("Hmm", "", "length") == (reply.reasoning, reply.content, reply.finish_reason)
    assert [ReasoningDelta("Hmm"), ReasoningDelta("</th"), Finished("length")] == [*events, last]


def test_reasoning_alone_is_no_answer() -> None:
    with pytest.raises(UpstreamNonsense, match="neither content nor tool calls"):
        reply_to({"content": "<think>Hmm.</think>"})

    *_, last = events_of({"content": "<think>Hmm.</think>"})
    assert isinstance(last, Broken)
    assert "the stream has neither content nor tool calls" == last.failure.said


def test_reasoning_before_a_call_is_enough() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}

    reply = reply_to({"content": "<think>Hmm.</think>", "tool_calls": [call]}, "tool_calls")
    *_, last = events_of({"content": "<think>Hmm.</think>"}, {"tool_calls": [call]}, finish_reason="tool_calls")

    assert ("Hmm.", None, 1) == (reply.reasoning, reply.content, len(reply.tool_calls))
    assert Finished("tool_calls") == last


def test_text_that_may_be_a_tag_is_told_at_the_end() -> None:
    *events, last = events_of({"content": "<"}, {"content": "thi"})

    assert [ContentDelta("<thi"), Finished("stop")] == [*events, last]


def test_cut_in_the_reasoning_sends_no_token() -> None:
    """So the next candidate is asked, as if the reasoning had a field of its own."""
    *events, last = events_of({"content": "<think>Hm"}, finish_reason=None)

    assert [ReasoningDelta("Hm")] == events
    assert isinstance(last, Broken)
