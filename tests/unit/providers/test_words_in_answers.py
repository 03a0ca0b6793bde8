"""What a provider says in a 2xx that is no answer: its words are in the failure, on every wire, whole and streamed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pg_trio.domain.events import Broken
from pg_trio.errors import AttemptFailed
from pg_trio.providers import adapter_for, embeddings_for
from tests.support.simulated import candidate_of

WIRES = ("openai", "anthropic", "google", "cohere")
SAID = "quota exceeded"
ENVELOPES: dict[str, Any] = {
    "code": {"code": 1002, "message": SAID},
    "status": {"status": "error", "message": SAID},
    "detail": {"detail": SAID},
    "errors": {"errors": [{"message": SAID}], "success": False},
    "error: true": {"error": True, "message": SAID},
    "MiniMax": {"base_resp": {"status_code": 1002, "status_msg": SAID}},
    "MiniMax, in a chunk": {"choices": None, "base_resp": {"status_code": 1002, "status_msg": SAID}},
    "a chunk": {"choices": [], "code": 429, "message": SAID},
    "Tencent": {"Response": {"Error": {"Code": "Limit", "Message": SAID}}},
    "a list": [{"error": {"code": 429, "message": SAID}}],
}
PAGE = b"<html><head><title>Quota exceeded</title></head></html>"


def whole(wire: str, body: bytes, content_type: str = "application/json") -> str:
    headers = {"content-type": content_type}
    with pytest.raises(AttemptFailed) as caught:
        adapter_for(wire).read_reply(200, headers, body, candidate_of(wire), now_s=0.0)
    return caught.value.said


def streamed(wire: str, body: bytes) -> str:
    reader = adapter_for(wire).open_stream(candidate_of(wire))
    *_, last = [*reader.feed(body), *reader.close()]
    assert isinstance(last, Broken), last
    return last.failure.said


def vectors(wire: str, body: bytes, content_type: str = "application/json") -> str:
    with pytest.raises(AttemptFailed) as caught:
        embeddings_for(wire).read_embeddings(
            200, {"content-type": content_type}, body, candidate_of(wire), inputs=1, now_s=0.0
        )
    return caught.value.said


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", ENVELOPES)
def test_envelope_of_any_kind(wire: str, name: str) -> None:
    body = orjson.dumps(ENVELOPES[name])

    assert SAID in whole(wire, body)
    assert SAID in streamed(wire, b"data: " + body + b"\n\n")
    if wire != "anthropic":
        assert SAID in vectors(wire, body)


@pytest.mark.parametrize("wire", WIRES)
def test_plain_text_and_pages(wire: str) -> None:
    assert SAID in whole(wire, SAID.encode(), "text/plain")
    assert "HTML page: Quota exceeded" in whole(wire, PAGE, "text/html")
    assert SAID in streamed(wire, b"data: quota exceeded\n\n")
    for name in (b"error", b"exception", b"stream_failed"):
        assert SAID in streamed(wire, b"event: " + name + b"\ndata: quota exceeded\n\n")
        assert SAID in streamed(wire, b"event: " + name + b'\ndata: {"detail":"quota exceeded"}\n\n')
    if wire != "anthropic":
        assert SAID in vectors(wire, SAID.encode(), "text/plain")
        assert "HTML page: Quota exceeded" in vectors(wire, PAGE, "text/html")


@pytest.mark.parametrize("wire", WIRES)
def test_page_under_a_stream_s_type_is_no_stream(wire: str) -> None:
    headers = {"content-type": "text/event-stream"}

    assert adapter_for(wire).is_stream(200, headers, PAGE) is False


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"message": {"content": "", "error": {"message": SAID}}}, SAID),
        ({"delta": {"content": "", "error": {"message": SAID}}}, SAID),
        ({"message": {"content": "Hal"}, "finish_reason": "error", "native_finish_reason": "SPENT"}, "(SPENT)"),
        ({"delta": {"content": "Hal"}, "finish_reason": "error", "native_finish_reason": "SPENT"}, "(SPENT)"),
    ],
)
def test_words_inside_the_choice(choice: dict[str, Any], said: str) -> None:
    body = orjson.dumps({"id": "1", "choices": [{"index": 0, "finish_reason": None, **choice}]})

    assert said in (whole("openai", body) if "message" in choice else streamed("openai", b"data: " + body + b"\n\n"))


def test_error_inside_an_envelope_of_google() -> None:
    body = orjson.dumps({"response": {"error": {"code": 429, "message": SAID}}})

    assert SAID in whole("google", body)
    assert SAID in streamed("google", b"data: " + body + b"\n\n")


@pytest.mark.parametrize("wire", WIRES)
def test_words_of_the_model_are_in_no_failure(wire: str) -> None:
    answer = {"object": "chat.completion", "output": {"text": "the model's own"}, "text": "and more of it"}

    said = streamed(wire, b"data: " + orjson.dumps(answer) + b"\n\n")

    assert "own" not in said
    assert "more" not in said
