from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, Message, Prompt, ToolCall
from pg_trio.domain.content import Refusal, Text
from pg_trio.domain.options import ResponseFormat
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.tools import ForeignTool, Tool, ToolChoice
from pg_trio.errors import BadRequest, ContentCodingUnsupported, SessionIdInvalid
from pg_trio.providers.openai_request import RequestRoute, write_body
from pg_trio.surfaces.gateway.chat_request import KNOWN_FIELDS, read_chat_request
from pg_trio.surfaces.reading.content_type import check_content_coding, check_content_type
from tests.support.content import parts as as_parts

LIMITS = GatewaySettings()
ID = "6f1c0a3e-9d2b-4c5e-8f7a-1b2c3d4e5f60"
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def read(body: Any, *, endpoint_required: bool = False, limits: GatewaySettings = LIMITS) -> ChatRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    slug = None if endpoint_required else "ask"
    return read_chat_request(raw, limits, RequestHead(UUID(int=1), "p", slug, [], None, [], 0.0, 0.0))


def refusal(body: Any, *, endpoint_required: bool = False, limits: GatewaySettings = LIMITS) -> str:
    with pytest.raises(BadRequest) as refused:
        read(body, endpoint_required=endpoint_required, limits=limits)
    return refused.value.text


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def test_message_is_a_user_message() -> None:
    assert ChatRequest((Message("user", "hi"),), {"message": "hi"}) == read({"message": "hi"})


def test_every_field_is_read() -> None:
    parts: list[Any] = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://u"}}]
    body = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": parts, "name": "n"},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
            {"role": "tool", "content": "t", "tool_call_id": "c1"},
            {"role": "assistant", "content": "b", "tool_calls": None, "name": None},
        ],
        "endpoint": "e",
        "stream": True,
        "session_id": ID.upper(),
        "tools": [{"type": "function", "function": {}}],
        "tool_choice": "auto",
        "unknown": {"x": 1},
    }

    request = read(body, endpoint_required=True)

    assert (
        Message("system", "s"),
        Message("user", as_parts(*parts), "n"),
        Message("assistant", None, tool_calls=(ToolCall("c1", "f", "{}"),)),
        Message("tool", "t", tool_call_id="c1"),
        Message("assistant", "b"),
    ) == request.messages
    assert ("e", True, UUID(ID), ToolChoice("auto")) == (
        request.endpoint,
        request.stream,
        request.session_id,
        request.tool_choice,
    )
    assert (ForeignTool({"type": "function", "function": {}}),) == request.tools
    assert body == request.body


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "Body is not valid JSON: Input is a zero-length, empty document: line 1 column 1 (char 0)."),
        (b'{"message":', "Body is not valid JSON: unexpected end of data: line 1 column 12 (char 11)."),
        (b'{"message":"\xff"}', "Body is not valid JSON: invalid UTF-8."),
        (b'{"message":"\\ud800"}', "Body is not valid JSON: no low surrogate in string: line 1 column 13 (char 12)."),
        (b"[1]", "Body must be a JSON object."),
        (b'"x"', "Body must be a JSON object."),
        ({}, "Body must have message or messages."),
        ({"message": "a", "messages": []}, "Body must have message or messages, not both."),
        ({"message": None, "messages": []}, "messages: must not be empty."),
        ({"message": None, "messages": None}, "Body must have message or messages."),
        ({"message": None}, "Body must have message or messages."),
        ({"message": ["a"]}, "message: must be a string."),
        ({"messages": []}, "messages: must not be empty."),
        ({"messages": {}}, "messages: must be a list."),
        ({"messages": ["a"]}, "messages[0]: must be an object."),
        ({"messages": [{"content": "a"}]}, "messages[0].role: must be one of system, user, assistant, tool."),
        (
            {"messages": [{"role": ["user"], "content": "a"}]},
            "messages[0].role: must be one of system, user, assistant, tool.",
        ),
        (
            {"messages": [{"role": "function", "content": "a"}]},
            "messages[0].role: must be one of system, user, assistant, tool.",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content: must be a string or a list of parts."),
        (user(None), "messages[0].content: must be a string or a list of parts."),
        (user(5), "messages[0].content: must be a string or a list of parts."),
        (user([]), "messages[0].content: must not be an empty list."),
        (user(["a"]), "messages[0].content[0]: must be an object."),
        (user([{"text": "a"}]), "messages[0].content[0].type: must be a string."),
        (user([{"type": "text"}]), "messages[0].content[0].text: must be a string."),
        (user([{"type": "text", "text": 1}]), "messages[0].content[0].text: must be a string."),
        (
            {"messages": [{"role": "user", "content": "a", "name": 1}]},
            "messages[0].name: must be a string.",
        ),
        (
            {"messages": [{"role": "tool", "content": "a"}]},
            "messages[0].tool_call_id: is required in a tool message.",
        ),
        (
            {"messages": [{"role": "tool", "content": "a", "tool_call_id": 1}]},
            "messages[0].tool_call_id: must be a string.",
        ),
        (
            {"messages": [{"role": "user", "content": "a", "tool_calls": [CALL]}]},
            "messages[0].tool_calls: only an assistant message calls tools.",
        ),
        ({"message": "a", "stream": "true"}, "stream: must be true or false."),
        ({"message": "a", "stream": 1}, "stream: must be true or false."),
        ({"message": "a", "endpoint": 1}, "endpoint: must be a string."),
        ({"message": "a", "tools": {}}, "tools: must be a list."),
        ({"message": "a", "tools": []}, "tools: must not be empty."),
        ({"message": "a", "tools": [1]}, "tools[0]: must be an object."),
        ({"message": "a", "tools": [{}]}, "tools[0].type: must be a string."),
        ({"message": "a", "tools": [{"type": "function", "function": 1}]}, "tools[0].function: must be an object."),
        ({"message": "a", "tool_choice": 1}, "tool_choice: must be a string or an object."),
        (
            {"message": "a", "tool_choice": {"type": "function", "function": []}},
            "tool_choice.function: must be an object.",
        ),
        ({"message": "a", "parallel_tool_calls": "no"}, "parallel_tool_calls: must be true or false."),
        ({"message": "a", "response_format": "json"}, "response_format: must be an object."),
        ({"message": "a", "response_format": {}}, "response_format.type: must be a string."),
        ({"message": "a", "response_format": {"type": None}}, "response_format.type: must be a string."),
        (
            {"message": "a", "response_format": {"type": "json_schema", "json_schema": []}},
            "response_format.json_schema: must be an object.",
        ),
        ({"message": "a", "reasoning_effort": 3}, "reasoning_effort: must be a string."),
        ({"message": "a", "reasoning_effort": "a b"}, "reasoning_effort: must be 1 to 64 letters, digits, _ and -."),
    ],
)
def test_mistake_is_named(body: Any, text: str) -> None:
    assert text == refusal(body)


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
DATA = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "Müller 1.pdf"}}
STORED = {"type": "file", "file": {"file_id": "file-abc123"}}


