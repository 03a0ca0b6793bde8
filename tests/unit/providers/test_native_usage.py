"""Token counts of the native wires that are missing or wrong: they never lower the sum of a budget or a limit."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pg_trio.domain.chat import Usage
from pg_trio.domain.events import Finished
from pg_trio.providers import adapter_for
from tests.support.simulated import candidate_of


def anthropic(begun: Any, ended: Any) -> list[dict[str, Any]]:
    return [
        {"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": begun}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hello"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended},
        {"type": "message_stop"},
    ]


def google(*usages: Any) -> list[dict[str, Any]]:
    def chunk(usage: Any, **more: str) -> dict[str, Any]:
        return {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, **more}], "usageMetadata": usage}

    return [*[chunk(usage) for usage in usages[:-1]], chunk(usages[-1], finishReason="STOP")]


def cohere(usage: Any) -> list[dict[str, Any]]:
    return [
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hello"}}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    ]


def usage_of(provider: str, events: list[dict[str, Any]]) -> Usage | None:
    reader = adapter_for(provider).open_stream(candidate_of(provider))
    body = b"".join([b"data: " + orjson.dumps(event) + b"\n\n" for event in events])
    *_, last = [*reader.feed(body), *reader.close()]
    assert isinstance(last, Finished), last
    return last.usage


BEGUN = {"input_tokens": 3, "output_tokens": 1}


@pytest.mark.parametrize(
    ("begun", "ended", "expected"),
    [
        (BEGUN, {"output_tokens": 22}, Usage(3, 22)),
        (BEGUN, {"input_tokens": 0, "output_tokens": 22}, Usage(3, 22)),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 5, "output_tokens": 22}, Usage(5, 22)),
        (None, {"input_tokens": 5, "output_tokens": 22}, Usage(5, 22)),
        ({"input_tokens": 3, "output_tokens": None}, {"input_tokens": None, "output_tokens": 22}, Usage(3, 22)),
        # The output at the beginning is a placeholder.
        (BEGUN, None, None),
        (BEGUN, {}, None),
        (BEGUN, {"output_tokens": None}, None),
        (BEGUN, {"output_tokens": -5}, None),
        (BEGUN, {"output_tokens": "22"}, None),
        (BEGUN, {"output_tokens": 7.5}, None),
        (BEGUN, {"input_tokens": -1, "output_tokens": 22}, None),
        ({"input_tokens": 0, "output_tokens": 0}, {"output_tokens": 22}, None),
        ({"input_tokens": 3, "output_tokens": 0}, {"output_tokens": 0}, None),
    ],
)
def test_counts_of_an_anthropic_stream(begun: Any, ended: Any, expected: Usage | None) -> None:
    assert expected == usage_of("anthropic", anthropic(begun, ended))


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        ([{"promptTokenCount": 9}, {"promptTokenCount": 9, "candidatesTokenCount": 5}], Usage(9, 5)),
        ([{"promptTokenCount": 9, "candidatesTokenCount": 5}, None], Usage(9, 5)),
        # Google leaves out the candidates' count in some answers; the total has it.
        ([{"promptTokenCount": 9, "totalTokenCount": 31}], Usage(9, 22)),
        (
            [{"promptTokenCount": 9, "thoughtsTokenCount": 20, "totalTokenCount": 31}],
            Usage(9, 22, reasoning_tokens=20),
        ),
        ([{"promptTokenCount": 9, "totalTokenCount": 9}], None),
        ([{"promptTokenCount": 9, "candidatesTokenCount": -5}], None),
        ([{"promptTokenCount": 9, "candidatesTokenCount": "7"}], None),
        ([{"promptTokenCount": 9, "candidatesTokenCount": 7, "thoughtsTokenCount": -3}], None),
        ([{"promptTokenCount": 9, "candidatesTokenCount": 3}, {"promptTokenCount": 9.5}], None),
        ([{"promptTokenCount": 0, "candidatesTokenCount": 7}], None),
    ],
)
def test_counts_of_a_google_stream(usages: list[Any], expected: Usage | None) -> None:
    assert expected == usage_of("google", google(*usages))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"billed_units": {"input_tokens": 3, "output_tokens": 2}}, Usage(3, 2)),
        ({"tokens": {}, "billed_units": {"input_tokens": 3, "output_tokens": 2}}, Usage(3, 2)),
        ({"tokens": {"input_tokens": 0, "output_tokens": 0}}, None),
        # Billed units are fewer: they do not stand in for a wrong count.
        (
            {
                "tokens": {"input_tokens": 9, "output_tokens": -5},
                "billed_units": {"input_tokens": 1, "output_tokens": 1},
            },
            None,
        ),
    ],
)
def test_counts_of_a_cohere_stream(usage: Any, expected: Usage | None) -> None:
    assert expected == usage_of("cohere", cohere(usage))
