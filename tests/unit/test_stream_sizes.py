"""What is kept of a stream while it lasts, in bytes: thousands of streams are open at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.events import Opened
from pg_trio.server.http1.response import Response
from pg_trio.surfaces.openai_chunks import ChunkWriter
from pg_trio.surfaces.websocket.frame_writer import FrameWriter
from pg_trio.transport.answer import Answer, AnswerLimits

STREAMS = 200
# 20 fields, as many as providers send: 3 kB with the two dictionaries.
FIELDS = [
    (b"X-Field-Of-A-Provider-%d" % number, b"with a value of fifty bytes, as many of them are %d" % number)
    for number in range(20)
]


def open_chunks() -> object:
    writer = ChunkWriter(1_700_000_000)
    writer.render(Opened("chatcmpl-1", "gpt-4o"))
    return writer


def open_frames() -> object:
    return FrameWriter("m1", UUID(int=1))


def open_answer() -> object:
    """The head of a provider's stream, read."""
    answer = Answer(AnswerLimits(16_384, 1_000_000))
    fields = b"".join(b"%b: %b\r\n" % field for field in FIELDS)
    answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n" % fields)
    answer.forget_headers()
    return answer


def open_response() -> object:
    """A client's stream, begun."""
    response = Response("POST", "1.1")
    fields = [(name.lower(), value + b"") for name, value in FIELDS]
    response.start({"type": "http.response.start", "status": 200, "headers": fields})
    response.part(b"data: 1\n\n", more=True, keep_alive=True)
    return response


# The writers: a text that orjson made and somebody keeps takes 4,096 alone.
@pytest.mark.parametrize(
    ("open_one", "most_bytes"),
    [
        (open_chunks, 900),
        (open_frames, 2_500),
        (open_answer, 1_400),
        (open_response, 400),
        (partial(Assembler, keeps_text=False), 200),
    ],
    ids=["chunks", "frames", "answer", "response", "counts"],
)
def test_little_is_kept_of_a_stream(open_one: Callable[[], object], most_bytes: int) -> None:
    open_one()
    tracemalloc.start()
    try:
        kept = [open_one() for _ in range(STREAMS)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size / len(kept) < most_bytes