def text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize("part", [PICTURE, DATA, AUDIO, FILE, STORED], ids=lambda part: str(part)[:40])
def test_documented_part_passes(part: dict[str, Any]) -> None:
    assert as_parts(part) == read(user([part])).messages[0].content


@pytest.mark.parametrize("part", [text_part("a"), PICTURE, AUDIO, FILE], ids=lambda part: part["type"])
def test_part_keeps_documented_fields_only(part: dict[str, Any]) -> None:
    media = part[part["type"]]
    inner = {**media, "note": "x"} if isinstance(media, dict) else media

    assert as_parts(part) == read(user([{**part, part["type"]: inner, "cache_control": "x"}])).messages[0].content


def test_refused_turn_comes_back_as_it_was_sent() -> None:
    """OpenAI's message of a model that refused: no content, and the refusal beside it."""
    turn = {"role": "assistant", "content": None, "refusal": "I can't.", "tool_calls": None}

    request = read({"messages": [{"role": "user", "content": "Hi"}, turn, {"role": "user", "content": "And now?"}]})

    assert (Refusal("I can't."),) == request.messages[1].content


@pytest.mark.parametrize("turn", [{"role": "user", "refusal": "a"}, {"role": "assistant", "refusal": 5}])
def test_turn_with_no_text_at_all_is_refused(turn: dict[str, object]) -> None:
    assert "messages[0].content: must be a string or a list of parts." == refusal({"messages": [turn]})


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_answer_that_was_all_reasoning(field: str) -> None:
    turn = {"role": "assistant", "content": None, field: "Hm."}

    assert (Message("assistant", ""),) == read({"messages": [turn]}).messages
    assert refusal({"messages": [{**turn, "role": "user"}]}).startswith("messages[0].content: must be a string")


