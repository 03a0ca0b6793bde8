"""Streams held against the events that Anthropic publishes (package `anthropic`), with nothing converted."""

from __future__ import annotations

import json
from typing import get_args

from anthropic.types import RawMessageStreamEvent
from openai_shapes import check_shape
from pydantic import BaseModel

# Its annotation is `Annotated[Union[…], …]`; each has its `type` as a literal.
_EVENTS: dict[str, type[BaseModel]] = {
    get_args(event.model_fields["type"].annotation)[0]: event for event in get_args(get_args(RawMessageStreamEvent)[0])
}


def check_stream(body: bytes) -> list[str]:
    """The types of a stream's events, pings left out. Raises for anything else in it."""
    types = []
    for block in body.decode().removesuffix("\n\n").split("\n\n"):
        head, data = block.split("\n")
        kind = head.removeprefix("event: ")
        text = data.removeprefix("data: ")
        if json.loads(text)["type"] != kind:
            raise ValueError(f"two types in one event: {block!r}")
        if kind in _EVENTS:
            check_shape(_EVENTS[kind], text, frozenset())
        elif kind not in ("ping", "error"):
            raise ValueError(f"no event of Anthropic's: {block!r}")
        if kind != "ping":
            types.append(kind)
    return types
