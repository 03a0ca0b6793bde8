"""The `openai` package, its synchronous client."""

from __future__ import annotations

import json
from typing import Any

import openai
from answering import Question, answer_questions, scenario
from openai import OpenAI
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai_client import Weather, open_client, usage_of
from openai_shapes import check_error, check_shape, check_stream
from questions import QUESTION, RESULT, WEATHER, conversation


@scenario
def chat(question: Question) -> Any:
    with open_client(question) as client:
        made = client.chat.completions.create(
            model=question["model"], messages=conversation(question), **question.get("options", {})
        )
    [choice] = made.choices
    return {
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "usage": usage_of(made.usage),
        "reasoning": getattr(choice.message, "reasoning_content", None),
    }


@scenario
def stream(question: Question) -> Any:
    """By the iterator, as most programs do."""
    text, reasoning, finish, usage = "", "", None, None
    with open_client(question) as client:
        chunks = client.chat.completions.create(
            model=question["model"],
            messages=conversation(question),
            stream=True,
            stream_options={"include_usage": True},
            **question.get("options", {}),
        )
        for chunk in chunks:
            usage = usage_of(chunk.usage) or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasoning += getattr(choice.delta, "reasoning_content", None) or ""
                finish = choice.finish_reason or finish
    return {"text": text, "finish": finish, "usage": usage, "reasoning": reasoning or None}


@scenario
def stream_helper(question: Question) -> Any:
    """By the helper that puts the answer together."""
    with open_client(question) as client:
        call = client.chat.completions.stream(model=question["model"], messages=conversation(question))
        with call as events:
            kinds = [event.type for event in events]
            made = events.get_final_completion()
    [choice] = made.choices
    return {"text": choice.message.content, "finish": choice.finish_reason, "kinds": sorted(set(kinds))}


@scenario
def tools(question: Question, stream: bool = False) -> Any:
    """A round: the question, the call, its result, the answer."""
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    calls: list[Any] = []
    with open_client(question) as client:
        for _ in range(2):
            message = ask_with_tools(client, question, messages, stream)
            messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
            for call in message.tool_calls or []:
                calls.append([call.function.name, json.loads(call.function.arguments)])
                messages.append({"role": "tool", "tool_call_id": call.id, "content": RESULT})
    return {"calls": calls, "text": message.content}


@scenario
def stream_tools(question: Question) -> Any:
    return tools(question, stream=True)


def ask_with_tools(client: OpenAI, question: Question, messages: list[Any], stream: bool) -> Any:
    if not stream:
        made = client.chat.completions.create(model=question["model"], messages=messages, tools=[WEATHER])
        return made.choices[0].message
    with client.chat.completions.stream(model=question["model"], messages=messages, tools=[WEATHER]) as events:
        return events.get_final_completion().choices[0].message


@scenario
def structured(question: Question) -> Any:
    with open_client(question) as client:
        made = client.chat.completions.parse(
            model=question["model"], messages=conversation(question), response_format=Weather
        )
    parsed = made.choices[0].message.parsed
    assert isinstance(parsed, Weather)
    return parsed.model_dump()


@scenario
def models(question: Question) -> Any:
    with open_client(question) as client:
        listed = [model.id for model in client.models.list()]
        # Each of them is found by its name, too.
        assert listed == [client.models.retrieve(name).id for name in listed]
    return listed


@scenario
def headers(question: Question) -> Any:
    with open_client(question) as client:
        raw = client.chat.completions.with_raw_response.create(model=question["model"], messages=conversation(question))
        assert isinstance(raw.parse(), ChatCompletion)
        return dict(raw.headers)


@scenario
def cancel(question: Question) -> Any:
    """Leave a stream after its first text."""
    with open_client(question) as client:
        chunks = client.chat.completions.create(model=question["model"], messages=conversation(question), stream=True)
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                chunks.close()
                return chunk.choices[0].delta.content
    return None


@scenario
def shape(question: Question) -> Any:
    """The raw answer held against OpenAI's own types."""
    asked = {"model": question["model"], "messages": conversation(question), **question.get("options", {})}
    with open_client(question) as client:
        raw = client.chat.completions.with_raw_response.create(**asked)
        check_shape(ChatCompletion, raw.text)
        return raw.text


@scenario
def stream_shape(question: Question) -> Any:
    """Every chunk of the raw stream held against OpenAI's own types; how many there were."""
    asked = {"model": question["model"], "messages": conversation(question), **question.get("options", {})}
    with open_client(question) as client:
        call = client.chat.completions.with_streaming_response.create(**asked, stream=True)
        with call as raw:
            return check_stream(ChatCompletionChunk, raw.read())


@scenario
def error_shape(question: Question) -> Any:
    """The raw body of a failure held against OpenAI's error object; what it says, and the header fields."""
    try:
        chat(question)
    except openai.APIStatusError as error:
        check_error(error.response.text)
        return {"type": error.type, "param": error.param, "code": error.code, "headers": dict(error.response.headers)}
    return None


@scenario
def model_shape(question: Question) -> Any:
    with open_client(question) as client:
        raw = client.models.with_raw_response.retrieve(question["model"])
        check_shape(Model, raw.text, frozenset({"is_alias"}))
        for model in json.loads(client.models.with_raw_response.list().text)["data"]:
            check_shape(Model, json.dumps(model), frozenset({"is_alias"}))


@scenario
def embeddings(question: Question) -> Any:
    """The same texts as floats, as base64 (what the SDK asks for by itself), and shorter."""
    asked: dict[str, Any] = {"model": question["model"], "input": ["one", "two"]}
    with open_client(question) as client:
        raw = client.embeddings.with_raw_response.create(**asked, encoding_format="float")
        check_shape(CreateEmbeddingResponse, raw.text)
        floats = [item.embedding for item in raw.parse().data]
        packed = [item.embedding for item in client.embeddings.create(**asked).data]
    near = all(
        abs(one - other) < 1e-6 for a, b in zip(floats, packed, strict=True) for one, other in zip(a, b, strict=True)
    )
    return {"sizes": [len(each) for each in floats], "same": near}


if __name__ == "__main__":
    answer_questions()