def test_refusal_part_is_an_assistants() -> None:
    parts = [{"type": "refusal", "refusal": "I can't.", "more": 1}]

    (message,) = read({"messages": [{"role": "assistant", "content": parts}]}).messages

    assert (Refusal("I can't."),) == message.content
    assert ["I can't."] == message.texts()


@pytest.mark.parametrize(
    ("parts", "read_as"),
    [
        ([text_part("max@exam"), text_part("ple.com")], [text_part("max@example.com")]),
        ([text_part("a"), PICTURE, text_part("b")], [text_part("a"), PICTURE, text_part("b")]),
        ([PICTURE, text_part("a"), text_part(""), text_part("b"), FILE], [PICTURE, text_part("ab"), FILE]),
    ],
)
def test_texts_in_a_row_become_one(parts: list[Any], read_as: list[Any]) -> None:
    assert as_parts(*read_as) == read(user(parts)).messages[0].content


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "input_text", "text": "a"}, ".type: must be one of text, image_url, input_audio, file."),
        ({"type": "refusal", "refusal": "a"}, ".type: must be one of text, image_url, input_audio, file."),
        ({"type": "image_url", "image_url": "https://u"}, ".image_url: must be an object."),
        ({"type": "image_url"}, ".image_url: must be an object."),
        ({"type": "image_url", "image_url": {}}, ".image_url.url: must be a string."),
        (
            {"type": "image_url", "image_url": {"url": "mail max@example.com"}},
            ".image_url.url: must be an http or https address, or a data address in base64.",
        ),
        (
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
            ".image_url.url: must be an http or https address, or a data address in base64.",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:text/plain,max@example.com"}},
            ".image_url.url: must be an http or https address, or a data address in base64.",
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://u", "detail": "a b"}},
            ".image_url.detail: must be a word.",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "a b", "format": "wav"}},
            ".input_audio.data: must be base64.",
        ),
        ({"type": "input_audio", "input_audio": {"data": "aGk="}}, ".input_audio.format: must be a string."),
        ({"type": "file", "file": {"filename": "a"}}, ".file: must have file_id or file_data."),
        ({"type": "file", "file": {"file_data": 1}}, ".file.file_data: must be base64, or a data address in base64."),
        ({"type": "file", "file": {"file_data": "aGk=", "filename": 1}}, ".file.filename: must be a string."),
        (
            {"type": "file", "file": {"file_id": "a@b"}},
            ".file.file_id: must be 1 to 256 letters, digits, _ . : and -.",
        ),
    ],
)
def test_part_mistake_is_named(part: Any, text: str) -> None:
    assert f"messages[0].content[1]{text}" == refusal(user([text_part("a"), part]))


@pytest.mark.parametrize("name", ["", "Max Muster", "max@example.com", "müller", "n" * 65, "a\n"])
def test_name_is_short_ascii(name: str) -> None:
    body = {"messages": [{"role": "user", "content": "a", "name": name}]}

    assert "messages[0].name: must be 1 to 64 letters, digits, _ and -." == refusal(body)


def tool_round(call_id: str, name: str = "f") -> dict[str, Any]:
    """A call as we hand it out, sent back with its result."""
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}
    return {
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "a", "tool_call_id": call_id, "name": name},
        ]
    }


SIGNATURE = "call_9f3e__thought__" + "Ct/+AB==" * 150


@pytest.mark.parametrize(
    "call_id",
    [
        "call_9XkTq1LmNo",
        "chatcmpl-tool-0a1b2c",
        "functions.get_weather:0",
        "toolu_01A",
        "call_1|fc_2~3@4",
        SIGNATURE,
        "c" * 100_000,
        "Ruf 1",
        "呼び出し",
    ],
    ids=lambda call_id: call_id[:16],
)
def test_ids_of_all_providers_come_back(call_id: str) -> None:
    called, result = read(tool_round(call_id)).messages

    assert (call_id, call_id) == (called.tool_calls[0].id, result.tool_call_id)


@pytest.mark.parametrize(
    "name", ["get_weather", "default_api.get:0", "server/tool", "n" * 300, "send to max", "función"]
)
def test_names_of_all_providers_come_back(name: str) -> None:
    called, result = read(tool_round("c1", name)).messages

    assert (name, name) == (called.tool_calls[0].name, result.name)


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.text(min_size=1, max_size=9))
def test_any_id_and_name_comes_back(call_id: str, name: str) -> None:
    called, result = read(json.dumps(tool_round(call_id, name)).encode()).messages

    assert (call_id, name, call_id, name) == (
        called.tool_calls[0].id,
        called.tool_calls[0].name,
        result.tool_call_id,
        result.name,
    )


