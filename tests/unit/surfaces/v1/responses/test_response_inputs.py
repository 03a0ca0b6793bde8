"""Responses requests: input items, functions, settings, in and out of shape."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, Message, Reasoning
from pg_trio.domain.content import Audio, File, Image, Refusal, Text
from pg_trio.domain.options import NO_OPTIONS
from pg_trio.domain.tools import Tool, ToolCall, ToolChoice
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.tool_fields import MAX_TOOLS
from pg_trio.surfaces.v1.responses.response_id import ResponseIds
from pg_trio.surfaces.v1.responses.response_request import find_ids, read_response_request
from pg_trio.surfaces.v1.responses.sealed_reasoning import SealedReasoning, seal, unseal

PREVIOUS = ResponseIds.make(UUID(int=3), UUID(int=9))
LIMITS = GatewaySettings(max_messages=8)
HEAD = RequestHead(UUID(int=7), "p", None, [], None, [], 0.0, 1763800000.7)
PNG = "data:image/png;base64,iVBORw0KGgo="


def read(**fields: object) -> ChatRequest:
    return read_response_request(orjson.dumps({"model": "ask", "input": "Hi", **fields}), LIMITS, HEAD)


def messages(*items: object, **fields: object) -> list[Message]:
    return list(read(input=list(items), **fields).messages)


def refusal(**fields: object) -> str:
    with pytest.raises(BadRequest) as refused:
        read(**fields)
    return refused.value.text


def call(call_id: str = "call_a", arguments: str = "{}", **more: object) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "add", "arguments": arguments, **more}


def output(call_id: str = "call_a", said: object = "3") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": said}


def message(role: str, content: object, **more: object) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


# ── input ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_text_is_a_user_message() -> None:
    request = read()

    assert (Message("user", "Hi"),) == request.messages
    assert ("ask", False, NO_OPTIONS, None, (), None) == (
        request.model,
        request.stream,
        request.options,
        request.unknown,
        request.tools,
        request.tool_choice,
    )
    assert "Hi" == request.plain_text


def test_instructions_come_first() -> None:
    request = read(instructions="Be kind.", input=[message("developer", "Rhyme."), message("user", "Hi")])

    assert [("system", "Be kind."), ("system", "Rhyme."), ("user", "Hi")] == [
        (each.role, each.content) for each in request.messages
    ]
    assert 1 == request.session_terms.instructions
    assert 0 == read(instructions="").session_terms.instructions


def test_parts_of_each_kind() -> None:
    content = [
        {"type": "input_text", "text": "Look: "},
        {"type": "input_text", "text": "this", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": PNG, "detail": "low", "file_id": None},
        {"type": "input_file", "file_data": "JVBERi0=", "filename": "a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
    ]

    assert [
        Message(
            "user",
            (
                Text("Look: this"),
                Image(PNG, "low"),
                File(None, "JVBERi0=", "a.pdf"),
                File("file-1", None, None),
                Audio("UklG", "wav"),
            ),
        )
    ] == messages({"type": "message", **message("user", content)})


def test_text_alone_is_a_string() -> None:
    parts = [{"type": "output_text", "text": "One", "annotations": []}, {"type": "output_text", "text": " two"}]

    assert [Message("user", "Hi"), Message("assistant", "One two")] == messages(
        message("user", [{"type": "input_text", "text": "Hi"}]),
        message("assistant", parts, id="msg_1", status="completed", type="message", phase="final_answer"),
    )


def test_refusals_are_the_assistants() -> None:
    part = {"type": "refusal", "refusal": "No."}

    assert [Message("user", "Hi"), Message("assistant", (Refusal("No."),))] == messages(
        message("user", "Hi"), message("assistant", [part])
    )
    assert "input[0].content[0].type: must be one of " in refusal(input=[message("user", [part])])


def test_one_turn_is_one_message() -> None:
    sealed = seal(SealedReasoning(Reasoning("I think", "c2ln")))
    signed = seal(SealedReasoning(call_signatures={"call_b": "Z29vZ2xl"}))

    read_messages = messages(
        message("user", "Hi"),
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed},
        message("assistant", [{"type": "output_text", "text": "Let me see."}]),
        call(),
        {"type": "reasoning", "summary": [], "encrypted_content": signed},
        call("call_b", '{"x":1}', id="fc_1", status="completed"),
        message("assistant", "Wait."),
        output("call_b"),
        output(),
    )

    assert [
        Message("user", "Hi"),
        Message(
            "assistant",
            "Let me see.Wait.",
            tool_calls=(ToolCall("call_a", "add", "{}"), ToolCall("call_b", "add", '{"x":1}', "Z29vZ2xl")),
            reasoning=(Reasoning("I think", "c2ln"),),
        ),
        Message("tool", "3", tool_call_id="call_b"),
        Message("tool", "3", tool_call_id="call_a"),
    ] == read_messages


def test_turns_stay_apart() -> None:
    sealed = seal(SealedReasoning(Reasoning("Again", "c2ln")))

    assert [
        Message("assistant", "One"),
        Message("assistant", "Two"),
        Message("assistant", "Three", reasoning=(Reasoning("Again", "c2ln"),)),
        Message("user", "Hi"),
    ] == messages(
        message("assistant", "One"),
        message("assistant", "Two"),
        {"type": "reasoning", "encrypted_content": sealed},
        message("assistant", "Three"),
        message("user", "Hi"),
    )


def test_foreign_reasoning_is_dropped() -> None:
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"type": "reasoning", "id": "rs_2", "encrypted_content": "gAAAAABo…", "summary": []},
        {"type": "item_reference", "id": "rs_3"},
    ]

    assert [Message("user", "Hi")] == messages(*items, message("user", "Hi"))


def test_output_may_have_parts() -> None:
    parts = [{"type": "input_text", "text": "3"}, {"type": "input_image", "image_url": PNG}]

    assert Message("tool", (Text("3"), Image(PNG)), tool_call_id="call_a") == messages(call(), output(said=parts))[1]
    assert Message("tool", "", tool_call_id="call_a") == messages(call(), output(said=""))[1]


def test_call_may_have_no_arguments() -> None:
    without = {name: given for name, given in call().items() if name != "arguments"}

    assert "{}" == messages(without, output())[0].tool_calls[0].arguments


@pytest.mark.parametrize("nothing", [None, []], ids=["null", "empty list"])
@pytest.mark.parametrize("role", ["user", "developer", "assistant"])
def test_message_without_content_is_left_out(role: str, nothing: object) -> None:
    request = read(input=[message("user", "Hi"), message(role, nothing), call(), output(), message("user", "Well?")])

    assert [("user", "Hi"), ("assistant", None), ("tool", "3"), ("user", "Well?")] == [
        (each.role, each.content) for each in request.messages
    ]


def test_function_may_give_nothing() -> None:
    assert "" == read(input=[call(), output(said=[])]).messages[1].content


@pytest.mark.parametrize("field", ["user", "safety_identifier", "prompt_cache_key"])
def test_empty_id_is_absent(field: str) -> None:
    request = read(**{field: ""})

    assert (NO_OPTIONS, None) == (request.options, request.unknown)


def test_continued_conversation_has_the_call() -> None:
    request = read(input=[output()], previous_response_id=PREVIOUS.response_id())

    assert (Message("tool", "3", tool_call_id="call_a"),) == request.messages


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "input: is required."),
        ([], "input: must not be empty."),
        (7, "input: must be a string or a list of items."),
        (["Hi"], "input[0]: must be an object."),
        ([{}], "input[0].type: must be one of message, function_call, function_call_output, reasoning."),
        ([{"type": "secret text"}], "input[0].type: must be one of message, function_call, function_call_output,"),
        ([{"type": ["message"]}], "input[0].type: must be one of message, function_call, function_call_output,"),
        ([{"type": "web_search_call", "id": "ws_1"}], "input[0].type: web_search_call is not supported."),
        ([{"type": "custom_tool_call"}], "input[0].type: custom_tool_call is not supported."),
        ([message("critic", "Hi")], "input[0].role: must be one of user, system, developer, assistant."),
        ([message("user", {})], "input[0].content: must be a string or a list of parts."),
        ([message("user", None), message("user", [])], "input: has no message."),
        ([message("critic", None)], "input[0].role: must be one of user, system, developer, assistant."),
        ([message("user", ["Hi"])], "input[0].content[0]: must be an object."),
        ([message("user", [{"type": "text", "text": "Hi"}])], "input[0].content[0].type: must be one of input_text, "),
        ([message("user", [{"type": "input_text"}])], "input[0].content[0].text: must be a string."),
        (
            [message("user", [{"type": "input_image", "file_id": "file-1"}])],
            "input[0].content[0].file_id: is not supported; send the image in image_url.",
        ),
        (
            [message("user", [{"type": "input_image", "image_url": "ftp://x"}])],
            "input[0].content[0].image_url: must be an http or https address, or a data address in base64.",
        ),
        (
            [message("user", [{"type": "input_file", "file_url": "https://x"}])],
            "input[0].content[0].file_url: is not supported; send the file in file_data.",
        ),
        (
            [message("user", [{"type": "input_file", "file_data": "?"}])],
            "input[0].content[0].file_data: must be base64, or a data address in base64.",
        ),
        ([call()], "input[0]: no function_call_output has this call's call_id."),
        ([output()], "input[0].call_id: must be that of an earlier function_call without an output."),
        ([call(), output(), output()], "input[2].call_id: must be that of an earlier function_call without an output."),
        ([call(), call()], "input[1].call_id: an earlier call has the same."),
        ([call(""), output("")], "input[0].call_id: must not be empty."),
        ([call() | {"name": None}], "input[0].name: must be a string."),
        ([call() | {"arguments": {}}], "input[0].arguments: must be a string."),
        ([call(), output(said=None)], "input[1].output: must be a string or a list of parts."),
        ([{"type": "reasoning", "encrypted_content": 7}], "input[0].encrypted_content: must be a string."),
        ([{"type": "reasoning", "summary": []}], "input: has no message."),
        ([{"type": "item_reference", "id": "msg_1"}], "input[0].id: must be that of a message or of reasoning."),
        ([{"id": "fc_" + "0" * 52}], "input[0].id: must be that of a message or of reasoning."),
        ([{"type": "item_reference"}], "input[0].type: must be one of message, "),
        (
            [message("assistant", "Hm"), call(), {"type": "item_reference", "id": "msg_" + "0" * 52}, output()],
            "input[2].id: must be that of a message or of reasoning.",
        ),
        ([message("user", "Hi")] * 9, "input: has more than 8 messages, which is the limit."),
    ],
)
def test_wrong_input(given: object, text: str) -> None:
    assert refusal(input=given).startswith(text)


# ── functions ────────────────────────────────────────────────────────────────────────────────────────────────────────

ADD = {"type": "function", "name": "add", "description": None, "parameters": {"type": "object"}, "strict": True}
SUB = {"type": "function", "name": "sub", "parameters": None, "defer_loading": True}


def test_functions_are_flat() -> None:
    request = read(tools=[ADD, SUB], parallel_tool_calls=False)

    assert (Tool("add", None, {"type": "object"}, True), Tool("sub")) == request.tools
    assert False is request.options.parallel_tool_calls


@pytest.mark.parametrize(
    ("choice", "expected", "names"),
    [
        ("auto", ToolChoice("auto"), ["add", "sub"]),
        ("required", ToolChoice("required"), ["add", "sub"]),
        ("none", ToolChoice("none"), ["add", "sub"]),
        ({"type": "function", "name": "sub"}, ToolChoice("function", "sub"), ["add", "sub"]),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "sub"}]},
            ToolChoice("required"),
            ["sub"],
        ),
    ],
)
def test_choice(choice: object, expected: ToolChoice, names: list[str]) -> None:
    request = read(tools=[ADD, SUB], tool_choice=choice)

    assert (expected, names) == (request.tool_choice, [tool.name for tool in request.tools if isinstance(tool, Tool)])


def test_many_functions() -> None:
    tools = [{"type": "function", "name": f"f{number}"} for number in range(MAX_TOOLS)]
    choice = {"type": "allowed_tools", "mode": "auto", "tools": tools}

    request = read(tools=tools, tool_choice=choice)

    assert (MAX_TOOLS, ToolChoice("auto")) == (len(request.tools), request.tool_choice)
    assert "tools: has 4097 tools, the limit is 4096." == refusal(tools=[*tools, {"type": "function", "name": "f"}])


def test_deep_input() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]

    assert "nested deeper" in refusal(input=deep)


def test_choice_without_tools() -> None:
    assert [None, None] == [read(tools=[], tool_choice=choice).tool_choice for choice in ("auto", "none")]
    assert "tool_choice: required needs tools." == refusal(tool_choice="required")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tools": {}}, "tools: must be a list."),
        ({"tools": [None]}, "tools[0]: must be an object."),
        ({"tools": [{}]}, 'tools[0].type: must be "function".'),
        ({"tools": [ADD, {"type": "web_search"}]}, "tools[1].type: web_search is not supported, only functions are."),
        (
            {"tools": [{"type": "web_search_preview_2025_03_11"}, ADD, {"type": "mcp"}, {"type": "custom"}]},
            "tools[0].type: web_search_preview_2025_03_11, mcp and custom are not supported, only functions are.",
        ),
        ({"tools": [{"type": "john@example.com"}]}, 'tools[0].type: must be "function".'),
        ({"tools": [ADD | {"name": ""}]}, "tools[0].name: must not be empty."),
        ({"tools": [{"type": "function", "function": {"name": "add"}}]}, "tools[0].name: must be a string."),
        ({"tools": [ADD | {"parameters": []}]}, "tools[0].parameters: must be an object."),
        ({"tools": [ADD | {"strict": "yes"}]}, "tools[0].strict: must be true or false."),
        ({"tools": [ADD | {"description": 7}]}, "tools[0].description: must be a string."),
        ({"tools": [ADD], "tool_choice": "any"}, "tool_choice: must be one of auto, none, required, or an object."),
        ({"tools": [ADD], "tool_choice": 7}, "tool_choice: must be a string or an object."),
        ({"tools": [ADD], "tool_choice": {}}, "tool_choice.type: must be function or allowed_tools."),
        ({"tools": [ADD], "tool_choice": {"type": "web_search"}}, "tool_choice.type: web_search is not supported."),
        (
            {"tools": [ADD], "tool_choice": {"type": "function", "name": "sub"}},
            "tool_choice.name: must be the name of one of the tools.",
        ),
        (
            {"tools": [ADD], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
            "tool_choice.tools: must not be empty.",
        ),
        (
            {"tools": [ADD], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
            "tool_choice.tools[0].type: mcp is not supported.",
        ),
    ],
)
def test_wrong_functions(fields: dict[str, Any], text: str) -> None:
    assert text == refusal(**fields)


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_by_their_other_names() -> None:
    schema = {"type": "object", "properties": {"a": {"default": None}}}
    wanted = {"type": "json_schema", "name": "x", "schema": schema, "strict": True, "description": None}

    request = read(
        temperature=0.5,
        top_p=1,
        max_output_tokens=9,
        user="u",
        text={"format": wanted, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=3,
        metadata={"a": "b"},
        service_tier="flex",
        safety_identifier="s",
        prompt_cache_key="k",
        truncation="auto",
        stream_options={"include_obfuscation": False},
        background=False,
        max_tool_calls=None,
        top_k=7,
    )

    options = request.options
    assert (0.5, 1, 9, "u", "low") == (
        options.temperature,
        options.top_p,
        options.max_output_tokens,
        options.user,
        options.reasoning_effort,
    )
    assert options.response_format is not None
    assert {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": schema, "strict": True},
    } == options.response_format.raw
    assert {"logprobs": True, "top_logprobs": 3, "service_tier": "flex"} == options.more
    assert {"verbosity": "low", "safety_identifier": "s", "prompt_cache_key": "k", "top_k": 7} == request.unknown


def test_more_than_one_answer_is_refused() -> None:
    assert "n: is 2; the gateway gives one answer a request." == refusal(n=2)
    assert read(n=1).unknown is None


def test_metadata_travels_beside_store() -> None:
    assert {"store": True, "metadata": {"a": "b"}} == read(store=True, metadata={"a": "b"}).options.more
    assert {"store": False} == read(store=False, metadata={"a": "b"}).options.more


@pytest.mark.parametrize("wanted", [None, {}, {"format": None}, {"format": {"type": "text"}}])
def test_plain_text_needs_no_format(wanted: object) -> None:
    assert NO_OPTIONS is read(text=wanted, reasoning={}, include=[], tools=[]).options


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"model": None}, "model: is required."),
        ({"model": 7}, "model: must be a string that is not empty."),
        ({"background": True}, "background: is not supported; an answer is made while the client waits."),
        ({"conversation": "conv_1"}, "conversation: is not supported; use previous_response_id."),
        ({"conversation": {"id": "conv_1"}}, "conversation: is not supported; use previous_response_id."),
        ({"prompt": {"id": "pmpt_1"}}, "prompt: is not supported; send instructions and input."),
        ({"moderation": {"model": "x"}}, "moderation: is not supported."),
        ({"instructions": ["Hi"]}, "instructions: must be a string."),
        ({"stream": 1}, "stream: must be true or false."),
        ({"store": "no"}, "store: must be true or false."),
        ({"temperature": "1"}, "temperature: must be a number."),
        ({"temperature": 2.1}, "temperature: must be from 0 to 2."),
        ({"top_p": True}, "top_p: must be a number."),
        ({"max_output_tokens": 0}, "max_output_tokens: must be from 1 to 100000000."),
        ({"max_output_tokens": 1.5}, "max_output_tokens: must be a whole number."),
        ({"top_logprobs": 21}, "top_logprobs: must be from 0 to 20."),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls: must be true or false."),
        ({"text": []}, "text: must be an object."),
        ({"text": {"verbosity": "loud"}}, "text.verbosity: must be one of low, medium, high."),
        ({"text": {"format": "json"}}, "text.format: must be an object."),
        ({"text": {"format": {}}}, "text.format.type: must be one of text, json_object, json_schema."),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name: must be a string."),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema: must be an object."),
        ({"reasoning": "low"}, "reasoning: must be an object."),
        ({"reasoning": {"effort": "very high"}}, "reasoning.effort: must be 1 to 64 letters, digits, _ and -."),
        ({"reasoning": {"summary": "long"}}, "reasoning.summary: must be one of auto, concise, detailed."),
        ({"metadata": {"a": 1}}, "metadata: must have only strings."),
        ({"metadata": {str(key): "" for key in range(17)}}, "metadata: has more than 16 pairs."),
        (
            {"metadata": {"a": "x" * 513}},
            "metadata: has a key of more than 64 characters, or a value of more than 512.",
        ),
        ({"include": "logprobs"}, "include: must be a list."),
        ({"include": ["everything"]}, "include[0]: must be one of code_interpreter_call.outputs, "),
        ({"truncation": "some"}, "truncation: must be one of auto, disabled."),
        ({"service_tier": "very fast"}, "service_tier: must be a word."),
        ({"user": []}, "user: must be a string."),
        ({"safety_identifier": "x" * 513}, "safety_identifier: has more than 512 characters."),
        ({"prompt_cache_key": 7}, "prompt_cache_key: must be a string."),
        ({"stream_options": []}, "stream_options: must be an object."),
        ({"previous_response_id": 7}, "previous_response_id: must be a string."),
        ({"previous_response_id": ""}, "previous_response_id: must not be empty."),
    ],
)
def test_wrong_settings(fields: dict[str, Any], text: str) -> None:
    assert refusal(**fields).startswith(text)


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


OWN = ResponseIds.make(HEAD.request_id)


def test_response_starts_a_session() -> None:
    request = read(instructions="Be kind.")

    terms = request.session_terms
    assert (None, True, True, HEAD.request_id, OWN.tag) == (
        request.session_id,
        terms.starts,
        terms.keeps_turn,
        terms.new_id,
        terms.tag,
    )
    assert OWN == find_ids(request, HEAD.request_id)


def test_response_resumes_its_session() -> None:
    request = read(previous_response_id=PREVIOUS.response_id())

    assert (UUID(int=9), PREVIOUS.tag) == (request.session_id, request.session_terms.resumed_tag)
    assert ResponseIds(UUID(int=9), OWN.tag) == find_ids(request, HEAD.request_id)


def test_response_may_not_be_stored() -> None:
    alone, resumed = read(store=False), read(store=False, previous_response_id=PREVIOUS.response_id())

    assert [OWN, OWN] == [find_ids(alone, HEAD.request_id), find_ids(resumed, HEAD.request_id)]
    assert (False, None, UUID(int=9), False) == (
        alone.session_terms.starts,
        alone.session_id,
        resumed.session_id,
        resumed.session_terms.keeps_turn,
    )


@pytest.mark.parametrize("given", ["resp_1", "resp_" + "0" * 32, "chatcmpl-1", "resp_" + "f" * 48 + "\n", "x" * 9999])
def test_other_ids_name_no_session(given: str) -> None:
    assert UUID(int=0) == read(previous_response_id=given).session_id


@given(st.uuids(), st.one_of(st.none(), st.uuids()), st.integers(0, 9999))
def test_ids_come_back(request_id: UUID, session_id: UUID | None, index: int) -> None:
    ids = ResponseIds.make(request_id, session_id)

    assert ids == ResponseIds.read_response(ids.response_id()) == ResponseIds.read_message(ids.item_id("msg", index))
    assert None is ResponseIds.read_message(ids.item_id("rs", index))
    assert len(ids.item_id("msg", index)) <= 64


def reference(ids: ResponseIds, index: int = 0, **more: object) -> dict[str, Any]:
    return {"type": "item_reference", "id": ids.item_id("msg", index), **more}


FIRST, SECOND = ResponseIds.make(UUID(int=1 << 127)), ResponseIds.make(UUID(int=1 << 126))


def test_references_quote_stored_answers() -> None:
    request = read(
        instructions="Be kind.",
        input=[
            message("user", "One"),
            reference(FIRST, type=None),
            reference(FIRST, 1),
            call(),
            output(),
            reference(SECOND),
            message("user", "Two"),
        ],
    )

    assert [
        ("system", "Be kind.", ()),
        ("user", "One", ()),
        ("assistant", None, (ToolCall("call_a", "add", "{}"),)),
        ("tool", "3", ()),
        ("assistant", None, ()),
        ("user", "Two", ()),
    ] == [(each.role, each.content, each.tool_calls) for each in request.messages]
    terms = request.session_terms
    assert ({2: FIRST.tag, 4: SECOND.tag}, False, None) == (dict(terms.quotes), terms.resumes, terms.resumed_tag)
    assert SECOND.session_id == request.session_id
    assert OWN == find_ids(request, HEAD.request_id)


def test_quoted_answers_stay_apart() -> None:
    request = read(input=[reference(FIRST), reference(SECOND), message("assistant", "Three"), message("user", "Hi")])

    assert [None, None, "Three", "Hi"] == [each.content for each in request.messages]
    assert {0: FIRST.tag, 1: SECOND.tag} == request.session_terms.quotes


def test_continued_session_may_be_quoted() -> None:
    request = read(input=[reference(FIRST), message("user", "Hi")], previous_response_id=PREVIOUS.response_id())

    assert (PREVIOUS.session_id, True) == (request.session_id, request.session_terms.resumes)


# ── sealed reasoning ─────────────────────────────────────────────────────────────────────────────────────────────────

signatures = st.text("abcXYZ0189+/_-=", min_size=1, max_size=20)
blocks = st.one_of(
    st.builds(Reasoning, st.text(), signatures), st.builds(lambda data: Reasoning("", data=data), signatures)
)


@given(st.one_of(st.none(), blocks), st.one_of(st.none(), st.dictionaries(st.text(), signatures, min_size=1)))
def test_seal_comes_back(block: Reasoning | None, calls: dict[str, str] | None) -> None:
    sealed = seal(SealedReasoning(block, calls))

    if sealed is None:
        assert (None, None) == (block, calls)
    else:
        assert SealedReasoning(block, calls) == unseal(sealed)


@given(st.one_of(st.text(), st.binary().map(lambda raw: "pg1_" + raw.hex()), st.text("pg1_AQgw=").map("pg1_".__add__)))
def test_other_seals_are_empty(given: str) -> None:
    assert SealedReasoning() == unseal(given)


# ── any body ─────────────────────────────────────────────────────────────────────────────────────────────────────────

scalars = st.one_of(st.none(), st.booleans(), st.integers(-9, 99), st.floats(allow_nan=False), st.text(max_size=5))
words = st.sampled_from(
    ["message", "function_call", "function_call_output", "reasoning", "user", "assistant", "function", "input_text"]
)
keys = st.sampled_from(["type", "role", "content", "call_id", "output", "name", "arguments", "text", "id", "tools"])
shapes = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=3), inner, max_size=5),
    max_leaves=25,
)
fields_of_any_kind = st.dictionaries(
    st.sampled_from(
        ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "metadata", "store", "stream"]
    ),
    shapes,
    max_size=4,
)


@given(fields_of_any_kind)
def test_any_body_is_a_request_or_a_400(fields: dict[str, Any]) -> None:
    refused = refusal_of({"model": "ask", "input": "Hi", **fields})

    # The error begins with the name of a field.
    assert refused is None or re.split(r"[:.\[]", refused)[0] in {*fields, "input"}


def refusal_of(fields: dict[str, Any]) -> str | None:
    """The error's text; None if the body is a request."""
    try:
        request = read_response_request(orjson.dumps(fields), LIMITS, HEAD)
    except BadRequest as error:
        return error.text
    assert request.messages
    return None
