"""Answers held against the types that OpenAI publishes (package `openai`), with nothing converted and nothing more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

# OpenAI has no fields for a model's reasoning and for signed calls; front ends and Google's API have these
# (docs/surfaces.md, "Beside OpenAI's fields").
_OURS = frozenset({"reasoning_content", "reasoning", "reasoning_details", "extra_content"})


def check_shape(shape: type[BaseModel], text: str | bytes, ours: frozenset[str] = _OURS) -> None:
    """Raise if the JSON text is no such object, by strict types, or has a field that the type has not."""
    # JSON has no enums and no dates: strict reading of JSON text takes their texts, and no other stand-in.
    unknown = set(_unknown_fields(shape.model_validate_json(text, strict=True))) - ours
    if unknown:
        raise ValueError(f"{shape.__name__} has no {sorted(unknown)}: {text[:500]!r}")


def check_stream(shape: type[BaseModel], body: bytes) -> int:
    """The number of events that hold such an object. Raises for anything but such events, comments and `[DONE]`."""
    count = 0
    for line in body.decode().split("\n"):
        if not line or line.startswith(":"):
            continue
        if not line.startswith("data: "):
            raise ValueError(f"no line of such a stream: {line!r}")
        if line != "data: [DONE]":
            check_shape(shape, line.removeprefix("data: "))
            count += 1
    return count


def check_error(text: str | bytes) -> None:
    """Raise if the JSON text is not exactly OpenAI's error object."""
    error = json.loads(text)["error"]
    if list(error) != ["message", "type", "param", "code"] or not isinstance(error["message"], str):
        raise ValueError(f"no error of OpenAI's: {text!r}")


def _unknown_fields(value: Any) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from value.model_extra or {}
        for name in type(value).model_fields:
            yield from _unknown_fields(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _unknown_fields(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _unknown_fields(item)
