"""What the scenarios of all clients ask: a tool, a shape of an answer, and the conversation around a tool's result."""

from __future__ import annotations

from typing import Any

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        # Helpers of OpenAI's SDKs read the arguments of strict tools only.
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
QUESTION = "What is the weather in Ulm?"
RESULT = "7 degrees"


def conversation(question: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a plain question."""
    return [{"role": "user", "content": question.get("content", "Hello there")}]
