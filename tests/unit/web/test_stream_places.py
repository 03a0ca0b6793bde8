"""What a client says it has of a stream: header, query, and what is neither."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.errors import BadRequest
from pg_trio.web.stream_routes import read_place

ID = str(UUID(int=0xABC))


@given(st.integers(0, 10**10 - 1))
def test_number_is_read(number: int) -> None:
    assert number == read_place([], b"after=%d" % number, ID)
    assert number == read_place([(b"last-event-id", f"{ID}:{number}".encode())], b"", ID.upper())


def test_nothing_is_the_beginning() -> None:
    assert 0 == read_place([], b"", ID) == read_place([(b"last-event-id", b" ")], b"x=1", ID)


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_any_header_is_a_place_or_a_400(text: str) -> None:
    try:
        place = read_place([(b"last-event-id", text.encode("latin-1"))], b"after=7", ID)
    except BadRequest:
        return
    assert text.strip().lower() == f"{ID}:{text.strip().rpartition(':')[2]}" or (text.strip(), place) == ("", 7)


@pytest.mark.parametrize(
    "query", [b"after=", b"after=-1", b"after=1.0", b"after=%31%20", b"after=1&after=1", b"after=\xb2", b"after=+1"]
)
def test_other_numbers_are_refused(query: bytes) -> None:
    with pytest.raises(BadRequest, match="after: must be the number of an event"):
        read_place([], query, ID)


def test_two_headers_are_refused() -> None:
    one = (b"last-event-id", f"{ID}:1".encode())

    with pytest.raises(BadRequest):
        read_place([one, one], b"", ID)
