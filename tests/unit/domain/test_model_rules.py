"""Which words of `reasoning_effort` models get, and which fields they do not get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.model_rules import EFFORTS
from pg_trio.domain.provider import PROVIDERS, find_effort_rule, refused_fields

WITH_RULES = [provider for provider in PROVIDERS.values() if provider.effort_rules]


def words_of(provider: str, model: str) -> tuple[str | None, ...]:
    """The word for each effort, from the least to the most."""
    rule = find_effort_rule(PROVIDERS[provider], model)
    return EFFORTS if rule is None else tuple([rule.word_for(effort) for effort in EFFORTS])


@pytest.mark.parametrize(
    ("provider", "model", "words"),
    [
        ("openai", "gpt-4o-mini", (None,) * 7),
        ("openai", "gpt-4.1", (None,) * 7),
        ("openai", "gpt-3.5-turbo", (None,) * 7),
        ("azure", "gpt-35-turbo", (None,) * 7),
        ("openai", "gpt-5-chat-latest", (None,) * 7),
        ("openai", "gpt-5.2-chat-latest", (None,) * 7),
        ("openai", "o3-mini", ("low", "low", "low", "medium", "high", "high", "high")),
        ("openai", "gpt-5-mini-2025-08-07", ("minimal", "minimal", "low", "medium", "high", "high", "high")),
        ("openai", "gpt-5-pro", ("high",) * 7),
        ("openai", "gpt-5.1-2025-11-13", ("none", "low", "low", "medium", "high", "high", "high")),
        ("openai", "gpt-5.4", ("none", "low", "low", "medium", "high", "xhigh", "xhigh")),
        ("openai", "gpt-5.4-pro", ("medium", "medium", "medium", "medium", "high", "xhigh", "xhigh")),
        ("openai", "gpt-6-astra", ("low", "low", "low", "medium", "high", "xhigh", "max")),
        ("openai", "gpt-6-sol", ("none", "low", "low", "medium", "high", "xhigh", "max")),
        ("openai", "my-deployment", EFFORTS),
        ("bedrock", "openai.gpt-oss-120b-1:0", ("low", "low", "low", "medium", "high", "high", "high")),
        ("bedrock", "anthropic.claude-opus-4-8", EFFORTS),
        ("mistral", "mistral-small-latest", ("none", "high", "high", "high", "high", "high", "high")),
        ("mistral", "mistral-large-2512", (None,) * 7),
        ("mistral", "codestral-latest", (None,) * 7),
        ("groq", "llama-3.3-70b-versatile", (None,) * 7),
        ("groq", "openai/gpt-oss-20b", ("low", "low", "low", "medium", "high", "high", "high")),
        ("groq", "qwen/qwen3-32b", ("none", *["default"] * 6)),
        ("xai", "grok-4.20-0309-reasoning", (None,) * 7),
        ("xai", "grok-code-fast-1", (None,) * 7),
        ("xai", "grok-3-mini", ("low", "low", "low", "high", "high", "high", "high")),
        ("xai", "grok-4.3", ("none", "low", "low", "medium", "high", "high", "high")),
        ("xai", "grok-4.5", ("low", "low", "low", "medium", "high", "high", "high")),
        ("deepseek", "deepseek-v4-pro", ("high", "high", "high", "high", "high", "max", "max")),
        ("cerebras", "zai-glm-4.7", ("none", *[None] * 6)),
        ("ollama", "qwen3", EFFORTS),
        ("openrouter", "openai/gpt-4o", EFFORTS),
    ],
)
def test_words(provider: str, model: str, words: tuple[str | None, ...]) -> None:
    assert words == words_of(provider, model)


def test_word_that_no_model_knows_is_left_out() -> None:
    rule = find_effort_rule(PROVIDERS["openai"], "gpt-5.4")
    assert rule is not None

    assert [None, None] == [rule.word_for(word) for word in ("extreme", "")]


@given(st.sampled_from(WITH_RULES), st.text(max_size=40))
def test_little_thinking_never_becomes_none(provider: object, model: str) -> None:
    for rule in provider.effort_rules:  # type: ignore[attr-defined]
        words = [rule.word_for(effort) for effort in EFFORTS[1:]]
        assert "none" not in words
        assert {rule.word_for(effort) for effort in EFFORTS} <= {*rule.words, None}


@pytest.mark.parametrize(
    ("provider", "model", "refused"),
    [
        ("openai", "gpt-4o", set()),
        ("openai", "gpt-5-chat-latest", set()),
        ("openai", "o1", {"parallel_tool_calls"}),
        ("openai", "o3-mini", {"parallel_tool_calls"}),
        ("openai", "o3", {"stop", "parallel_tool_calls"}),
        ("openai", "o4-mini-2025-04-16", {"stop", "parallel_tool_calls"}),
        ("openai", "gpt-5-nano", {"stop"}),
        ("openai", "gpt-5.2", {"-"}),
        ("azure", "gpt-5", {"stop"}),
        ("xai", "grok-build-0.1", {"stop", "presence_penalty", "frequency_penalty"}),
    ],
)
def test_fields_beside_sampling(provider: str, model: str, refused: set[str]) -> None:
    found = refused_fields(PROVIDERS[provider], model)

    sampling = {"temperature", "top_p", "presence_penalty", "frequency_penalty"}
    if provider != "xai":
        assert bool(refused) == (sampling <= found)
        found -= sampling
    assert refused - {"-"} == found
