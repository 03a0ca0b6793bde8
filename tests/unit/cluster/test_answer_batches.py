"""A kept answer's parts as entries of a stream: made, sent in any batches, read from any part on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.cluster.redis import answer_batches
from pg_trio.cluster.redis.answer_batches import END, START_ENTRY, BatchMaker, EntryReader, end_entry
from pg_trio.domain.kept_answer import AnswerEnd, AnswerStart
from pg_trio.store.answer_records import DamagedAnswer

START = AnswerStart(200, ((b"a", b"b"),), b"cut", b":")
PARTS = st.lists(st.binary(max_size=30), max_size=12)


class Log:
    """What Redis does with batches: entries in the order of their numbers, which only grow."""

    def __init__(self) -> None:
        self.entries: list[tuple[tuple[int, int], bytes, bytes, bytes]] = []

    def send(self, maker: BatchMaker) -> None:
        """Everything that the maker has."""
        while maker.has_more:
            batch = maker.make()
            triples = list(zip(*[iter(batch.entries)] * 3, strict=True))
            if batch.how:
                triples.append((batch.end, END, batch.how.encode()))
            for number, kind, data in triples:
                assert isinstance(kind, bytes)
                assert isinstance(data, bytes)
                self._append(str(number), kind, data)

    def _append(self, number: str, kind: bytes, data: bytes) -> None:
        place = place_of(number)
        assert not self.entries or self.entries[-1][0] < place
        self.entries.append((place, number.encode(), kind, data))

    def read_from(self, entry: str) -> Sequence[tuple[bytes, bytes, bytes]]:
        """As XRANGE."""
        place = place_of(entry.lstrip("("))
        after = entry.startswith("(")
        return [each[1:] for each in self.entries if each[0] > place or (each[0] == place and not after)]


def place_of(number: str) -> tuple[int, int]:
    first, _, second = number.partition("-")
    return int(first), int(second)


def read(log: Log, after: int = 0) -> EntryReader:
    reader = EntryReader()
    if after:
        reader.seek(after)
    for entry in log.read_from(reader.next_entry):
        reader.take(*entry)
    return reader


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_batches, "BATCH_BYTES", 10)


@given(rounds=st.lists(PARTS, max_size=5), how=st.sampled_from(["whole", "stopped", "failed"]))
def test_every_part_is_read_from_every_place(rounds: list[list[bytes]], how: AnswerEnd) -> None:
    maker, log = BatchMaker(), Log()
    maker.begin(START)
    for parts in rounds:
        maker.add(parts)
        log.send(maker)
    maker.end(how, is_over=True)
    log.send(maker)
    parts = [part for each in rounds for part in each]

    assert START == read(log).start
    for after in range(len(parts) + 1):
        reader = read(log, after)
        assert (parts[after:], how, len(parts)) == (reader.parts, reader.ended, reader.number)
    assert 0 == maker.unsent_bytes
    assert not maker.has_more


@given(parts=PARTS, sent=st.integers(0, 20))
def test_answer_that_is_given_up_ends_wherever_it_was(parts: list[bytes], sent: int) -> None:
    maker, log = BatchMaker(), Log()
    maker.add(parts)
    for _ in range(sent):
        if maker.has_more:
            batch = maker.make()
            for number, kind, data in zip(*[iter(batch.entries)] * 3, strict=True):
                assert isinstance(kind, bytes)
                assert isinstance(data, bytes)
                log._append(str(number), kind, data)

    maker.drop()
    maker.end("outgrown", is_over=False)
    log.send(maker)
    maker.end("whole", is_over=True)
    log.send(maker)

    reader = read(log)
    assert "outgrown" == reader.ended
    assert parts[: len(reader.parts)] == reader.parts
    assert 0 == maker.unsent_bytes


def test_answer_without_parts_has_an_end() -> None:
    maker, log = BatchMaker(), Log()
    maker.end("failed", is_over=True)
    log.send(maker)

    assert ("failed", []) == (read(log).ended, read(log).parts)


@pytest.mark.parametrize("missing", [1, 2])
def test_missing_entry_is_noticed(missing: int) -> None:
    maker, log = BatchMaker(), Log()
    for part in (b"1" * 9, b"2" * 9, b"3" * 9):
        maker.add([part])
        log.send(maker)
    del log.entries[missing - 1]

    with pytest.raises(DamagedAnswer):
        read(log)


@pytest.mark.parametrize(
    "entry", [(b"1-1", b"p", b"\0\0"), (b"1-1", b"p", None), (None, b"p", b""), (b"2-1", b"l", b"")]
)
def test_foreign_entry_is_no_part(entry: tuple[bytes, bytes, bytes]) -> None:
    with pytest.raises(DamagedAnswer):
        EntryReader().take(*entry)


def test_end_is_behind_all_parts() -> None:
    assert "8-0" == end_entry(7)
    assert place_of(START_ENTRY) < place_of(end_entry(0))
