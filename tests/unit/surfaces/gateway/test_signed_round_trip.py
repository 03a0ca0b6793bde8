"""A round of tools, as a provider sees it: what it signed comes back unchanged by way of a client that only copies."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead, WholeAnswer
from pg_trio.domain.chat import Prompt, Usage
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.stage_times import NO_TIMES
from pg_trio.providers import adapter_for
from pg_trio.providers.anthropic_request import write_body as write_anthropic
from pg_trio.providers.google_request import write_body as write_google
from pg_trio.surfaces.gateway import GATEWAY
from tests.support.requests import REQUEST

HEAD = RequestHead(UUID(int=1), "p", "ask", [], "application/json", [], 0.0, 0.0)

# Anthropic, "Extended thinking with tool use"; Google, "Thought signatures"; both read 2026-11.
CLAUDE_SAYS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "The user wants a sum.", "signature": "EqQBCkYIBxgCIkA="},
    {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/"},
    {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
]
GEMINI_SAYS = {"functionCall": {"id": "c1", "name": "add", "args": {"a": 1}}, "thoughtSignature": "CiQB0e2Kb/+="}


def ask_again(provider: str, body: dict[str, Any]) -> Prompt:
    """The prompt of the request that a client makes of an answer, with the tool's result."""
    candidate = Candidate(Credential("main", provider, "http://127.0.0.1"), "claude-sonnet-4-5")
    reply = adapter_for(provider).read_reply(200, {}, orjson.dumps(body), candidate, now_s=0.0)
    answer = WholeAnswer(reply, Usage(1, 1), UUID(int=1), provider, [], NO_TIMES, REQUEST)
    message = {"role": "assistant", **orjson.loads(GATEWAY.render_answer(answer).body)}
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "2"}
    again = orjson.dumps({"messages": [{"role": "user", "content": "1 + 1?"}, message, result]})
    return Prompt(GATEWAY.read(again, GatewaySettings(), HEAD).messages)


def test_anthropic_gets_its_thinking_back() -> None:
    answer = {"id": "msg_1", "model": "claude-sonnet-4-5", "content": CLAUDE_SAYS, "stop_reason": "tool_use"}

    wire = write_anthropic(ask_again("anthropic", answer), "claude-sonnet-4-5")

    assert CLAUDE_SAYS == wire["messages"][1]["content"]


def test_google_gets_its_signature_back() -> None:
    answer = {"candidates": [{"content": {"role": "model", "parts": [GEMINI_SAYS]}, "finishReason": "STOP"}]}

    wire = write_google(ask_again("google", answer), "gemini-3-pro")

    assert [GEMINI_SAYS] == wire["contents"][1]["parts"]
