"""Reasoning that a client sends back: guarded like its other texts, and never sent on other than it was signed."""

from __future__ import annotations

import pytest

from pg_trio.domain.chat import ChatRequest, Message, Reasoning
from pg_trio.domain.guardrails import PiiFilter
from pg_trio.errors import PiiBlocked
from pg_trio.stages.guardrails.pii import PiiScanner

CLEAN = Reasoning("2 and 2", "c2ln")
TOLD = Reasoning("write to ann@example.org", "c2ln")
ENCRYPTED = Reasoning("", data="ZGF0YQ==")


def request_with(*blocks: Reasoning) -> ChatRequest:
    return ChatRequest((Message("assistant", "Hi", reasoning=blocks),), {})


def test_masked_reasoning_is_left_out() -> None:
    scanner = PiiScanner.compile(PiiFilter(enabled=True, mode="mask"))

    masked = scanner.apply(request_with(CLEAN, TOLD, ENCRYPTED))

    assert (CLEAN, ENCRYPTED) == masked.messages[0].reasoning


def test_clean_reasoning_is_left_alone() -> None:
    scanner, request = PiiScanner.compile(PiiFilter(enabled=True, mode="mask")), request_with(CLEAN, ENCRYPTED)

    assert request is scanner.apply(request)


def test_reasoning_is_blocked_like_any_text() -> None:
    with pytest.raises(PiiBlocked):
        PiiScanner.compile(PiiFilter(enabled=True, mode="block")).apply(request_with(TOLD))


def test_reasoning_is_counted() -> None:
    assert len("Hi") + len(CLEAN.text) == request_with(CLEAN, ENCRYPTED).characters()
