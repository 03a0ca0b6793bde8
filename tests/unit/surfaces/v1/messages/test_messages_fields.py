"""Bodies of Messages requests: what is read in each field, and the error for what is wrong in it."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_trio.domain.chat import Message, Reasoning
from pg_trio.domain.content import File, Image, NativePart, Text
from pg_trio.domain.native_fields import PLAIN_TURN, NativeTurn
from pg_trio.domain.tools import ForeignTool, Tool, ToolCall, ToolChoice
from pg_trio.errors import BadRequest, SessionIdInvalid
from tests.support.messages_bodies import CACHED, PIXEL, Body, bodies, read_body

ASKED: Body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}


def read(**fields: object) -> Any:
    return read_body({**ASKED, **fields})


def test_plain_request() -> None:
    request = read_body(ASKED)

    assert ((Message("user", "Hi"),), "m", 100, False) == (
        request.messages,
        request.model,
        request.options.max_output_tokens,
        request.stream,
    )
    assert not request.session_terms.starts


def test_turns_become_messages() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "Ulm"}}
    request = read(
        system="Be kind.",
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hi", **CACHED}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, call]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "And?"},
                    {"type": "tool_result", "tool_use_id": "t1", "content": "Rain", "is_error": True},
                ],
            },
        ],
    )

    assert (
        Message("system", "Be kind."),
        Message("user", (Text("Hi", CACHED),)),
        Message(
            "assistant",
            None,
            tool_calls=(ToolCall("t1", "look", '{"at":"Ulm"}'),),
            reasoning=(Reasoning("Hm.", "c2ln"),),
            native=PLAIN_TURN,
        ),
        Message("tool", "Rain", tool_call_id="t1", native=NativeTurn(result={"is_error": True})),
        Message("user", (Text("And?"),)),
    ) == request.messages


def test_order_of_an_assistants_blocks_is_kept() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    text = {"type": "text", "text": "Then."}

    request = read(messages=[*ASKED["messages"], {"role": "assistant", "content": [call, text]}])

    assert NativeTurn(order="cp") == request.messages[1].native


def test_media_become_parts() -> None:
    base64 = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": PIXEL}
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A map."}, "title": "M"}
    far = {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}
    content = [
        {"type": "image", "source": base64},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a"}, **CACHED},
        {"type": "document", "source": pdf, "title": "Report", "context": "For you"},
        plain,
        far,
    ]

    request = read(messages=[{"role": "user", "content": content}])

    assert (
        Image(f"data:image/png;base64,{PIXEL}"),
        Image("https://example.org/a", native=CACHED),
        File(data=f"data:application/pdf;base64,{PIXEL}", name="Report", native={"context": "For you"}),
        NativePart(plain, (Text("M"), Text("\n\n"), Text("A map."))),
        NativePart(far),
    ) == request.messages[0].content


def test_tools_and_choice() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    request = read(
        tools=[{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}, **CACHED}, search],
        tool_choice={"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    )

    assert (
        Tool("look", "Looks.", {"type": "object"}, native=CACHED),
        ForeignTool(search, "anthropic"),
    ) == request.tools
    assert (ToolChoice("function", "look"), False) == (request.tool_choice, request.options.parallel_tool_calls)


@pytest.mark.parametrize(
    ("thinking", "config", "effort", "budget"),
    [
        ({"type": "disabled"}, None, None, 0),
        ({"type": "enabled", "budget_tokens": 2048}, None, None, 2048),
        ({"type": "adaptive"}, {"effort": "low"}, "low", None),
        ({"type": "adaptive"}, {"effort": "max"}, "xhigh", None),
        ({"type": "between_tools"}, None, None, None),
    ],
)
def test_thinking_and_effort(thinking: Body, config: Body | None, effort: str | None, budget: int | None) -> None:
    options = read(thinking=thinking, output_config=config).options

    assert (effort, budget) == (options.reasoning_effort, options.thinking_budget_tokens)


def test_format_is_any_wires_schema() -> None:
    options = read(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}}).options

    assert options.response_format is not None
    assert ("json_schema", {"type": "object"}) == (options.response_format.kind, options.response_format.schema)


def test_long_user_ids_are_hashed_for_other_wires() -> None:
    long = "user_" + "a" * 100

    request = read(metadata={"user_id": long})

    assert (hashlib.sha256(long.encode()).hexdigest(), {"user_id": long}) == (
        request.options.user,
        request.native.fields["metadata"],
    )


def test_nulls_are_absent() -> None:
    request = read(system=None, temperature=None, tools=None, metadata={"user_id": None}, stream=None)

    assert read_body({**ASKED, "metadata": {"user_id": None}}).options == request.options
    assert (False, ()) == (request.stream, request.tools)


def test_count_needs_no_limit() -> None:
    body = {name: value for name, value in ASKED.items() if name != "max_tokens"}

    assert read_body(body, is_count=True).options.max_output_tokens is None


def test_session_is_a_header_field() -> None:
    new = read_body(ASKED, {b"x-pg-session-id": b"new"})
    resumed = read_body(ASKED, {b"x-pg-session-id": b"00000000-0000-4000-8000-000000000001"})

    assert (True, None) == (new.session_terms.starts, new.session_id)
    assert str(resumed.session_id).endswith("1")
    with pytest.raises(SessionIdInvalid):
        read_body(ASKED, {b"x-pg-session-id": b"other"})


def turn(*blocks: object, role: str = "user") -> dict[str, object]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


def source(**fields: object) -> dict[str, object]:
    return {"type": "image", "source": fields}


WRONG: list[tuple[str, dict[str, object]]] = [
    ("model: is required.", {"model": None}),
    ("model: must be a string that is not empty.", {"model": 7}),
    ("max_tokens: is required.", {"max_tokens": None}),
    ("max_tokens: must be a whole number.", {"max_tokens": "100"}),
    ("max_tokens: must be a whole number.", {"max_tokens": True}),
    ("max_tokens: must be from 0 to 100000000.", {"max_tokens": -1}),
    ("messages: is required.", {"messages": None}),
    ("messages: must be a list.", {"messages": {}}),
    ("messages: must not be empty.", {"messages": []}),
    ("messages: has 2049 messages, the limit is 2048.", {"messages": [ASKED["messages"][0]] * 2049}),
    ("messages[0]: must be an object.", {"messages": ["Hi"]}),
    ("messages[0].role: must be user or assistant.", {"messages": [{"role": "tool", "content": "Hi"}]}),
    ("messages[0].role: must be user or assistant.", {"messages": [{"role": None, "content": "Hi"}]}),
    ("messages[0].content: must be a string or a list of blocks.", {"messages": [{"role": "user", "content": 7}]}),
    ("messages[0].content: must be a string or a list of blocks.", {"messages": [{"role": "user"}]}),
    ("messages[0].content: must not be empty.", {"messages": [{"role": "user", "content": []}]}),
    ("messages[0].content[0]: must be an object.", turn("Hi")),
    ("messages[0].content[0].type: must be a string.", turn({"text": "Hi"})),
    ("messages[0].content[0].type: must be a word.", turn({"type": "My secret"})),
    ("messages[0].content[0].text: must be a string.", turn({"type": "text", "text": 7})),
    ("messages[0].content[0].type: only an assistant's turn has such a block.", turn({"type": "tool_use"})),
    (
        "messages[0].content[0].type: only a user's turn has such a block.",
        turn({"type": "tool_result"}, role="assistant"),
    ),
    ("messages[0].content[0].source: must be an object.", turn({"type": "image", "source": "x"})),
    ("messages[0].content[0].source.type: must be a string.", turn(source())),
    ("messages[0].content[0].source.url: must be a string.", turn(source(type="url"))),
    ("messages[0].content[0].source.url: must be an http or https address.", turn(source(type="url", url="file:///"))),
    ("messages[0].content[0].source.media_type: must be a media type.", turn(source(type="base64", data=PIXEL))),
    (
        "messages[0].content[0].source.data: must be base64.",
        turn(source(type="base64", media_type="image/png", data="not base64!")),
    ),
    (
        "messages[0].content[0].title: must be a string.",
        turn({"type": "document", "source": {"type": "text", "data": "x"}, "title": 7}),
    ),
    (
        "messages[0].content[0].source.data: must be a string.",
        turn({"type": "document", "source": {"type": "text"}}),
    ),
    ("messages[0].content[0].tool_use_id: must be a string.", turn({"type": "tool_result"})),
    (
        "messages[0].content[0].is_error: must be true or false.",
        turn({"type": "tool_result", "tool_use_id": "t", "is_error": "yes"}),
    ),
    (
        "messages[0].content[0].content: must be a string or a list of blocks.",
        turn({"type": "tool_result", "tool_use_id": "t", "content": {}}),
    ),
    (
        "messages[0].content[0].content[0].text: must be a string.",
        turn({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}),
    ),
    ("messages[0].content[0].id: must be a string.", turn({"type": "tool_use"}, role="assistant")),
    (
        "messages[0].content[0].input: must be an object.",
        turn({"type": "tool_use", "id": "t", "name": "f", "input": "x"}, role="assistant"),
    ),
    ("messages[0].content[0].thinking: must be a string.", turn({"type": "thinking"}, role="assistant")),
    (
        "messages[0].content[0].signature: must be base64.",
        turn({"type": "thinking", "thinking": "a", "signature": "a person's text"}, role="assistant"),
    ),
    ("messages[0].content[0].data: must be base64.", turn({"type": "redacted_thinking", "data": ""}, role="assistant")),
    ("system: must be a string or a list of blocks.", {"system": {}}),
    ('system[0].type: must be "text".', {"system": [{"type": "image"}]}),
    ("temperature: must be a number.", {"temperature": "warm"}),
    ("temperature: must be from 0 to 1.", {"temperature": 1.5}),
    ("top_p: must be from 0 to 1.", {"top_p": -0.1}),
    ("top_k: must be a whole number.", {"top_k": 1.5}),
    ("stream: must be true or false.", {"stream": "yes"}),
    ("stop_sequences: must be a list of strings.", {"stop_sequences": "END"}),
    ("stop_sequences[1]: must be a string.", {"stop_sequences": ["END", 7]}),
    ("stop_sequences: has 65 entries, the limit is 64.", {"stop_sequences": ["a"] * 65}),
    ("thinking: must be an object.", {"thinking": True}),
    ("thinking.type: must be a string.", {"thinking": {}}),
    ("thinking.budget_tokens: is required.", {"thinking": {"type": "enabled"}}),
    ("thinking.budget_tokens: must be from 1024 to 100000000.", {"thinking": {"type": "enabled", "budget_tokens": 7}}),
    ("output_config.effort: must be a string.", {"output_config": {"effort": 7}}),
    ("output_config.format.schema: must be an object.", {"output_config": {"format": {"type": "json_schema"}}}),
    ("metadata: must be an object.", {"metadata": "me"}),
    ("metadata.user_id: must be a string.", {"metadata": {"user_id": 7}}),
    ("service_tier: must be a string.", {"service_tier": 7}),
    ("inference_geo: must be a string.", {"inference_geo": []}),
    ("container: must be a string or an object.", {"container": 7}),
    ("mcp_servers: must be a list.", {"mcp_servers": {}}),
    ("mcp_servers[1]: must be an object.", {"mcp_servers": [{}, "x"]}),
    ("context_management: must be an object.", {"context_management": []}),
    ("cache_control: must be an object.", {"cache_control": "ephemeral"}),
    (
        "messages[0].content[0].cache_control: must be an object.",
        turn({"type": "text", "text": "x", "cache_control": 1}),
    ),
    ("system[0].cache_control: must be an object.", {"system": [{"type": "text", "text": "x", "cache_control": []}]}),
    ("tools[0].cache_control: must be an object.", {"tools": [{"name": "f", "input_schema": {}, "cache_control": 1}]}),
    ("tools[0].cache_control: must be an object.", {"tools": [{"type": "web_search", "cache_control": 1}]}),
    ("tools: must be a list.", {"tools": {}}),
    ("tools[0]: must be an object.", {"tools": ["look"]}),
    ("tools[0].name: must be a string.", {"tools": [{"input_schema": {}}]}),
    ("tools[0].input_schema: is required.", {"tools": [{"name": "look"}]}),
    ("tools[0].input_schema: must be an object.", {"tools": [{"name": "look", "input_schema": "x"}]}),
    ("tools[0].description: must be a string.", {"tools": [{"name": "f", "input_schema": {}, "description": 7}]}),
    ("tools[0].strict: must be true or false.", {"tools": [{"name": "f", "input_schema": {}, "strict": 1}]}),
    ("tools[0].type: must be a string.", {"tools": [{"type": 7}]}),
    ("tools[0].type: must be a word.", {"tools": [{"type": "a secret, perhaps"}]}),
    ("tool_choice: must be an object.", {"tool_choice": "auto"}),
    ("tool_choice.type: must be a string.", {"tool_choice": {}}),
    ("tool_choice.name: must be a string.", {"tool_choice": {"type": "tool"}}),
    (
        "tool_choice.disable_parallel_tool_use: must be true or false.",
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}},
    ),
]


RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "Rain"}
CALL = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}


@pytest.mark.parametrize(
    "before", [[], [{"role": "assistant", "content": [{**CALL, "id": "t2"}]}], [{"role": "assistant", "content": "t1"}]]
)
def test_result_answers_an_earlier_call(before: list[Body]) -> None:
    asked = [*ASKED["messages"], *before, {"role": "user", "content": [{"type": "text", "text": "So:"}, RESULT]}]
    place = f"messages[{len(asked) - 1}].content[1].tool_use_id"

    with pytest.raises(BadRequest) as caught:
        read(messages=[*asked, {"role": "assistant", "content": [CALL]}])

    assert f"{place}: answers no tool_use of an earlier turn." == caught.value.text


def test_session_may_have_the_call() -> None:
    body = {**ASKED, "messages": [{"role": "user", "content": [RESULT]}]}

    request = read_body(body, {b"x-pg-session-id": b"00000000-0000-4000-8000-000000000001"})

    assert "t1" == request.messages[0].tool_call_id


@pytest.mark.parametrize("more", [{}, {"stray": 1}])
def test_answer_without_a_block_comes_back(more: dict[str, object]) -> None:
    """As `/v1/messages` gives it for a model that only thought, unsigned."""
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [], **more}]

    assert [("user", "Hi"), ("assistant", "")] == [(each.role, each.content) for each in read(messages=turns).messages]


@pytest.mark.parametrize(("text", "fields"), WRONG, ids=[text for text, _ in WRONG])
def test_mistake_names_the_field(text: str, fields: dict[str, object]) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)

    assert text == caught.value.text


@pytest.mark.parametrize("name", [b"anthropic-beta", b"anthropic-version"])
@pytest.mark.parametrize("given", [b"a\r\nb", b"\xff", b"write to ada@example.org", b"a" * 4097])
def test_header_fields_are_words(name: bytes, given: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read_body(ASKED, {name: given})

    assert f"{name.decode()}: must be words, at most 4096 characters." == caught.value.text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"one, two", "one, two"),
        (b"one,", "one"),
        (b",one, ,two,,", "one ,two"),
        (b"\0one\0\0two", "one,two"),
        (b" , ", None),
        (b"", None),
    ],
)
def test_empty_words_of_a_list_are_left_out(given: bytes, kept: str | None) -> None:
    native = read_body(ASKED, {b"anthropic-beta": given}).native

    assert native is not None
    assert kept == dict(native.headers).get("anthropic-beta")


JUNK: st.SearchStrategy[object] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)


@given(body=bodies(), junk=JUNK, data=st.data())
@settings(max_examples=200)
def test_junk_anywhere_is_read_or_a_named_mistake(body: Body, junk: object, data: st.DataObject) -> None:
    # Strategies hand out the same objects again.
    body = copy.deepcopy(body)
    node: Any = body
    path = ""
    while isinstance(node, dict | list) and node:
        steps = list(node) if isinstance(node, dict) else list(range(len(node)))
        step = data.draw(st.sampled_from(steps))
        path = f"{path}.{step}".lstrip(".") if isinstance(step, str) else f"{path}[{step}]"
        if data.draw(st.booleans()) or not isinstance(node[step], dict | list):
            node[step] = junk
            break
        node = node[step]

    try:
        read_body(body)
    except BadRequest as error:
        field = error.text.partition(": ")[0]
        assert path.startswith(field.partition("[")[0].partition(".")[0])
