"""What scripts/bench/race calls right and wrong, and what it makes of its raw figures."""

from __future__ import annotations

import json

import pytest

from scripts.bench.benches.race.faults import TOKENS, Who, find_fault, text_of
from scripts.bench.benches.race.scoreboard import make_rows
from scripts.bench.harness.client import Answer, AnswerReader, CutShort, Said
from scripts.bench.harness.tables import quantile

FIRST, OTHER = text_of("first"), text_of("other")
HALF = FIRST[: len(FIRST) // 2]


def test_texts_differ_in_their_first_word() -> None:
    assert (TOKENS, TOKENS) == (len(FIRST.split()), len(OTHER.split()))
    assert ["first", "other"] == [FIRST.split()[0], OTHER.split()[0]]


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ("first", Said(FIRST, "stop")),
        ("other", Said(OTHER, "stop")),
        ("either", Said(FIRST, "stop")),
        ("either", Said(OTHER, "stop")),
        ("told", Said(HALF, "error", "Provider call failed: …")),
        ("told", Said(OTHER, "stop")),
    ],
)
def test_right_answer_passes(who: Who, said: Said) -> None:
    assert find_fault(who, "stop", 200, said) is None


@pytest.mark.parametrize(
    ("who", "status", "said", "words"),
    [
        ("first", 200, Said(OTHER, "stop"), "no candidate's whole answer"),
        ("either", 200, Said(HALF, "stop"), "no candidate's whole answer"),
        ("either", 200, Said(FIRST, "length"), "finish reason 'length'"),
        ("either", 200, Said(FIRST, "error", "gone"), "an error after 60 tokens: gone"),
        ("either", 502, Said("", None, "gone"), "status 502: gone"),
        ("told", 200, Said(HALF, "stop"), "told as finished"),
        ("told", 502, Said("", None, "gone"), "status 502 though tokens had come"),
        ("told", 200, Said("", "error", "gone"), "not the tokens that had come"),
        ("told", 200, Said(OTHER[:30], "error", "gone"), "not the tokens that had come"),
    ],
)
def test_wrong_answer_is_named(who: Who, status: int, said: Said, words: str) -> None:
    assert words in str(find_fault(who, "stop", status, said))


def stream(*events: str) -> Answer:
    return Answer(200, {"content-type": "text/event-stream"}, "".join(f"{e}\n\n" for e in events).encode(), 0.1)


def chunk(text: str, finish_reason: str | None = None) -> str:
    return "data: " + json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": finish_reason}]})


def test_stream_is_read_to_its_end() -> None:
    said = stream(chunk("a"), ": keep-alive", chunk("b"), chunk("", "stop"), "data: [DONE]").said()

    assert (Said("ab", "stop"), True) == (said, said.is_whole)


@pytest.mark.parametrize(
    "events",
    [
        (chunk("a"), chunk("", "stop")),
        (chunk("a"), "data: [DONE]"),
        (chunk("a"), chunk("", "error"), 'event: error\ndata: {"error": "gone"}', "data: [DONE]"),
    ],
)
def test_cut_stream_is_not_whole(events: tuple[str, ...]) -> None:
    assert not stream(*events).said().is_whole


def test_restarted_stream_is_the_new_text() -> None:
    join = 'data: {"choices": [{"delta": {}, "finish_reason": null}], "meta": {"join": {"mode": "restart"}}}'

    assert Said("bc", "stop") == stream(chunk("a"), join, chunk("bc"), chunk("", "stop"), "data: [DONE]").said()


def test_answer_is_over_where_http_says() -> None:
    reader = AnswerReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    with pytest.raises(CutShort):
        reader.feed(b"")

    reader.feed(b"0\r\n\r\n")

    assert (200, "b", b"ab", True) == (reader.status, reader.headers["x-a"], bytes(reader.body), reader.is_over)


def test_rows_have_models_of_their_own() -> None:
    rows = make_rows(quick=False)

    assert len(rows) == len({row.first_model for row in rows}) == len({row.slug for row in rows})
    assert all(len(row.first_model) <= 200 for row in rows)


def test_quantile_is_a_value_that_was_seen() -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert (1, 50, 99, 100) == tuple(quantile(values, share) for share in (0, 0.5, 0.99, 1))
    assert 7 == quantile([7], 0.99)
