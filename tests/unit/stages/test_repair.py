"""What a model wraps around its JSON is cut away, and nothing else; and what it is told where that does not help."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import Message, Prompt, Reply
from pg_trio.domain.tools import ToolCall
from pg_trio.errors import OutputInvalid
from pg_trio.stages.schemas.ask_again import ANSWER_CHARS, ask_again, may_ask_again
from pg_trio.stages.schemas.repair import repair_json

# Integers in 64 bits and no surrogates: what orjson takes.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | TEXTS
    | st.sampled_from(["```", ",]", ",}", '\\"', "~~~"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('```\n{"a": 1}\n```', '{"a": 1}'),
        ('~~~json\n{"a": 1}\n~~~', '{"a": 1}'),
        ('Here it is:\n\n```json\n{"a": 1}\n```\n\nAnything else?', '{"a": 1}'),
        ('```json\n{"a": 1}```', '{"a": 1}'),
        ('```json {"a": 1} ```', '{"a": 1}'),
        ('```json\r\n{"a": 1}\r\n```\r\n', '{"a": 1}'),
        # Cut by its limit in the middle of a fence, and whole all the same.
        ('```json\n{"a": 1}', '{"a": 1}'),
        ('{"a": [1, 2,], "b": {"c": 1 , \n},}', '{"a": [1, 2], "b": {"c": 1  \n}}'),
        ('{"a": ",]", "b": "x\\",}", }', '{"a": ",]", "b": "x\\",}" }'),
        ('```json\n{"a": "```\\n```",}\n```', '{"a": "```\\n```"}'),
    ],
)
def test_wrapping_is_cut_away(text: str, repaired: str) -> None:
    assert repaired == repair_json(text)


@pytest.mark.parametrize(
    "text", ["", "no", "{'a': 1}", '{"a": 1', '{"a" 1}', "[1 2]", "{a: 1}", ",", '"', "```", "```\n```", "[,]x", "NaN"]
)
def test_what_is_no_json_stays_as_it_is(text: str) -> None:
    assert text is repair_json(text)


@given(VALUES, st.booleans())
def test_json_is_left_alone(value: Any, is_wide: bool) -> None:
    text = json.dumps(value, indent=2 if is_wide else None)

    assert text is repair_json(text)


@given(VALUES, st.sampled_from(["```", "```json", "~~~", "  ```JSON"]), st.sampled_from(["", "Here:\n", "Well.\n\n"]))
def test_fenced_json_is_found(value: Any, fence: str, before: str) -> None:
    closing = fence.strip()[:3]
    text = f"{before}{fence}\n{json.dumps(value, indent=1)}\n{closing}\n"

    assert value == orjson.loads(repair_json(text))


@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from([",", " ,", ", ", ",\n\t"]))
def test_trailing_commas_go(values: list[Any], comma: str) -> None:
    inner = ", ".join(map(json.dumps, values))
    text = f'{{"a": [{inner}{comma}]{comma}}}'

    assert {"a": values} == orjson.loads(repair_json(text))


@given(st.text(st.sampled_from('`~{}[]",\\ \n:1ajson'), max_size=60))
def test_any_text_is_json_or_itself(text: str) -> None:
    repaired = repair_json(text)

    assert repaired is text or orjson.loads(repaired) is not Ellipsis


@pytest.mark.parametrize("unit", ['"', "\\", ",", ", ", '",', "```\n", "`", "[", "{,", "~~~\n ", ' \n"\\'])
def test_long_texts_are_no_trap(unit: str) -> None:
    # A quadratic step would take hours for these. 2 MB: an answer's usual limit is above it.
    text = unit * (2_000_000 // len(unit))

    assert repair_json(text) is text


def test_model_is_told_why_and_what_it_said() -> None:
    prompt = Prompt((Message("user", "Hi"),))

    again = ask_again(prompt, Reply("1", "m", "nope", "stop"), OutputInvalid("$.a", "value is not of type"))

    assert prompt.messages[0] is again.messages[0]
    assert ["user", "assistant", "user"] == [message.role for message in again.messages]
    assert "nope" == again.messages[1].content
    assert "$.a: value is not of type" in str(again.messages[2].content)


def test_empty_answer_is_no_turn() -> None:
    again = ask_again(Prompt((Message("user", "Hi"),)), Reply("1", "m", " ", "stop"), OutputInvalid("$", "no JSON"))

    assert ["user", "user"] == [message.role for message in again.messages]


def test_endless_answer_is_cut() -> None:
    again = ask_again(Prompt(()), Reply("1", "m", "x" * (ANSWER_CHARS + 1), "length"), OutputInvalid("$", "no JSON"))

    assert ANSWER_CHARS == len(again.messages[0].content or "")


@pytest.mark.parametrize(
    ("reply", "may"),
    [
        (Reply("1", "m", "nope", "stop"), True),
        (Reply("1", "m", "nope", "length"), True),
        (Reply("1", "m", None, "content_filter"), False),
        (Reply("1", "m", None, "tool_calls", tool_calls=(ToolCall("1", "f", "{}"),)), False),
    ],
)
def test_who_is_asked_again(reply: Reply, may: bool) -> None:
    assert may == may_ask_again(reply)
