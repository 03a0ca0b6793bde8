"""The Responses API of the `openai` package, its synchronous client."""

from __future__ import annotations

import json
from typing import Any

from answering import Question, answer_questions, scenario
from openai.types.responses import Response, ResponseStreamEvent
from openai_client import Weather, open_client
from openai_shapes import check_shape
from pydantic import TypeAdapter
from questions import QUESTION, RESULT, WEATHER

TOOL = {"type": "function", **WEATHER["function"]}
FINISHES = {"completed": "stop"}


def asked(question: Question) -> dict[str, Any]:
    return {
        "model": question["model"],
        "input": question.get("content", "Hello there"),
        "store": False,
        **question.get("options", {}),
    }


def described(made: Response) -> dict[str, Any]:
    usage = made.usage
    return {
        "text": made.output_text,
        "finish": FINISHES.get(str(made.status), made.status),
        "usage": None if usage is None else [usage.input_tokens, usage.output_tokens],
    }


@scenario
def chat(question: Question) -> Any:
    with open_client(question) as client:
        return described(client.responses.create(**asked(question)))


@scenario
def stream(question: Question) -> Any:
    """By the events as they come; a response that failed is told as the last of them."""
    text, made = "", None
    with open_client(question) as client:
        for event in client.responses.create(**asked(question), stream=True):
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.completed":
                made = event.response
            elif event.type in ("response.failed", "response.incomplete"):
                raise RuntimeError(f"{event.type}: {event.response.error}")
    if made is None:
        raise RuntimeError("the stream ended without its last event")
    assert text == made.output_text
    return described(made)


@scenario
def stream_helper(question: Question) -> Any:
    with open_client(question) as client, client.responses.stream(**asked(question)) as events:
        return described(events.get_final_response())


@scenario
def tools(question: Question) -> Any:
    return round_of_tools(question, streamed=False)


@scenario
def stream_tools(question: Question) -> Any:
    return round_of_tools(question, streamed=True)


def round_of_tools(question: Question, *, streamed: bool) -> Any:
    items: list[Any] = [{"role": "user", "content": QUESTION}]
    calls: list[Any] = []
    with open_client(question) as client:
        for _ in range(2):
            call: dict[str, Any] = {**asked(question), "input": items, "tools": [TOOL]}
            if streamed:
                with client.responses.stream(**call) as events:
                    made: Response = events.get_final_response()
            else:
                made = client.responses.create(**call)
            for item in made.output:
                items.append(item.model_dump(exclude_none=True, exclude={"parsed_arguments"}))
                if item.type == "function_call":
                    calls.append([item.name, json.loads(item.arguments)])
                    items.append({"type": "function_call_output", "call_id": item.call_id, "output": RESULT})
    return {"calls": calls, "text": made.output_text}


@scenario
def structured(question: Question) -> Any:
    with open_client(question) as client:
        made = client.responses.parse(**asked(question), text_format=Weather)
    assert isinstance(made.output_parsed, Weather)
    return made.output_parsed.model_dump()


@scenario
def headers(question: Question) -> Any:
    with open_client(question) as client:
        return dict(client.responses.with_raw_response.create(**asked(question)).headers)


@scenario
def cancel(question: Question) -> Any:
    with open_client(question) as client:
        events = client.responses.create(**asked(question), stream=True)
        for event in events:
            if event.type == "response.output_text.delta":
                events.close()
                return event.delta
    return None


@scenario
def response_shape(question: Question) -> Any:
    with open_client(question) as client:
        check_shape(Response, client.responses.with_raw_response.create(**asked(question)).text, frozenset())


@scenario
def response_stream_shape(question: Question) -> Any:
    """Every event of the raw stream held against OpenAI's own types; their types in order."""
    events: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    kinds = []
    with open_client(question) as client:
        call = client.responses.with_streaming_response.create(**asked(question), stream=True)
        with call as raw:
            for block in raw.read().decode().removesuffix("\n\n").split("\n\n"):
                [data] = [line for line in block.split("\n") if line.startswith("data: ")]
                text = data.removeprefix("data: ")
                check_shape(type(events.validate_json(text)), text, frozenset())
                kinds.append(json.loads(text)["type"])
    return kinds


if __name__ == "__main__":
    answer_questions()
