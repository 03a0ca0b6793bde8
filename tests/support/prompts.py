"""Neutral prompts by the thousand: every role, part, tool, choice and option, in conversations that clients send."""

from __future__ import annotations

import base64
from typing import Any, get_args

from hypothesis import strategies as st

from pg_trio.domain.chat import Message, Prompt, Reasoning
from pg_trio.domain.content import Audio, File, Image, Part, Refusal, Text
from pg_trio.domain.options import Options, ResponseFormat
from pg_trio.domain.tools import ChoiceMode, Tool, ToolCall, ToolChoice

PIXEL = base64.b64encode(b"\x89PNG not a picture").decode()

words = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.from_regex(r"[a-z_][A-Za-z0-9_-]{0,20}", fullmatch=True)
ids = st.one_of(
    st.from_regex(r"call_[A-Za-z0-9]{4,24}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9]{9}", fullmatch=True),
    st.sampled_from(["toolu_01A09q90qw90lq917835lq9", "functions.get_weather:0", "an id with spaces", "x" * 300]),
)
arguments = st.sampled_from(["", "{}", '{"city": "Ulm"}', '{"a": [1, null, {"b": true}]}', "[1]", "not JSON", '"text"'])
schemas: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"city": {"type": "string", "minLength": 1}}, "required": ["city"]},
        {"type": "object", "properties": {"when": {"type": "string", "format": "date"}}, "additionalProperties": False},
        {
            "type": "object",
            "properties": {"of": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/d"}]}},
            "$defs": {"d": {"type": "array", "items": {"type": "number", "minimum": 0}}},
        },
    ]
)
texts = st.one_of(words, st.just("Hello there"))
images = st.builds(
    Image,
    st.sampled_from([f"data:image/png;base64,{PIXEL}", "https://example.org/a.webp?size=1", "https://example.org/b"]),
    st.sampled_from([None, "low", "auto"]),
)
documents = st.builds(
    File,
    id=st.none(),
    data=st.just(f"data:application/pdf;base64,{PIXEL}"),
    name=st.sampled_from([None, "report.pdf"]),
)
sounds = st.builds(Audio, st.just(PIXEL), st.sampled_from(["wav", "mp3"]))
parts: st.SearchStrategy[Part] = st.one_of(st.builds(Text, texts), images, documents, sounds)


def contents(of: st.SearchStrategy[Part]) -> st.SearchStrategy[str | tuple[Part, ...]]:
    """A message's content: text, or parts."""
    return st.one_of(texts, st.lists(of, min_size=1, max_size=3).map(tuple))


@st.composite
def rounds(draw: st.DrawFn) -> list[Message]:
    """Calls of an assistant's, and their results."""
    calls = draw(
        st.lists(
            st.builds(ToolCall, ids, names, arguments, st.sampled_from([None, "c2lnbmVk"])),
            min_size=1,
            max_size=3,
            unique_by=lambda call: call.id,
        )
    )
    reasoning = draw(
        st.sampled_from([(), (Reasoning("Hm.", "c2lnbmVk"),), (Reasoning("", data="ZW5j"),), (Reasoning("unsigned"),)])
    )
    said = draw(st.one_of(st.none(), texts))
    results = [Message("tool", draw(contents(st.builds(Text, texts))), tool_call_id=call.id) for call in calls]
    return [Message("assistant", said, tool_calls=tuple(calls), reasoning=reasoning), *results]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Messages in an order that clients send, and some that they should not."""
    turns = st.one_of(
        st.builds(Message, st.just("system"), texts).map(lambda message: [message]),
        st.builds(Message, st.just("user"), contents(parts), st.sampled_from([None, "ada"])).map(
            lambda message: [message]
        ),
        st.builds(
            Message, st.just("assistant"), contents(st.one_of(st.builds(Text, texts), st.builds(Refusal, texts)))
        ).map(lambda message: [message]),
        rounds(),
    )
    return tuple([message for turn in draw(st.lists(turns, min_size=1, max_size=5)) for message in turn])


def formats() -> st.SearchStrategy[ResponseFormat | None]:
    """Shapes of an answer."""
    schema = schemas.map(lambda schema: {"name": "answer", "schema": schema, "strict": True})
    return st.one_of(
        st.none(),
        st.sampled_from([{"type": "text"}, {"type": "json_object"}]).map(ResponseFormat.of),
        schema.map(lambda given: ResponseFormat.of({"type": "json_schema", "json_schema": given})),
    )


def options() -> st.SearchStrategy[Options]:
    """Every option, in the contract's ranges."""

    def maybe(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(st.none(), of)

    return st.builds(
        Options,
        temperature=maybe(st.floats(0, 2)),
        top_p=maybe(st.floats(0, 1)),
        max_output_tokens=maybe(st.integers(1, 200_000)),
        stop=st.lists(texts, max_size=6).map(tuple),
        presence_penalty=maybe(st.floats(-2, 2)),
        frequency_penalty=maybe(st.floats(-2, 2)),
        seed=maybe(st.integers(-(2**63), 2**63 - 1)),
        response_format=formats(),
        reasoning_effort=maybe(
            st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max", "of tomorrow"])
        ),
        thinking_budget_tokens=maybe(st.integers(0, 64_000)),
        parallel_tool_calls=maybe(st.booleans()),
        user=maybe(words),
        more=st.sampled_from([None, {"logit_bias": {"1": 2}}]),
    )


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    """A whole prompt; a choice of a function names one that there is."""
    tools = draw(
        st.lists(
            st.builds(
                Tool,
                names,
                st.one_of(st.none(), texts),
                st.one_of(st.none(), schemas),
                st.sampled_from([None, True, False]),
            ),
            max_size=3,
            unique_by=lambda tool: tool.name,
        )
    )
    mode = draw(st.sampled_from([None, *get_args(ChoiceMode)])) if tools else None
    choice = None if mode is None else ToolChoice(mode, tools[0].name if mode == "function" else None)
    return Prompt(draw(conversations()), draw(options()), tuple(tools), choice)
