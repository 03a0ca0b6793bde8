"""What a stream's writer keeps while the stream lasts, in bytes: thousands of streams are open at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from uuid import UUID

import pytest

from pg_trio.domain.events import Opened
from pg_trio.surfaces.openai_chunks import ChunkWriter
from pg_trio.surfaces.websocket.frame_writer import FrameWriter

WRITERS = 200
# A text that orjson made and somebody keeps takes 4,096 alone.
MOST_BYTES = 2_500


def open_chunks() -> object:
    writer = ChunkWriter(1_700_000_000)
    writer.render(Opened("chatcmpl-1", "gpt-4o"))
    return writer


def open_frames() -> object:
    return FrameWriter("m1", UUID(int=1))


@pytest.mark.parametrize("open_writer", [open_chunks, open_frames])
def test_writer_of_a_stream_is_small(open_writer: Callable[[], object]) -> None:
    open_writer()
    tracemalloc.start()
    try:
        kept = [open_writer() for _ in range(WRITERS)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size / len(kept) < MOST_BYTES
