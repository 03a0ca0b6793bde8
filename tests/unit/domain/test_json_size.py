"""What parsing a JSON text costs, told from its bytes."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.json_size import MAX_NODES, has_too_many_nodes

LIMIT = 10


@pytest.mark.parametrize("text", [b"[" + b"[]," * 10 + b"0]", b"[" * 11, b'{"k":1,' * 6, b'{"a":1,"b":{"c":[]}}' * 3])
def test_containers_and_keys_count(text: bytes) -> None:
    assert has_too_many_nodes(text, LIMIT)


@pytest.mark.parametrize(
    "value",
    [
        list(range(1000)),
        "[{:" * 1000,
        {"text": '"[' * 1000},
        {"text": "\\" * 999},
        {"arguments": orjson.dumps({str(n): [] for n in range(100)}).decode()},
    ],
)
def test_numbers_and_texts_do_not(value: object) -> None:
    assert not has_too_many_nodes(orjson.dumps(value), LIMIT)


JSON = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('a"\\[{:,é', max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('k":[', max_size=3), inner, max_size=4),
    max_leaves=30,
)


def count(value: object) -> int:
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(count, value.values()))
    return 0


@given(value=JSON, piece_bytes=st.integers(2, 9))
def test_count_is_exact(value: object, piece_bytes: int) -> None:
    text = orjson.dumps(value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pg_trio.domain.json_size._PIECE_BYTES", piece_bytes)
        assert has_too_many_nodes(text, LIMIT) is (count(value) > LIMIT)

    assert has_too_many_nodes(text, LIMIT) is (count(value) > LIMIT)


def test_short_text_is_not_looked_at() -> None:
    assert not has_too_many_nodes(b"[" * MAX_NODES)
