"""LiteLLM's SDK, with the gateway as a server of OpenAI's API (`openai/MODEL`)."""

from __future__ import annotations

import json
import os
from typing import Any

# Without this it fetches a list of prices from elsewhere when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from answering import Question, answer_questions, scenario
from pydantic import BaseModel
from questions import QUESTION, RESULT, WEATHER, conversation

litellm.suppress_debug_info = True
litellm.telemetry = False


class Weather(BaseModel):
    city: str
    degrees: int


def complete(question: Question, **more: Any) -> Any:
    asked: dict[str, Any] = {"messages": conversation(question), **question.get("options", {}), **more}
    return litellm.completion(
        model="openai/" + question["model"],
        api_base=question["base"] + "/v1",
        api_key=question["token"],
        max_retries=question.get("max_retries", 0),
        timeout=question.get("timeout"),
        extra_headers=question.get("headers"),
        **asked,
    )


def described(made: Any) -> dict[str, Any]:
    [choice] = made.choices
    usage = getattr(made, "usage", None)
    return {
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "usage": None if usage is None else [usage.prompt_tokens, usage.completion_tokens],
        "reasoning": getattr(choice.message, "reasoning_content", None),
    }


@scenario
def chat(question: Question) -> Any:
    return described(complete(question))


@scenario
def stream(question: Question) -> Any:
    return described(add_up(complete(question, stream=True, stream_options={"include_usage": True})))


def add_up(chunks: Any) -> Any:
    return litellm.stream_chunk_builder(list(chunks))


@scenario
def tools(question: Question) -> Any:
    return round_of_tools(question, stream=False)


@scenario
def stream_tools(question: Question) -> Any:
    return round_of_tools(question, stream=True)


def round_of_tools(question: Question, *, stream: bool) -> Any:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    calls: list[Any] = []
    for _ in range(2):
        made = complete(question, messages=messages, tools=[WEATHER], stream=stream)
        message = (add_up(made) if stream else made).choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls or []:
            calls.append([call.function.name, json.loads(call.function.arguments)])
            messages.append({"role": "tool", "tool_call_id": call.id, "content": RESULT})
    return {"calls": calls, "text": message.content}


@scenario
def structured(question: Question) -> Any:
    made = complete(question, response_format=Weather)
    return Weather.model_validate_json(made.choices[0].message.content).model_dump()


@scenario
def cancel(question: Question) -> Any:
    chunks = complete(question, stream=True)
    for chunk in chunks:
        if chunk.choices[0].delta.content:
            chunks.completion_stream.close()
            return chunk.choices[0].delta.content
    return None


@scenario
def embeddings(question: Question) -> Any:
    made = litellm.embedding(
        model="openai/" + question["model"],
        input=["one", "two"],
        api_base=question["base"] + "/v1",
        api_key=question["token"],
    )
    return {"sizes": [len(item["embedding"]) for item in made.data], "same": True}


if __name__ == "__main__":
    answer_questions()
