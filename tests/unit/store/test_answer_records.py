"""The bytes of a kept answer: what is written is read, and any other bytes are damage, never another error."""

from __future__ import annotations

import contextlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.kept_answer import ANSWER_ENDS, AnswerHead, AnswerStart
from pg_trio.store.answer_records import (
    PARTS,
    RECORD_BYTES,
    AnswerState,
    DamagedAnswer,
    pack_head,
    pack_parts,
    pack_record,
    pack_start,
    read_head,
    read_start,
    unpack_parts,
    unpack_record,
)

HEAD = AnswerHead(UUID(int=1), UUID(int=2), "a-slug", "chat", "sse", 1.5, b"\xff" * 32, 2.5)


def payload_of(record: bytes) -> bytes:
    found = unpack_record(record, 0)
    assert found is not None
    kind, payload, ends = found
    assert (record[RECORD_BYTES - 1 : RECORD_BYTES], len(record)) == (kind, ends)
    return payload


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=40))
def test_parts_come_back(parts: list[bytes]) -> None:
    assert parts == unpack_parts(payload_of(pack_parts(parts)))


@given(st.integers(100, 599), st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=50))), st.binary())
def test_start_comes_back(status: int, fields: list[tuple[bytes, bytes]], cut_end: bytes) -> None:
    start = AnswerStart(status, tuple(fields), cut_end, b": ping\n")

    assert start == read_start(payload_of(pack_start(start)))


@pytest.mark.parametrize("head", [HEAD, AnswerHead(UUID(int=1), UUID(int=2), "é", "gateway")])
def test_head_comes_back(head: AnswerHead) -> None:
    assert head == read_head(payload_of(pack_head(head)))


@pytest.mark.parametrize("ended", [None, *ANSWER_ENDS])
def test_state_comes_back(ended: object) -> None:
    state = AnswerState(b"12345678", ended, 1.8e9, 7, 12_345)  # type: ignore[arg-type]

    assert state == AnswerState.read(state.to_bytes())


@given(st.binary(max_size=200))
def test_other_bytes_are_damage(data: bytes) -> None:
    for read in (AnswerState.read, read_head, read_start, unpack_parts, lambda found: unpack_record(found, 0)):
        try:
            read(data)
        except DamagedAnswer:
            continue


@given(st.binary(min_size=1, max_size=60), st.data())
def test_changed_record_is_damage_or_incomplete(payload: bytes, data: st.DataObject) -> None:
    record = bytearray(pack_record(PARTS, payload))
    record[data.draw(st.integers(0, len(record) - 1))] ^= data.draw(st.integers(1, 255))

    with contextlib.suppress(DamagedAnswer):
        assert None is unpack_record(record, 0)


@given(st.binary(max_size=60), st.data())
def test_cut_record_is_incomplete(payload: bytes, data: st.DataObject) -> None:
    record = pack_record(PARTS, payload)

    assert None is unpack_record(record[: data.draw(st.integers(0, len(record) - 1))], 0)
