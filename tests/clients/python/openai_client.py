"""OpenAI's synchronous client for one question, and a shape to ask for."""

from __future__ import annotations

from typing import Any

from answering import Question
from openai import NOT_GIVEN, OpenAI
from pydantic import BaseModel


class Weather(BaseModel):
    city: str
    degrees: int


def open_client(question: Question) -> OpenAI:
    headers = question.get("headers")
    return OpenAI(
        base_url=question["base"] + "/v1",
        api_key=question["token"],
        max_retries=question.get("max_retries", 0),
        timeout=question.get("timeout", NOT_GIVEN),
        default_headers=headers,
    )


def usage_of(usage: Any) -> list[int] | None:
    return None if usage is None else [usage.prompt_tokens, usage.completion_tokens]
