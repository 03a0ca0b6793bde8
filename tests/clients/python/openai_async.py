"""The `openai` package, its asynchronous client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from answering import Question, answer_questions, scenario
from openai import NOT_GIVEN, AsyncOpenAI
from openai_client import Weather, usage_of
from questions import QUESTION, RESULT, WEATHER, conversation


def in_loop(run: Callable[[Question, AsyncOpenAI], Awaitable[Any]]) -> Callable[[Question], Any]:
    """A scenario that runs in an event loop of its own, with a client of its own."""

    @wraps(run)
    def answer(question: Question) -> Any:
        async def with_client() -> Any:
            async with open_client(question) as client:
                return await run(question, client)

        return asyncio.run(with_client())

    return scenario(answer)


def open_client(question: Question) -> AsyncOpenAI:
    return AsyncOpenAI(
        base_url=question["base"] + "/v1",
        api_key=question["token"],
        max_retries=question.get("max_retries", 0),
        timeout=question.get("timeout", NOT_GIVEN),
        default_headers=question.get("headers"),
    )


@in_loop
async def chat(question: Question, client: AsyncOpenAI) -> Any:
    made = await client.chat.completions.create(
        model=question["model"], messages=conversation(question), **question.get("options", {})
    )
    [choice] = made.choices
    return {
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "usage": usage_of(made.usage),
        "reasoning": getattr(choice.message, "reasoning_content", None),
    }


@in_loop
async def stream(question: Question, client: AsyncOpenAI) -> Any:
    text, reasoning, finish, usage = "", "", None, None
    chunks = await client.chat.completions.create(
        model=question["model"],
        messages=conversation(question),
        stream=True,
        stream_options={"include_usage": True},
        **question.get("options", {}),
    )
    async for chunk in chunks:
        usage = usage_of(chunk.usage) or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason or finish
    return {"text": text, "finish": finish, "usage": usage, "reasoning": reasoning or None}


@in_loop
async def stream_helper(question: Question, client: AsyncOpenAI) -> Any:
    call = client.chat.completions.stream(model=question["model"], messages=conversation(question))
    async with call as events:
        made = await events.get_final_completion()
    return {"text": made.choices[0].message.content, "finish": made.choices[0].finish_reason}


@in_loop
async def tools(question: Question, client: AsyncOpenAI) -> Any:
    return await round_of_tools(question, client, stream=False)


@in_loop
async def stream_tools(question: Question, client: AsyncOpenAI) -> Any:
    return await round_of_tools(question, client, stream=True)


async def round_of_tools(question: Question, client: AsyncOpenAI, *, stream: bool) -> Any:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    calls: list[Any] = []
    for _ in range(2):
        asked: dict[str, Any] = {"model": question["model"], "messages": messages, "tools": [WEATHER]}
        if stream:
            async with client.chat.completions.stream(**asked) as events:
                message: Any = (await events.get_final_completion()).choices[0].message
        else:
            message = (await client.chat.completions.create(**asked)).choices[0].message
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in message.tool_calls or []:
            calls.append([call.function.name, json.loads(call.function.arguments)])
            messages.append({"role": "tool", "tool_call_id": call.id, "content": RESULT})
    return {"calls": calls, "text": message.content}


@in_loop
async def structured(question: Question, client: AsyncOpenAI) -> Any:
    made = await client.chat.completions.parse(
        model=question["model"], messages=conversation(question), response_format=Weather
    )
    parsed = made.choices[0].message.parsed
    assert isinstance(parsed, Weather)
    return parsed.model_dump()


@in_loop
async def models(question: Question, client: AsyncOpenAI) -> Any:
    return [model.id async for model in client.models.list()]


@in_loop
async def headers(question: Question, client: AsyncOpenAI) -> Any:
    raw = await client.chat.completions.with_raw_response.create(
        model=question["model"], messages=conversation(question)
    )
    return dict(raw.headers)


@in_loop
async def cancel(question: Question, client: AsyncOpenAI) -> Any:
    """Cancel the task that reads a stream, after its first text."""
    read: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read_on() -> None:
        chunks = await client.chat.completions.create(
            model=question["model"], messages=conversation(question), stream=True
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content and not read.done():
                read.set_result(chunk.choices[0].delta.content)

    task = asyncio.create_task(read_on())
    text = await read
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return text


@in_loop
async def embeddings(question: Question, client: AsyncOpenAI) -> Any:
    asked: dict[str, Any] = {"model": question["model"], "input": ["one", "two"]}
    floats = await client.embeddings.create(**asked, encoding_format="float")
    packed = await client.embeddings.create(**asked)
    pairs = zip(floats.data, packed.data, strict=True)
    return {
        "sizes": [len(item.embedding) for item in floats.data],
        "same": all(abs(a - b) < 1e-6 for one, two in pairs for a, b in zip(one.embedding, two.embedding, strict=True)),
    }


if __name__ == "__main__":
    answer_questions()
