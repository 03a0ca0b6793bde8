"""`instructor` around OpenAI's client: answers in a shape, by a tool of the shape's name (its default)."""

from __future__ import annotations

from typing import Any

import instructor
from answering import Question, answer_questions, scenario
from openai import OpenAI
from pydantic import BaseModel
from questions import conversation


class Weather(BaseModel):
    city: str
    degrees: int


def open_client(question: Question) -> Any:
    made = OpenAI(
        base_url=question["base"] + "/v1",
        api_key=question["token"],
        max_retries=question.get("max_retries", 0),
        default_headers=question.get("headers"),
    )
    return instructor.from_openai(made)


@scenario
def chat(question: Question) -> Any:
    """Text is a shape, too."""
    made = open_client(question).chat.completions.create(
        model=question["model"], messages=conversation(question), response_model=None, **question.get("options", {})
    )
    [choice] = made.choices
    usage = made.usage
    return {
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "usage": [usage.prompt_tokens, usage.completion_tokens],
    }


@scenario
def structured(question: Question) -> Any:
    made, raw = open_client(question).chat.completions.create_with_completion(
        model=question["model"], messages=conversation(question), response_model=Weather, max_retries=0
    )
    assert raw.choices[0].message.tool_calls
    return made.model_dump()


@scenario
def stream_tools(question: Question) -> Any:
    """The shape, as it grows."""
    parts = open_client(question).chat.completions.create_partial(
        model=question["model"], messages=conversation(question), response_model=Weather, max_retries=0
    )
    return [part.model_dump() for part in parts][-1]


if __name__ == "__main__":
    answer_questions()
