"""What Responses clients rely on: the types of OpenAI's package, and the order of a stream's events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pydantic
from openai.types.responses import Response, ResponseStreamEvent

_RESPONSE = pydantic.TypeAdapter[Any](Response)
_EVENT = pydantic.TypeAdapter[Any](ResponseStreamEvent)
# The fields that OpenAI's specification requires of a response; its Python types leave some of them optional.
# fmt: off
REQUIRED = frozenset({
    "id", "object", "created_at", "status", "error", "incomplete_details", "instructions",
    "metadata", "model", "output", "parallel_tool_calls", "temperature", "tool_choice", "tools",
    "top_p", "usage", "text", "reasoning", "truncation",
})
# fmt: on
LAST = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
# Which events carry the pieces of an item, and the field of the event that ends them.
_PIECES = {
    "response.output_text.delta": ("response.output_text.done", "text"),
    "response.reasoning_summary_text.delta": ("response.reasoning_summary_text.done", "text"),
    "response.function_call_arguments.delta": ("response.function_call_arguments.done", "arguments"),
}


def check_response(response: dict[str, Any]) -> dict[str, Any]:
    """The response, if it is exactly what OpenAI's types say: no field unknown, none missing."""
    _RESPONSE.validate_python(response, strict=True, extra="forbid")
    assert REQUIRED <= response.keys(), REQUIRED - response.keys()
    return response


def split_events(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream. Each frame is an event line and a data line; comments are skipped."""
    *frames, rest = body.replace(b": ping\n", b"").split(b"\n\n")
    assert b"" == rest
    events = []
    for frame in frames:
        name, data = frame.split(b"\n")
        event = orjson.loads(data.removeprefix(b"data: "))
        assert b"event: " + event["type"].encode() == name
        events.append(event)
    return events


def read_events(body: bytes) -> list[dict[str, Any]]:
    """The events of a whole stream, if each is of OpenAI's types, and all are in order."""
    events = split_events(body)
    for event in events:
        _EVENT.validate_python(event, strict=True, extra="forbid")
        if "response" in event:
            check_response(event["response"])
    check_order(events)
    return events


def check_order(events: Sequence[dict[str, Any]]) -> None:
    """Numbers without gaps; the first and the last events; items that begin, grow and end as one."""
    kinds = [event["type"] for event in events]
    assert list(range(len(events))) == [event["sequence_number"] for event in events]
    assert ["response.created", "response.in_progress"] == kinds[:2]
    assert 1 == sum(kind in LAST for kind in kinds)
    final = events[-1]["response"]
    assert LAST[kinds[-1]] == final["status"]
    assert 1 == len({event["response"]["id"] for event in events if "response" in event})
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert list(range(len(added))) == [event["output_index"] for event in added]
    assert [event["item"]["id"] for event in added] == [item["id"] for item in final["output"]]
    for item, start in zip(final["output"], added, strict=True):
        _check_item([event for event in events if _place_of(event) == start["output_index"]], item, kinds[-1])


def _place_of(event: dict[str, Any]) -> int | None:
    place: int | None = event.get("output_index")
    return place


def _check_item(events: Sequence[dict[str, Any]], item: dict[str, Any], last: str) -> None:
    """`events` are those of one item."""
    kinds = [event["type"] for event in events]
    assert {item["id"]} == {event.get("item_id", item["id"]) for event in events}
    assert "response.output_item.added" == kinds[0]
    if kinds[-1] != "response.output_item.done":
        # Only a broken stream leaves an item open.
        assert ("response.failed", "incomplete") == (last, item["status"])
        return
    assert item == events[-1]["item"]
    for delta, (done, field) in _PIECES.items():
        text = "".join([event["delta"] for event in events if event["type"] == delta])
        ends = [event[field] for event in events if event["type"] == done]
        if text or ends:
            assert [text] == ends
            assert text in (item.get("arguments"), *[part["text"] for part in _parts_of(item)])
    # An item's parts begin before their deltas, and end behind them.
    for kind in ("content_part", "reasoning_summary_part"):
        places = [index for index, each in enumerate(kinds) if each.startswith(f"response.{kind}.")]
        deltas = [index for index, each in enumerate(kinds) if each.endswith("_text.delta")]
        assert not places or (len(places) == 2 and all(places[0] < index < places[1] for index in deltas))


def _parts_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [*item.get("content", []), *item.get("summary", [])]
