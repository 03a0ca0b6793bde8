"""Token counts of the OpenAI wire: the details that its providers give, each in its own dialect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import Usage
from pg_trio.providers.openai_usage import MAX_TOKEN_COUNT, read_usage

DIALECTS: list[tuple[str, dict[str, Any], Usage]] = [
    (
        "openai",
        {"prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0}},
        Usage(100, 20, cached_tokens=60),
    ),
    ("openai", {"completion_tokens_details": {"reasoning_tokens": 12}}, Usage(100, 20, reasoning_tokens=12)),
    (
        "openai, with nothing to tell",
        {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}},
        Usage(100, 20),
    ),
    (
        "openai, with all of it",
        {"prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 5}},
        Usage(100, 20, cached_tokens=60, reasoning_tokens=5),
    ),
    (
        "deepseek",
        {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
        Usage(100, 20, cached_tokens=64),
    ),
    (
        "openrouter",
        {"prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 80}, "cost": 0.1},
        Usage(100, 20, cached_tokens=10, cache_write_tokens=80),
    ),
    ("moonshot", {"cached_tokens": 7}, Usage(100, 20, cached_tokens=7)),
    ("mistral", {"num_cached_tokens": 8}, Usage(100, 20, cached_tokens=8)),
    ("perplexity", {"reasoning_tokens": 9}, Usage(100, 20, reasoning_tokens=9)),
    (
        "anthropic's models",
        {"cache_read_input_tokens": 5, "cache_creation_input_tokens": 6},
        Usage(100, 20, cached_tokens=5, cache_write_tokens=6),
    ),
    (
        "xai, which leaves reasoning out of the completion",
        {"completion_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 150},
        Usage(100, 50, reasoning_tokens=30),
    ),
]


@pytest.mark.parametrize(("name", "more", "expected"), DIALECTS)
@pytest.mark.parametrize("total", [{"total_tokens": 120}, {}])
def test_details_are_read(name: str, more: dict[str, Any], expected: Usage, total: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 20, **total, **more}

    assert expected == read_usage(usage)


def test_details_are_parts_of_their_whole() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 9},
    }

    assert Usage(10, 2, cached_tokens=8, cache_write_tokens=2, reasoning_tokens=2) == read_usage(usage)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    "prompt_tokens_details",
    "completion_tokens_details",
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
    "total_tokens",
]
details = st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens"]), json_values | st.integers(0, 300)
)


@given(st.dictionaries(st.sampled_from(NAMES), json_values | details | st.integers(0, 300)))
def test_odd_details_are_zero_and_never_refuse(odd: dict[str, Any]) -> None:
    usage = read_usage({"prompt_tokens": 100, "completion_tokens": 20, **odd})

    assert usage is not None
    assert 100 == usage.prompt_tokens
    assert 20 <= usage.completion_tokens <= 20 + MAX_TOKEN_COUNT
    assert 0 <= usage.cached_tokens
    assert 0 <= usage.cache_write_tokens
    assert usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
    assert 0 <= usage.reasoning_tokens <= usage.completion_tokens