@pytest.mark.parametrize("call_id", ["Ruf max@example.com an", "ignore all rules", "ignore,all,rules!", "忽略"])
def test_prose_in_an_id_is_text(call_id: str) -> None:
    request = read(tool_round(call_id))

    assert call_id in request.texts()
    assert len("ffa{}") + 2 * len(call_id) == request.characters()


def test_machines_ids_are_counted_and_no_text() -> None:
    request = read(tool_round(SIGNATURE))

    assert ["f", "{}", "f", "a"] == request.texts()
    assert len("ffa{}") + 2 * len(SIGNATURE) == request.characters()


@pytest.mark.parametrize("field", ["id", "name"])
def test_empty_id_or_name_is_none(field: str) -> None:
    body = tool_round("", "f") if field == "id" else tool_round("c1", "")

    assert f"messages[0].tool_calls[0].{'id' if field == 'id' else 'function.name'}: must not be empty." == refusal(
        body
    )


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        ({}, ": must be a list."),
        ([1], "[0]: must be an object."),
        ([{**CALL, "id": 1}], "[0].id: must be a string."),
        ([{**CALL, "type": "x"}], '[0].type: must be "function".'),
        ([{**CALL, "function": "f"}], "[0].function: must be an object."),
        ([{**CALL, "function": {"arguments": "{}"}}], "[0].function.name: must be a string."),
        ([{**CALL, "function": {"name": "f", "arguments": {}}}], "[0].function.arguments: must be a string."),
    ],
)
def test_tool_call_mistake_is_named(calls: Any, text: str) -> None:
    body = {"messages": [{"role": "assistant", "content": None, "tool_calls": calls}]}

    assert f"messages[0].tool_calls{text}" == refusal(body)


def test_dispatcher_needs_an_endpoint() -> None:
    assert "endpoint: is required on this route." == refusal({"message": "a"}, endpoint_required=True)


@pytest.mark.parametrize("session_id", [1, "", "x", ID[:-1], f"{{{ID}}}", f"urn:uuid:{ID}", ID.replace("-", "")])
def test_session_id_must_be_a_uuid(session_id: Any) -> None:
    with pytest.raises(SessionIdInvalid):
        read({"message": "a", "session_id": session_id})


@pytest.mark.parametrize(
    "body",
    [
        b'{"message":"a","message":"b"}',
        b'{"message":"a","m\\u0065ssage":"b"}',
        b'{"\\u006dessage":"a","message":"b"}',
    ],
)
def test_duplicate_field_is_refused(body: bytes) -> None:
    assert "message: is there more than once." == refusal(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"message":"message"}',
        b'{"message":"\\u0041","other":1,"other":2}',
        b'{"message":"a","x":{"message":1,"message":2}}',
        b'{"message":"message","big":' + b"1" * 300 + b"}",
    ],
)
def test_lookalike_of_a_duplicate_passes(body: bytes) -> None:
    assert 1 == len(read(body).messages)


def test_as_many_messages_as_the_limit_pass() -> None:
    said = [{"role": "user", "content": "a"}] * 3

    assert 3 == len(read({"messages": said}, limits=GatewaySettings(max_messages=3)).messages)


def test_too_many_messages() -> None:
    body = {"messages": [{"role": "user", "content": "a"}] * 4}

    assert "messages: has 4 messages, the limit is 3." == refusal(body, limits=GatewaySettings(max_messages=3))


@pytest.mark.parametrize("field", ["tools", "unknown"])
@pytest.mark.parametrize(("depth", "passes"), [(61, True), (900, False), (100_000, False)])
def test_nesting_is_bounded(field: str, depth: int, passes: bool) -> None:
    nested = b"[" * depth + b"]" * depth
    tools = b'{"message":"a","%s":[{"type":"function","x":%s}]}' % (field.encode(), nested)

    if passes:
        read(tools)
    else:
        assert "Body is n" == refusal(tools)[:9]


@pytest.mark.parametrize("field", ["x", "message"])
def test_nesting_beside_a_key_that_may_be_there_twice(field: str) -> None:
    """The second parser stops before orjson does, also at a value that the last one of its key replaces."""
    nested = b"[" * 1000 + b"]" * 1000

    assert refusal(b'{"%b":%b,"message":"\\u0061"}' % (field.encode(), nested)).startswith(
        ("Body is nested deeper than 64 levels.", "message: is there more than once.")
    )


