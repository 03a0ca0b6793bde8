"""Checks of answers and streams against the types of the `anthropic` package, strictly and without fields of ours."""

from __future__ import annotations

import json
from typing import Any

from anthropic.types import ErrorResponse, Message, MessageTokensCount, RawMessageStreamEvent
from pydantic import BaseModel, TypeAdapter

_EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def check_message(shape: Any) -> Message:
    """The message that this JSON is."""
    message = Message.model_validate(shape, strict=True)
    _refuse_more(message)
    return message


def check_count(shape: Any) -> int:
    """The number of tokens in this JSON."""
    count = MessageTokensCount.model_validate(shape, strict=True)
    _refuse_more(count)
    return count.input_tokens


def check_failure(shape: Any) -> ErrorResponse:
    """The error that this JSON is."""
    failure = ErrorResponse.model_validate(shape, strict=True)
    _refuse_more(failure)
    return failure


def read_stream(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each checked: its form, its name, its type, and its place among the others."""
    events = [_read_event(text) for text in body.decode().split("\n\n") if text]
    assert body.endswith(b"\n\n")
    check_order(events)
    return events


def _read_event(text: str) -> dict[str, Any]:
    name, data = text.split("\n")
    event: dict[str, Any] = json.loads(data.removeprefix("data: "))
    assert f"event: {event['type']}" == name
    if event["type"] == "error":
        check_failure(event)
    elif event["type"] != "ping":
        _refuse_more(_EVENTS.validate_python(event, strict=True))
    return event


def check_order(events: list[dict[str, Any]]) -> None:
    """Blocks come one behind the other, each whole, with indices from 0; a complete stream has one end."""
    told = [event for event in events if event["type"] != "ping"]
    if not told or told[0]["type"] == "error":
        return
    assert "message_start" == told[0]["type"]
    is_open, blocks = False, 0
    for event in told[1:]:
        match event["type"]:
            case "content_block_start":
                assert (False, blocks) == (is_open, event["index"])
                is_open = True
            case "content_block_delta":
                assert (True, blocks) == (is_open, event["index"])
            case "content_block_stop":
                assert (True, blocks) == (is_open, event["index"])
                is_open, blocks = False, blocks + 1
            case "message_delta":
                assert event is told[-2]
                assert not is_open
            case other:
                assert other in ("message_stop", "error")
                assert event is told[-1]


def content_of_stream(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks that a client puts together."""
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append({**event["content_block"], "_json": ""})
        elif event["type"] == "content_block_delta":
            _add(blocks[event["index"]], event["delta"])
    for block in blocks:
        given = block.pop("_json")
        if given:
            block["input"] = json.loads(given)
    return blocks


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            block["_json"] += delta["partial_json"]
        case "citations_delta":
            block.setdefault("citations", []).append(delta["citation"])


def _refuse_more(model: Any) -> None:
    """No field besides those of the types."""
    if isinstance(model, BaseModel):
        assert not model.model_extra, f"{type(model).__name__} has {sorted(model.model_extra or {})}"
        for name in type(model).model_fields:
            _refuse_more(getattr(model, name))
    elif isinstance(model, list):
        for item in model:
            _refuse_more(item)
