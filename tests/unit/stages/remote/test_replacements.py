"""What a service's replacements do to requests and answers, and where they are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import ChatRequest, Message, Reasoning, Reply
from pg_trio.domain.content import Image, Text
from pg_trio.domain.embeddings import EmbeddingRequest
from pg_trio.domain.tools import Tool, ToolCall
from pg_trio.errors import WebhookBlocked
from pg_trio.stages.guardrails.remote.answer_check import replace_in_answer, texts_of_answer
from pg_trio.stages.guardrails.remote.remote_guards import distinct_texts, replace_texts


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(tuple(messages), {}, **fields)


def user(content: Any, **fields: Any) -> Message:
    return Message("user", content, **fields)


def calling(arguments: str, name: str = "look_up") -> ChatRequest:
    call = ToolCall("c1", name, arguments)
    return chat(Message("assistant", None, tool_calls=(call,)), Message("tool", "sent", tool_call_id="c1"))


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_text_is_sent_once() -> None:
    request = chat(user("one"), user(""), user("two"), user("one"), tools=(Tool("find", "Finds."),))

    assert ["one", "two"] == distinct_texts(request)[:2]
    assert {"find", "Finds."} == set(distinct_texts(request)[2:])


def test_text_is_replaced_wherever_it_is() -> None:
    request = chat(user("one"), user((Text("o"), Text("ne"), Image("https://x/y.png"))), Message("assistant", "one"))

    replaced = replace_texts(request, {"one": "two"})

    assert {"two"} == set(distinct_texts(replaced))


def test_no_replacement_is_the_same_request() -> None:
    request = chat(user("one"))

    assert request is replace_texts(request, {})


@given(texts=st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True), data=st.data())
def test_any_content_may_be_replaced(texts: list[str], data: st.DataObject) -> None:
    new = data.draw(st.lists(st.text(), min_size=len(texts), max_size=len(texts)))
    request = chat(*[user(text) for text in texts])

    replaced = replace_texts(request, {old: text for old, text in zip(texts, new, strict=True) if old != text})

    assert new == [message.content for message in replaced.messages]


def test_arguments_stay_json() -> None:
    replaced = replace_texts(calling('{"to": "Anna"}'), {'{"to": "Anna"}': '{"to":  "[NAME]"}'})

    assert {"to": "[NAME]"} == json.loads(replaced.messages[0].tool_calls[0].arguments)


def test_arguments_that_are_no_json_are_text() -> None:
    replaced = replace_texts(calling("to Anna"), {"to Anna": "to [NAME]"})

    assert "to [NAME]" == replaced.messages[0].tool_calls[0].arguments


REFUSED: dict[str, tuple[ChatRequest, dict[str, str]]] = {
    "a name": (chat(user("Hi", name="Anna")), {"Anna": "[NAME]"}),
    "a function's name": (calling("{}", "Anna"), {"Anna": "[NAME]"}),
    "a tool's name": (chat(user("Hi"), tools=(Tool("Anna"),)), {"Anna": "[NAME]"}),
    "a key of a schema": (
        chat(user("Hi"), tools=(Tool("f", parameters={"properties": {"Anna": {}}}),)),
        {"Anna": "[NAME]"},
    ),
    "arguments with other keys": (calling('{"Anna": 1}'), {'{"Anna": 1}': '{"[NAME]": 1}'}),
    "arguments without JSON": (calling('{"to": "Anna"}'), {'{"to": "Anna"}': "to [NAME]"}),
    "no arguments": (calling('{"to": "Anna"}'), {'{"to": "Anna"}': ""}),
    "an id": (chat(user("Hi"), Message("tool", "sent", tool_call_id="of Anna")), {"of Anna": "of [NAME]"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_replaced_is_refused(name: str) -> None:
    request, masks = REFUSED[name]
    assert masks.keys() <= set(distinct_texts(request))

    with pytest.raises(WebhookBlocked) as blocked:
        replace_texts(request, masks)

    assert ("input", "replace") == (blocked.value.phase, blocked.value.rule)


def test_texts_may_change_places() -> None:
    replaced = replace_texts(chat(user("a"), user("b")), {"a": "b", "b": "a"})

    assert ["b", "a"] == [message.content for message in replaced.messages]


def test_inputs_of_embeddings_are_replaced() -> None:
    replaced = replace_texts(EmbeddingRequest(("Anna", "b", "Anna")), {"Anna": "[NAME]"})

    assert ("[NAME]", "b", "[NAME]") == replaced.inputs


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

REPLY = Reply("r1", "m", "Ask Anna", "stop", reasoning="Anna knows", reasoning_blocks=(Reasoning("Anna knows", "sig"),))


def test_texts_of_an_answer() -> None:
    calls = (ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "f", '{"a":1}'))
    native = (
        {"type": "text", "text": "Ask Anna", "citations": [{"cited_text": "of Anna"}]},
        {"type": "search", "q": "it"},
    )

    texts = texts_of_answer(evolve(REPLY, tool_calls=calls, native_content=native))

    assert ["Ask Anna", '{"a":1}', "Anna knows"] == texts[:3]
    assert {"of Anna", "it"} <= set(texts[3:])


def test_answer_is_replaced_with_its_signatures_gone() -> None:
    replaced = replace_in_answer(REPLY, {"Ask Anna": "Ask [NAME]", "Anna knows": "[NAME] knows"})

    assert ("Ask [NAME]", "[NAME] knows", ()) == (replaced.content, replaced.reasoning, replaced.reasoning_blocks)


def test_other_reasoning_keeps_its_signature() -> None:
    assert REPLY.reasoning_blocks == replace_in_answer(REPLY, {"Ask Anna": ""}).reasoning_blocks


def test_answer_s_arguments_are_replaced_by_json_alone() -> None:
    reply = evolve(REPLY, tool_calls=(ToolCall("c1", "f", '{"to":"Anna"}'),))

    replaced = replace_in_answer(reply, {'{"to":"Anna"}': '{"whom":"[NAME]"}'})
    with pytest.raises(WebhookBlocked) as blocked:
        replace_in_answer(reply, {'{"to":"Anna"}': "[NAME]"})

    assert '{"whom":"[NAME]"}' == replaced.tool_calls[0].arguments
    assert "Response blocked: the answer would have to be replaced." == blocked.value.text


def test_answer_with_native_blocks_is_refused() -> None:
    reply = evolve(REPLY, native_content=({"type": "text", "text": "Ask Anna"},))

    with pytest.raises(WebhookBlocked):
        replace_in_answer(reply, {"Ask Anna": "Ask [NAME]"})