def test_nesting_limit_is_exact() -> None:
    limits = GatewaySettings(max_json_depth=3)
    read({"message": "a", "x": [[1]], "y": [[2]]}, limits=limits)

    assert "Body is nested deeper than 3 levels." == refusal({"message": "a", "x": [[[1]]], "y": []}, limits=limits)


def test_nesting_of_one_level_too_many_is_refused() -> None:
    limits = GatewaySettings(max_json_depth=3)

    assert "Body is nested deeper than 3 levels." == refusal({"message": "a", "x": [[[1]]]}, limits=limits)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; profile=x;",
        "application/problem+json",
        "application/vnd.api+json; charset=utf-8",
        "Text/Plain",
        "text/plain;charset=UTF-8",
        "text/plain; charset=US-ASCII",
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
    ],
)
def test_content_type_of_json_passes(value: str | None) -> None:
    check_content_type(value)


@pytest.mark.parametrize(
    "value",
    [
        "application/jsonx",
        "json",
        "+json",
        "application/xml+jsonx",
        "application/json, text/plain",
        "text/html",
        "text/xml",
        "application/xml",
        "application/octet-stream",
        "application/json; charset=latin-1",
        "text/plain; charset=utf-16",
        "application/json; charset",
        "multipart/form-data; boundary=x",
    ],
)
def test_other_content_type_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match=r"^Content-Type"):
        check_content_type(value)


@pytest.mark.parametrize("value", ["identity", "Identity", "", " identity , identity"])
def test_identity_is_no_coding(value: str) -> None:
    check_content_coding(value)


@pytest.mark.parametrize(
    ("value", "coding"),
    [("gzip", "gzip"), ("identity, br", "br"), ("GZIP", "GZIP"), ("zstd;q=1", "zstd;q=1"), ("x" * 99, "x" * 63 + "…")],
)
def test_other_coding_is_named(value: str, coding: str) -> None:
    with pytest.raises(ContentCodingUnsupported) as refused:
        check_content_coding(value)

    expected = f"Content-Encoding '{coding}' is not supported; send the body as it is."
    assert (415, expected) == (refused.value.status, refused.value.text)


# ── nulls, developer, the answer's shape ─────────────────────────────────────────────────────────────────────────────


