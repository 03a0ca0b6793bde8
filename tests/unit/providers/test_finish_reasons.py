"""Finish reasons by what they mean, however they are spelled."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.providers.finish_reasons import read_finish

MEANINGS = {
    "stop": "stop eos eos_token end_turn stop_sequence complete completed finished done end_of_text eot_id normal"
    " success stop_word stop_token natural_end im_end endoftext finish matched_stop eog FINISH_REASON_STOP",
    "length": "length max_tokens max_output_tokens model_length model_context_window_exceeded context_length_exceeded"
    " token_limit max_length truncated output_limit length_limit max_new_tokens budget_exhausted incomplete"
    " FINISH_REASON_MAX_TOKENS stop_max_tokens pause_turn ERROR_LIMIT max_time context_overflow too_long",
    "content_filter": "content_filter content_filtered safety sensitive prohibited_content blocklist recitation spii"
    " refusal moderation guardrail_intervened policy_violation image_safety blocked ERROR_TOXIC copyright"
    " content_policy_violation unsafe_content FINISH_REASON_SAFETY",
    "tool_calls": "tool_calls tool_use tool_call function_call function_calls",
    "error": "error abort aborted cancelled canceled timeout network_error server_error internal_error failed failure"
    " insufficient_system_resource malformed_function_call unexpected_tool_call rate_limit rate_limit_exceeded"
    " upstream_error exception user_cancel interrupted tool_call_error overloaded model_error"
    " too_many_tool_calls max_tool_calls function_call_limit",
    "none": "null none not_finished unfinished in_progress FINISH_REASON_UNSPECIFIED still_running",
}
WORDS = [(word, meaning) for meaning, words in MEANINGS.items() for word in words.split()]


def spellings(word: str) -> list[str]:
    """The same word in other clothes."""
    parts = word.lower().split("_")
    camel = parts[0] + "".join(part.title() for part in parts[1:])
    return [
        *(word, word.upper(), word.lower(), word.title(), word.replace("_", "-"), word.replace("_", " "), camel),
        *(camel[:1].upper() + camel[1:], f" {word} ", f"<|{word}|>", f"FinishReason.{word.upper()}"),
    ]


@pytest.mark.parametrize(("word", "meaning"), WORDS)
def test_word_is_read_by_its_meaning(word: str, meaning: str) -> None:
    assert {meaning} == {read_finish(spelled) for spelled in spellings(word)}


@pytest.mark.parametrize(
    ("word", "meaning"),
    # Two words that are another one's beginning when they stand together (`toolong`) are not told apart.
    [
        one
        for one in WORDS
        if one[1] != "none" and one[0].count("_") == 1 and not one[0].lower().startswith(("err", "too_"))
    ],
)
def test_words_run_together(word: str, meaning: str) -> None:
    assert meaning == read_finish(re.sub("_", "", word.lower()))


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        *((None, "none"), ("", "none"), (" ", "none"), ("-", "none"), (False, "none"), ([], "none"), ({}, "none")),
        *((True, "stop"), (1, "stop"), (2, "length"), (3, "content_filter"), (0, "none"), (["stop"], "stop")),
        *(({"type": "max_tokens"}, "length"), ({"reason": "error"}, "error"), (7, "stop"), (1.5, "none")),
        *(("unheard_of", "stop"), ("结束", "stop"), ("x" * 10_000, "stop")),
    ],
)
def test_reason_of_any_shape(reason: Any, meaning: str) -> None:
    assert meaning == read_finish(reason)


@given(st.sampled_from(WORDS), st.sampled_from(["_reached", " (42)", "!", "."]))
def test_more_words_change_nothing(word: tuple[str, str], more: str) -> None:
    assert word[1] in (read_finish(word[0] + more), "none", "tool_calls")


@given(st.text() | st.integers() | st.floats() | st.recursive(st.none(), st.lists))
def test_anything_has_a_meaning(reason: Any) -> None:
    assert read_finish(reason) in ("stop", "length", "tool_calls", "content_filter", "error", "none")
