"""Answers with vectors: OpenAI's object, byte for byte."""

from __future__ import annotations

import base64
import json
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import Usage
from pg_trio.domain.embeddings import EmbeddingReply
from pg_trio.surfaces.v1.embeddings.embedding_answer import write_vectors

REPLY = EmbeddingReply((array("d", [0.5, -0.25]), array("d", [1.0, 0.0])), "text-embedding-3-small", Usage(7, 0))


def test_numbers() -> None:
    assert (
        b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-0.25]},'
        b'{"object":"embedding","index":1,"embedding":[1.0,0.0]}],"model":"text-embedding-3-small",'
        b'"usage":{"prompt_tokens":7,"total_tokens":7}}'
    ) == write_vectors(REPLY, Usage(7, 0), in_base64=False)


def test_base64() -> None:
    body = json.loads(write_vectors(REPLY, Usage(7, 0), in_base64=True))

    assert [struct.pack("<2f", 0.5, -0.25), struct.pack("<2f", 1.0, 0.0)] == [
        base64.b64decode(one["embedding"]) for one in body["data"]
    ]
    assert {"data": None, **body, "usage": {"prompt_tokens": 7, "total_tokens": 7}} == body


def test_estimated_usage_is_said_as_any_other() -> None:
    body = json.loads(write_vectors(REPLY, Usage(7, 0, estimated=True), in_base64=False))

    assert {"prompt_tokens": 7, "total_tokens": 7} == body["usage"]


@pytest.mark.parametrize("kind", ["d", "f"])
@given(numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_either_form_says_the_same(kind: str, numbers: list[float]) -> None:
    reply = EmbeddingReply((array(kind, numbers),), "m")

    floats = json.loads(write_vectors(reply, Usage(1, 0), in_base64=False))["data"][0]["embedding"]
    packed = json.loads(write_vectors(reply, Usage(1, 0), in_base64=True))["data"][0]["embedding"]

    assert numbers == floats
    assert tuple(numbers) == struct.unpack(f"<{len(numbers)}f", base64.b64decode(packed))


def test_odd_model_is_json() -> None:
    reply = EmbeddingReply((array("d", [1.0]),), 'a"b\\c🙂')

    assert 'a"b\\c🙂' == json.loads(write_vectors(reply, Usage(1, 0), in_base64=False))["model"]
