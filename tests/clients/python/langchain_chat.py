"""`ChatOpenAI` of the `langchain-openai` package; with the word `responses`, on OpenAI's Responses API."""

from __future__ import annotations

import sys
from typing import Any

from answering import Question, answer_questions, scenario
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from questions import QUESTION, RESULT, WEATHER

# What it sends and reads differs, what a program does with it does not.
MODE: dict[str, Any] = {"use_responses_api": True, "store": False} if sys.argv[1:] == ["responses"] else {}
# The Responses API tells how an answer ended in a word of its own.
FINISHES = {"completed": "stop"}


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: int


def open_model(question: Question, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=question["model"],
        base_url=question["base"] + "/v1",
        api_key=question["token"],
        max_retries=question.get("max_retries", 0),
        timeout=question.get("timeout"),
        default_headers=question.get("headers"),
        **question.get("options", {}),
        **MODE,
        **more,
    )


def content_of(question: Question) -> str:
    return str(question.get("content", "Hello there"))


def described(message: AIMessage) -> dict[str, Any]:
    usage = message.usage_metadata
    about = message.response_metadata
    return {
        "text": message.text,
        "finish": about.get("finish_reason") or FINISHES.get(about.get("status", "")),
        "usage": None if usage is None else [usage["input_tokens"], usage["output_tokens"]],
    }


@scenario
def chat(question: Question) -> Any:
    return described(open_model(question).invoke(content_of(question)))


@scenario
def stream(question: Question) -> Any:
    model = open_model(question, stream_usage=True)
    return described(add_up(model, [HumanMessage(content_of(question))]))


def add_up(model: Any, messages: list[Any]) -> AIMessageChunk:
    whole: AIMessageChunk | None = None
    for chunk in model.stream(messages):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


@scenario
def tools(question: Question) -> Any:
    return round_of_tools(question, stream=False)


@scenario
def stream_tools(question: Question) -> Any:
    return round_of_tools(question, stream=True)


def round_of_tools(question: Question, *, stream: bool) -> Any:
    model = open_model(question).bind_tools([WEATHER])
    messages: list[Any] = [HumanMessage(QUESTION)]
    calls: list[Any] = []
    for _ in range(2):
        message = add_up(model, messages) if stream else model.invoke(messages)
        messages.append(message)
        for call in message.tool_calls:
            calls.append([call["name"], call["args"]])
            messages.append(ToolMessage(RESULT, tool_call_id=call["id"]))
    return {"calls": calls, "text": message.text}


@scenario
def structured(question: Question) -> Any:
    made = open_model(question).with_structured_output(Weather).invoke(content_of(question))
    assert isinstance(made, Weather)
    return made.model_dump()


@scenario
def headers(question: Question) -> Any:
    return open_model(question, include_response_headers=True).invoke("Hello there").response_metadata["headers"]


@scenario
def cancel(question: Question) -> Any:
    chunks = open_model(question).stream(content_of(question))
    for chunk in chunks:
        if chunk.text:
            chunks.close()
            return chunk.text
    return None


@scenario
def embeddings(question: Question) -> Any:
    """Plain texts, and LangChain's default of token numbers."""
    made = OpenAIEmbeddings(
        model=question["model"],
        base_url=question["base"] + "/v1",
        api_key=question["token"],
        check_embedding_ctx_length=False,
        max_retries=0,
    )
    vectors = made.embed_documents(["one", "two"])
    return {"sizes": [len(vector) for vector in vectors], "same": made.embed_query("one") == vectors[0]}


if __name__ == "__main__":
    answer_questions()
