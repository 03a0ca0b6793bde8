"""What of a request counts as text: for guardrails, and for the estimate of tokens."""

from __future__ import annotations

from pg_trio.domain.chat import ChatRequest, Message, Prompt, Reply, ToolCall, json_texts
from pg_trio.domain.content import Text
from pg_trio.domain.tools import ToolChoice
from tests.support.content import parts, tool

CALL = ToolCall("call_1", "send", '{"to":"x"}')
FILE = {"type": "file", "file": {"file_data": "aGk=", "filename": "plan.pdf"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/long/path"}}
TOOL = {"type": "function", "function": {"name": "send", "parameters": {"enum": ["letter", 42, True, None, 1.5]}}}


def test_message_tells_all_its_texts() -> None:
    content = parts({"type": "text", "text": "hi"}, IMAGE, FILE, {"type": "refusal", "refusal": "no"})
    message = Message("assistant", content, name="ann", tool_calls=(CALL,))

    assert ["ann", "hi", "plan.pdf", "no", "send", '{"to":"x"}'] == message.texts()


def test_ids_are_no_text() -> None:
    result = Message("tool", "done", tool_call_id="call_1")

    assert ["done"] == result.texts()
    assert ["call_1"] == result.ids()
    assert ["call_1"] == Message("assistant", None, tool_calls=(CALL,)).ids()


def test_plain_request_is_its_message() -> None:
    request = ChatRequest((Message("user", "hello"),), {})

    assert ("hello", 5) == (request.text(), request.characters())


def test_messages_are_joined_with_lines() -> None:
    request = ChatRequest((Message("system", "a"), Message("user", "b", name="n")), {})

    assert ("a\nn\nb", 3) == (request.text(), request.characters())


def test_tools_say_something_too() -> None:
    request = ChatRequest((Message("user", "hi"),), {}, tools=(tool(TOOL),), tool_choice=ToolChoice("function", "send"))

    assert ["1.5", "42", "hi", "letter", "send", "send"] == sorted(request.texts())


def test_tools_count_whole() -> None:
    # The words of the format too: as values of an enum they cost what others cost.
    request = ChatRequest((Message("user", "hi"),), {}, tools=(tool({"enum": ["string"] * 1000}),))

    assert 2 + len("enum") + 1000 * len("string") == request.characters()


def test_ids_count() -> None:
    request = ChatRequest((Message("tool", "done", tool_call_id="call_1"),), {})

    assert len("done") + len("call_1") == request.characters()


def test_json_texts_of_deep_values() -> None:
    value: object = "leaf"
    for _ in range(5000):
        value = {"k": [value]}

    assert 5001 == len(json_texts(value))


def test_prompt_counts_what_its_request_counts() -> None:
    messages = (
        Message("user", "hello", name="ann"),
        Message("assistant", None, tool_calls=(CALL,)),
        Message("tool", "ok", tool_call_id="call_1"),
        Message("user", (Text("hi"),)),
    )
    choice = ToolChoice("function", "send")
    request = ChatRequest(messages, {}, tools=(tool(TOOL),), tool_choice=choice)
    prompt = Prompt(messages, tools=(tool(TOOL),), tool_choice=choice)

    texts, ids = 'helloannsend{"to":"x"}okhi', "call_1call_1"
    tools = "sendenumletter421.5send"
    assert len(texts) + len(ids) + len(tools) == request.characters() == prompt.characters()


def test_reply_counts_all_that_was_written() -> None:
    reply = Reply("1", "m", "hello", "tool_calls", tool_calls=(CALL,), reasoning="hm")

    assert len('hellosend{"to":"x"}hm') == reply.characters()
