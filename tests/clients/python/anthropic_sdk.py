"""The `anthropic` package, its synchronous client."""

from __future__ import annotations

from typing import Any

import anthropic
from answering import Question, answer_questions, scenario
from anthropic import NOT_GIVEN, Anthropic
from anthropic.types import Message
from anthropic_shapes import check_stream
from openai_shapes import check_shape
from questions import QUESTION, RESULT, WEATHER, conversation

TOOL = {
    "name": "get_weather",
    "description": WEATHER["function"]["description"],
    "input_schema": WEATHER["function"]["parameters"],
}
# 1×1, the smallest PNG.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
FINISHES = {"end_turn": "stop"}


def open_client(question: Question) -> Anthropic:
    return Anthropic(
        base_url=question["base"],
        # Which header the token goes in is the program's choice.
        **{question.get("token_as", "api_key"): question["token"]},
        max_retries=question.get("max_retries", 0),
        timeout=question.get("timeout", NOT_GIVEN),
        default_headers=question.get("headers"),
    )


def asked(question: Question) -> dict[str, Any]:
    return {
        "model": question["model"],
        "max_tokens": 1_000,
        "messages": conversation(question),
        **question.get("options", {}),
    }


def described(message: Message) -> dict[str, Any]:
    usage = message.usage
    return {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "finish": FINISHES.get(str(message.stop_reason), message.stop_reason),
        "usage": [usage.input_tokens, usage.output_tokens],
        "reasoning": "".join(block.thinking for block in message.content if block.type == "thinking") or None,
    }


@scenario
def chat(question: Question) -> Any:
    with open_client(question) as client:
        return described(client.messages.create(**asked(question)))


@scenario
def stream(question: Question) -> Any:
    """By the events as they come."""
    gave: dict[str, Any] = {"text": "", "finish": None, "usage": None, "reasoning": ""}
    with open_client(question) as client:
        for event in client.messages.create(**asked(question), stream=True):
            if event.type == "message_delta":
                gave["finish"] = FINISHES.get(str(event.delta.stop_reason), event.delta.stop_reason)
                gave["usage"] = [event.usage.input_tokens, event.usage.output_tokens]
            elif event.type == "content_block_delta":
                gave["text"] += getattr(event.delta, "text", "")
                gave["reasoning"] += getattr(event.delta, "thinking", "")
    return gave


@scenario
def stream_helper(question: Question) -> Any:
    with open_client(question) as client, client.messages.stream(**asked(question)) as events:
        text = "".join(events.text_stream)
        made = described(events.get_final_message())
    assert text == made["text"]
    return made


@scenario
def tools(question: Question) -> Any:
    return round_of_tools(question, streamed=False)


@scenario
def stream_tools(question: Question) -> Any:
    return round_of_tools(question, streamed=True)


def round_of_tools(question: Question, *, streamed: bool) -> Any:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    calls: list[Any] = []
    with open_client(question) as client:
        for _ in range(2):
            call: dict[str, Any] = {**asked(question), "messages": messages, "tools": [TOOL]}
            if streamed:
                with client.messages.stream(**call) as events:
                    made: Message = events.get_final_message()
            else:
                made = client.messages.create(**call)
            messages.append({"role": "assistant", "content": made.content})
            used = [block for block in made.content if block.type == "tool_use"]
            calls += [[block.name, block.input] for block in used]
            results = [{"type": "tool_result", "tool_use_id": block.id, "content": RESULT} for block in used]
            messages.append({"role": "user", "content": results})
    return {"calls": calls, "text": described(made)["text"]}


@scenario
def headers(question: Question) -> Any:
    with open_client(question) as client:
        raw = client.messages.with_raw_response.create(**asked(question))
        return {**raw.headers, "request id": raw.request_id}


@scenario
def cancel(question: Question) -> Any:
    with open_client(question) as client, client.messages.stream(**asked(question)) as events:
        for text in events.text_stream:
            return text
    return None


@scenario
def count_tokens(question: Question) -> Any:
    with open_client(question) as client:
        return client.messages.count_tokens(model=question["model"], messages=conversation(question)).input_tokens


@scenario
def image(question: Question) -> Any:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    with open_client(question) as client:
        return described(
            client.messages.create(**{**asked(question), "messages": [{"role": "user", "content": parts}]})
        )


@scenario
def message_shape(question: Question) -> Any:
    with open_client(question) as client:
        raw = client.messages.with_raw_response.create(**asked(question))
        check_shape(Message, raw.text(), frozenset())


@scenario
def message_stream_shape(question: Question) -> Any:
    with open_client(question) as client:
        call = client.messages.with_streaming_response.create(**asked(question), stream=True)
        with call as raw:
            return check_stream(raw.read())


@scenario
def message_error_shape(question: Question) -> Any:
    try:
        chat(question)
    except anthropic.APIStatusError as error:
        body = error.response.json()
        return {"body": body, "headers": dict(error.response.headers)}
    return None


if __name__ == "__main__":
    answer_questions()
