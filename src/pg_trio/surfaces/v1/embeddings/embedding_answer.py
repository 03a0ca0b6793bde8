"""Answers with vectors: OpenAI's object, exactly.

The body is written piece by piece and apart from its header fields, because a large one is written in a thread.

Source: OpenAI, API reference, "The embedding object", read 2026-11.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode

import orjson

from pg_trio.domain.chat import Usage
from pg_trio.domain.embeddings import EmbeddingReply, Vector


def write_vectors(reply: EmbeddingReply, usage: Usage, *, in_base64: bool) -> bytes:
    """The body. Each vector is a list of numbers, or base64 of 32-bit floats, little endian."""
    encode = _encode_base64 if in_base64 else _encode_numbers
    pieces = [b'{"object":"list","data":[']
    for index, vector in enumerate(reply.vectors):
        pieces.append(b'%b{"object":"embedding","index":%d,"embedding":' % (b"," if index else b"", index))
        pieces += encode(vector), b"}"
    tokens = usage.prompt_tokens
    end = {"model": reply.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    pieces += b"],", orjson.dumps(end)[1:]
    return b"".join(pieces)


def _encode_numbers(vector: Vector) -> bytes:
    return orjson.dumps(vector.tolist())


def _encode_base64(vector: Vector) -> bytes:
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return b'"%b"' % b64encode(floats)
