"""What is charged where a provider counts nothing: all that was sent, in one count."""

from __future__ import annotations

from pg_trio.domain.chat import Message, Prompt, Reply, Usage
from pg_trio.stages.account import estimate_usage
from tests.support.content import tool

TOOL = {"type": "function", "function": {"name": "look_up", "description": "x" * 40_000}}


def test_tools_are_charged() -> None:
    prompt = Prompt((Message("user", "Hi"),), tools=(tool(TOOL),))

    usage = estimate_usage(prompt, Reply("1", "m", "Hello", "stop"))

    assert usage == Usage(-(-prompt.characters() // 4), 2, estimated=True)
    assert usage.prompt_tokens > 10_000
