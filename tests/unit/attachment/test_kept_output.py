"""What a work has sent, for readers that come and go: each part once and in order, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.attachment import KeptOutput, OutputCut, OutputDropped
from pg_trio.attachment.kept_output import OutputReader


@define
class Meter:
    """What is kept of all outputs."""

    kept_bytes: int = 0

    def note(self, more_bytes: int) -> None:
        self.kept_bytes += more_bytes


def output(limit_bytes: int = 10, meter: Meter | None = None) -> KeptOutput[bytes]:
    return KeptOutput(len, limit_bytes, (meter or Meter()).note)


async def read_all(reader: OutputReader[bytes]) -> bytes:
    parts = []
    while (part := await reader.receive()) is not None:
        parts.append(part)
    return b"".join(parts)


async def test_whole_output_is_read_again_and_again(autojump_clock: MockClock) -> None:
    kept = output()
    for part in (b"ab", b"cd", b"ef"):
        await kept.add(part)
    kept.end()

    assert [b"abcdef", b"cdef", b""] == [await read_all(kept.open_reader(first)) for first in (0, 1, 3)]


@pytest.mark.parametrize("first", [-1, 4])
async def test_parts_that_are_not_there_are_lost(autojump_clock: MockClock, first: int) -> None:
    kept = output()
    for part in (b"ab", b"cd", b"ef"):
        await kept.add(part)

    with pytest.raises(OutputDropped):
        kept.open_reader(first)


async def test_work_waits_for_no_reader_of_a_whole_output(autojump_clock: MockClock) -> None:
    kept = output(limit_bytes=4)
    kept.open_reader(0)

    with trio.fail_after(1):
        await kept.add(b"ab")
        await kept.add(b"cd")

    assert (True, 4) == (kept.is_whole, kept.kept_bytes)


async def test_outgrown_output_waits_for_its_readers(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    meter = Meter()
    kept = output(4, meter)
    reader = kept.open_reader(0)
    added: list[bytes] = []

    async def work() -> None:
        for part in (b"ab", b"cd", b"ef", b"gh"):
            await kept.add(part)
            added.append(part)
        kept.end()

    nursery.start_soon(work)
    await wait_all_tasks_blocked()
    assert ([b"ab", b"cd"], 6, False) == (added, meter.kept_bytes, kept.is_whole)

    assert b"ab" == await reader.receive()
    await wait_all_tasks_blocked()
    # The next one is too much again.
    assert ([b"ab", b"cd", b"ef"], 6) == (added, meter.kept_bytes)
    assert b"cdefgh" == await read_all(reader)
    kept.close_reader(reader)
    assert 0 == meter.kept_bytes


async def test_outgrown_output_without_a_reader_keeps_nothing(autojump_clock: MockClock) -> None:
    meter = Meter()
    kept = output(3, meter)

    with trio.fail_after(1):
        for _ in range(10):
            await kept.add(b"ab")

    assert (0, False, 10) == (meter.kept_bytes, kept.is_whole, kept.next_part)
    with pytest.raises(OutputDropped):
        kept.open_reader(0)


async def test_slowest_reader_holds_the_memory(autojump_clock: MockClock) -> None:
    meter = Meter()
    kept = output(10, meter)
    quick, slow = kept.open_reader(0), kept.open_reader(0)
    for _ in range(5):
        await kept.add(b"ab")
    for _ in range(4):
        await quick.receive()
    await slow.receive()

    kept.shed()
    assert 8 == meter.kept_bytes
    kept.close_reader(slow)
    assert 2 == meter.kept_bytes


async def test_cut_output_is_told_behind_its_last_part(autojump_clock: MockClock) -> None:
    kept = output()
    await kept.add(b"ab")
    kept.end("stopped")
    kept.end()
    reader = kept.open_reader(0)

    assert b"ab" == await reader.receive()
    with pytest.raises(OutputCut, match="stopped"):
        await reader.receive()


PARTS = st.lists(st.binary(min_size=1, max_size=6), max_size=30)
# A reader's pauses: in seconds, before each part.
PACES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=5)


@given(PARTS, st.integers(1, 20), st.lists(PACES, min_size=1, max_size=3), PACES)
def test_readers_that_stay_get_everything(
    parts: Sequence[bytes], limit_bytes: int, readers: Sequence[Sequence[float]], pace: Sequence[float]
) -> None:
    async def run() -> None:
        meter = Meter()
        kept, got = output(limit_bytes, meter), [b""] * len(readers)
        most = 0

        async def read(number: int, paces: Sequence[float]) -> None:
            reader = kept.open_reader(0)
            place = 0
            while True:
                await trio.sleep(paces[place % len(paces)])
                if (part := await reader.receive()) is None:
                    break
                got[number] += part
                place += 1
            kept.close_reader(reader)

        async with trio.open_nursery() as nursery:
            for number, paces in enumerate(readers):
                nursery.start_soon(read, number, paces)
            await wait_all_tasks_blocked()
            for place, part in enumerate(parts):
                await trio.sleep(pace[place % len(pace)])
                await kept.add(part)
                most = max(most, meter.kept_bytes)
            kept.end()

        assert [b"".join(parts)] * len(readers) == got
        # One part more than the limit is on its way at most.
        assert most <= limit_bytes + 6
        assert meter.kept_bytes == (len(b"".join(parts)) if kept.is_whole else 0)

    trio.run(run, clock=MockClock(autojump_threshold=0))
