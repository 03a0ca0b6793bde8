"""Bodies: every split gives the same bytes, and what is no chunked body is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.server.http1.body import MAX_SIZE_LINE_BYTES, ChunkedBody, LengthBody, open_body
from pg_trio.server.http1.head import Refused


def feed_all(body: ChunkedBody | LengthBody, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """The body's bytes, and what was left behind its end."""
    found = rest = b""
    for piece in pieces:
        if body.ended:
            rest += piece
            continue
        part, left = body.feed(piece)
        found += part
        rest += left
    return found, rest


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    positions = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(positions)]


@given(st.binary(max_size=40), st.binary(max_size=10), st.lists(st.integers(0, 99), max_size=5))
def test_length_ends_exactly(content: bytes, behind: bytes, cuts: list[int]) -> None:
    body = open_body(len(content))

    result = feed_all(body, split_at(content + behind, cuts))

    assert (content, behind, True) == (*result, body.ended)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.sampled_from([b"", b";x", b';x="y;z"', b";" + b"a" * 200]),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
    st.binary(max_size=10),
    st.lists(st.integers(0, 999), max_size=8),
)
def test_chunks_end_exactly(
    chunks: list[bytes], extension: bytes, trailers: bytes, behind: bytes, cuts: list[int]
) -> None:
    wire = (
        b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"
    )
    body = open_body(None)

    result = feed_all(body, split_at(wire + behind, cuts))

    assert (b"".join(chunks), behind, True) == (*result, body.ended)


@given(st.lists(st.sampled_from([b"0", b"5", b"\r\n", b"\n", b"\r", b";", b"abcde", b":", b"a", b" "]), max_size=20))
def test_split_changes_nothing(pieces: list[bytes]) -> None:
    """Byte by byte the same as at once; refused, or understood, and never anything else."""

    def outcome(parts: list[bytes]) -> object:
        body = ChunkedBody()
        try:
            return *feed_all(body, parts), body.ended
        except Refused:
            return "refused"

    data = b"".join(pieces)

    assert outcome([data]) == outcome([data[index : index + 1] for index in range(len(data))])


def test_size_line_is_bounded() -> None:
    body = ChunkedBody()
    body.feed(b"5;" + b"a" * (MAX_SIZE_LINE_BYTES - 2))

    with pytest.raises(Refused):
        body.feed(b"a")


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"HOST"])
def test_trailer_cannot_frame(name: bytes) -> None:
    with pytest.raises(Refused):
        ChunkedBody().feed(b"0\r\n" + name + b": 5\r\n\r\n")