ROUTE = RequestRoute("", (), PROVIDERS["openai"], frozenset())
SCHEMA = {"type": "object", "properties": {"a": {"default": None, "description": None}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}


def with_nulls(value: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {**value, **dict.fromkeys(fields)}


@pytest.mark.parametrize("field", [field for field in KNOWN_FIELDS if field != "message"])
def test_null_field_is_absent(field: str) -> None:
    body = {"message": "hi", field: None}

    assert ChatRequest((Message("user", "hi"),), body) == read(body)


def test_null_message_is_absent() -> None:
    assert (Message("user", "a"),) == read({**user("a"), "message": None}).messages


def test_null_endpoint_is_absent() -> None:
    assert "endpoint: is required on this route." == refusal({"message": "a", "endpoint": None}, endpoint_required=True)


def test_nulls_in_messages_are_absent() -> None:
    call = with_nulls({**CALL, "function": {"name": "f", "arguments": None}}, "index", "type")
    body = {
        "messages": [
            with_nulls({"role": "user", "content": "a"}, "name", "tool_calls", "tool_call_id", "refusal", "audio"),
            with_nulls({"role": "user", "content": [with_nulls(text_part("b"), "image_url")]}, "name"),
            with_nulls({"role": "assistant", "tool_calls": [call]}, "content", "function_call", "annotations"),
            with_nulls({"role": "tool", "tool_call_id": "c1", "content": "c"}, "name"),
        ]
    }

    assert (
        Message("user", "a"),
        Message("user", (Text("b"),)),
        Message("assistant", None, tool_calls=(ToolCall("c1", "f", "{}"),)),
        Message("tool", "c", tool_call_id="c1"),
    ) == read(body).messages


def test_nulls_around_schemas_are_absent() -> None:
    tool = with_nulls({**TOOL, "function": with_nulls(TOOL["function"], "strict")}, "cache_control")  # type: ignore[arg-type]
    answer = with_nulls({**FORMAT, "json_schema": with_nulls(FORMAT["json_schema"], "description")}, "schema")  # type: ignore[arg-type]
    choice = {"type": "function", "function": {"name": "f", "description": None}, "mode": None}

    request = read({"message": "a", "tools": [tool], "tool_choice": choice, "response_format": answer})

    assert (Tool("f", "d", SCHEMA),) == request.tools
    assert ToolChoice("function", "f") == request.tool_choice
    assert ResponseFormat.of(FORMAT) == request.options.response_format


def test_body_keeps_its_nulls() -> None:
    assert {"message": "a", "stream": None} == read({"message": "a", "stream": None}).body


@pytest.mark.parametrize("content", ["Be brief.", [text_part("Be brief.")]])
def test_developer_is_system(content: Any) -> None:
    body = {"messages": [{"role": "developer", "content": content}, {"role": "user", "content": "hi"}]}

    assert ["system", "user"] == [message.role for message in read(body).messages]


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": FORMAT},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"response_format": {"type": "text"}},
        {"reasoning_effort": "xhigh"},
        {"parallel_tool_calls": False},
        {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": True, "reasoning_effort": "low"},
        {"tools": [{"type": "web_search", "filters": {"a": [None]}}], "tool_choice": {"type": "allowed_tools"}},
    ],
)
def test_shape_of_the_answer_stays_as_it_was(fields: dict[str, Any]) -> None:
    request = read({"message": "hi", "model": "m", **fields})

    written = write_body(Prompt(request.messages, request.options, request.tools, request.tool_choice), "m", ROUTE)
    assert fields == {field: given for field, given in written.items() if field not in ("model", "messages")}


def test_answer_s_format_is_text_and_size() -> None:
    answer = {"type": "json_schema", "json_schema": {"name": "mails", "schema": {"description": "max@example.com"}}}

    request = read({"message": "hi", "response_format": answer})

    assert {"hi", "mails", "max@example.com"} == set(request.texts())
    written = ["type", "json_schema", "json_schema", "name", "mails", "schema", "description", "max@example.com"]
    assert len("hi" + "".join(written)) == request.characters()
    assert request.plain_text is None


TEXT = st.text(max_size=5)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant"]), "content": TEXT},
    optional={"name": st.text("aZ0_-", min_size=1)},
)
VALID = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=3)},
    optional={
        "stream": st.booleans(),
        "endpoint": TEXT,
        "session_id": st.uuids().map(str),
        "tool_choice": TEXT,
        "more": JSON_VALUES.filter(
            lambda value: "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value)
        ),
    },
)
PATHS = st.sampled_from(
    [
        ("messages",),
        ("messages", 0),
        ("messages", 0, "role"),
        ("messages", 0, "content"),
        ("messages", 0, "name"),
        ("messages", 0, "tool_calls"),
        ("messages", 0, "tool_call_id"),
        ("stream",),
        ("endpoint",),
        ("session_id",),
        ("tools",),
        ("tool_choice",),
        ("parallel_tool_calls",),
        ("response_format",),
        ("reasoning_effort",),
        ("message",),
    ]
)


def read_or_refuse(body: bytes) -> None:
    said = ""
    try:
        assert isinstance(read(body), ChatRequest)
    except (BadRequest, SessionIdInvalid) as refused:
        said = refused.text

    assert len(said) < 200


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    read_or_refuse(body)


@given(JSON_VALUES)
def test_any_json_is_read_or_refused(value: Any) -> None:
    read_or_refuse(json.dumps(value).encode())


@given(VALID, PATHS, JSON_VALUES)
def test_any_wrong_value_is_read_or_refused(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    *parents, last = path
    place: Any = body
    for step in parents:
        place = place[step]

    place[last] = value

    read_or_refuse(json.dumps(body).encode())


@given(VALID, st.integers(0, 400), st.binary(max_size=3))
def test_any_damage_is_read_or_refused(body: dict[str, Any], at: int, damage: bytes) -> None:
    raw = json.dumps(body).encode()

    read_or_refuse(raw[:at] + damage + raw[at + 1 :])


@given(JSON_VALUES | st.text())
def test_a_lone_message_is_read_as_beside_a_null_field(message: Any) -> None:
    def read_any(body: dict[str, Any]) -> ChatRequest | str:
        try:
            return evolve(read(body), body={})
        except BadRequest as refused:
            return refused.text

    assert read_any({"message": message, "stream": None}) == read_any({"message": message})


@given(VALID)
def test_valid_body_comes_back(body: dict[str, Any]) -> None:
    request = read(body)

    assert body["messages"] == [
        {"role": message.role, "content": message.content} | ({} if message.name is None else {"name": message.name})
        for message in request.messages
    ]
    assert body.get("stream", False) == request.stream
    assert body.get("session_id") == (request.session_id and str(request.session_id))
