"""What a provider receives when guardrails are in force: nothing that they have not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway

MAIL = "max@example.com"
MASKED = "[E-Mail REDACTED]"
CALL = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": "{}"}}

CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("masked", guardrails={"pii_filter": {"enabled": True}}),
        endpoint("blocked", guardrails={"pii_filter": {"enabled": True, "mode": "block"}}),
        endpoint("words", guardrails={"keyword_blocklist": {"enabled": True, "words": ["forbidden"]}}),
    ]
)


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


def parts(*given: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(given)}, {"role": "user", "content": "Go on"}]}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def tool(**fields: Any) -> dict[str, Any]:
    function = {"name": "send", "description": "Sends.", **fields}
    return {"message": "Hi", "tools": [{"type": "function", "function": function}]}


# Free text, in every place that a provider is sent one; `<text>` is where it goes.
FREE_TEXT: dict[str, Any] = {
    "message": {"message": "Write to <text>"},
    "text part": parts(text_part("Write to <text>")),
    "refusal": parts({"type": "refusal", "refusal": "Not to <text>"}, role="assistant"),
    "file name": parts({"type": "file", "file": {"file_id": "f1", "filename": "for <text>.pdf"}}),
    "arguments": {
        "messages": [
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"to":"<text>"}'}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "sent"},
        ]
    },
    "tool description": tool(description="Sends to <text>"),
    "parameter title": tool(parameters={"type": "object", "properties": {"to": {"title": "for <text>"}}}),
    "enum value": tool(parameters={"type": "object", "properties": {"to": {"enum": ["a", "<text>"]}}}),
}

# Where a mask would make two of a kind one, or another one of it: such a request is refused in mode mask too.
NO_MASK: dict[str, Any] = {
    "parameter name": tool(parameters={"type": "object", "properties": {"for <text>": {"type": "string"}}}),
    "tool choice": {**tool(), "tool_choice": {"type": "function", "function": {"name": "<text>"}}},
    "argument name": {
        "messages": [
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"<text>":1}'}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "sent"},
        ]
    },
}


def fill(body: dict[str, Any], text: str) -> dict[str, Any]:
    """The body with the text for each `<text>` in it."""
    filled: dict[str, Any] = json.loads(json.dumps(body).replace("<text>", text))
    return filled


@pytest.mark.parametrize("place", FREE_TEXT)
async def test_mail_reaches_no_provider(gateway: Gateway, place: str) -> None:
    response = await gateway.call("masked", fill(FREE_TEXT[place], MAIL))

    assert 200 == response.status
    [received] = gateway.simulator.requests
    wire = json.dumps(received.body)
    assert (False, True) == (MAIL in wire, MASKED in wire)


@pytest.mark.parametrize("place", FREE_TEXT)
async def test_mail_blocks_wherever_it_is(gateway: Gateway, place: str) -> None:
    response = await gateway.call("blocked", fill(FREE_TEXT[place], MAIL))

    assert "Request blocked: E-Mail detected in input." == response.json()["error"]
    assert not gateway.simulator.requests


@pytest.mark.parametrize("slug", ["masked", "blocked"])
@pytest.mark.parametrize("place", NO_MASK)
async def test_mail_in_a_key_is_refused(gateway: Gateway, place: str, slug: str) -> None:
    response = await gateway.call(slug, fill(NO_MASK[place], MAIL))

    assert (422, "Request blocked: E-Mail detected in input.") == (response.status, response.json()["error"])
    assert not gateway.simulator.requests


@pytest.mark.parametrize("place", [*FREE_TEXT, *NO_MASK])
async def test_keyword_blocks_wherever_it_is(gateway: Gateway, place: str) -> None:
    response = await gateway.call("words", fill({**FREE_TEXT, **NO_MASK}[place], "FORBIDDEN"))

    assert "Request blocked: keyword 'forbidden' detected in input." == response.json()["error"]
    assert not gateway.simulator.requests


async def test_mail_in_two_parts_is_one_mail(gateway: Gateway) -> None:
    await gateway.call("masked", parts(text_part("Write to max@exam"), text_part("ple.com")))

    [received] = gateway.simulator.requests
    assert [text_part(f"Write to {MASKED}")] == received.body["messages"][0]["content"]


async def test_undocumented_keys_stay_here(gateway: Gateway) -> None:
    url = {"url": "https://example.com/a.png"}
    image = {"type": "image_url", "image_url": {**url, "note": MAIL}, "note": MAIL}

    response = await gateway.call("masked", parts({**text_part("Hi"), "note": MAIL}, image))

    assert 200 == response.status
    [received] = gateway.simulator.requests
    assert [text_part("Hi"), {"type": "image_url", "image_url": url}] == received.body["messages"][0]["content"]


NO_TEXT: dict[str, Any] = {
    "name": {"messages": [{"role": "user", "content": "Hi", "name": MAIL}]},
    "input_text": parts({"type": "input_text", "text": MAIL}),
    "unknown part": parts({"type": "note", "note": MAIL}),
    "refusal of a user": parts({"type": "refusal", "refusal": MAIL}),
    "image address": parts({"type": "image_url", "image_url": {"url": MAIL}}),
}
# Values that a provider made and gets back: no mask may change them.
HANDED_OUT: dict[str, Any] = {
    "call id": {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "id": MAIL}]}]},
    "call name": {
        "messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": MAIL, "arguments": "{}"}}]}]
    },
    "tool_call_id": {"messages": [{"role": "tool", "content": "Hi", "tool_call_id": MAIL}]},
    "name of a result": {"messages": [{"role": "tool", "content": "Hi", "tool_call_id": "c1", "name": MAIL}]},
}


@pytest.mark.parametrize("place", NO_TEXT)
async def test_mail_where_no_text_belongs(gateway: Gateway, place: str) -> None:
    response = await gateway.call("masked", NO_TEXT[place])

    assert 400 == response.status
    assert "messages[0]" in response.json()["error"]
    assert MAIL.encode() not in response.body
    assert not gateway.simulator.requests


@pytest.mark.parametrize("place", HANDED_OUT)
async def test_mail_in_an_id_is_refused(gateway: Gateway, place: str) -> None:
    response = await gateway.call("masked", HANDED_OUT[place])

    assert (422, "Request blocked: E-Mail detected in input.") == (response.status, response.json()["error"])
    assert not gateway.simulator.requests


async def test_card_as_a_name_is_refused(gateway: Gateway) -> None:
    message = {"role": "user", "content": "Hi", "name": "4111111111111111"}

    response = await gateway.call("masked", {"messages": [message]})

    assert "Request blocked: Credit card detected in input." == response.json()["error"]
    assert not gateway.simulator.requests
