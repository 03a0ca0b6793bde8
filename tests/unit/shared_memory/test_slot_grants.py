"""What a node holds of slots that nodes share: one value for all workers, whole whatever happens to its writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pg_trio.shared_memory.segment import COPIES, SLOT_GRANT_COPY, Segment
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.slot_grants import GrantRecord, SlotGrant, SlotGrants

KEY = bytes(20)
GRANT = SlotGrant(2**40, 1_000_000, 7, 3, True, 12.5, 13.25, 11.0)


@pytest.fixture
def segments(tmp_path: Path) -> Iterator[list[Segment]]:
    """The same file, opened by two workers."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=64))) for _ in range(2)]


def find(segment: Segment) -> GrantRecord:
    record = SlotGrants(segment).find(KEY)
    assert record is not None
    return record


def write(record: GrantRecord, grant: SlotGrant) -> None:
    assert record.hold()
    record.write(grant)
    record.release()


def test_worker_reads_what_another_wrote(segments: list[Segment]) -> None:
    here, there = map(find, segments)
    before = there.read()

    write(here, GRANT)

    assert (SlotGrant(0, 0, 0, 0, False, 0.0, 0.0, 0.0), GRANT) == (before, there.read())


def test_one_worker_writes_at_a_time(segments: list[Segment]) -> None:
    here, there = map(find, segments)
    assert here.hold()

    assert not there.hold()
    here.release()
    assert there.hold()


def test_writer_killed_half_way_leaves_the_old_grant(segments: list[Segment]) -> None:
    here, there = map(find, segments)
    write(here, GRANT)
    write(here, GRANT._replace(granted=5))

    # The next copy is filled in part, and the selector was not turned.
    place = segments[0].find_slot(SLOT_GRANT_COPY, KEY) + COPIES
    segments[0].memory[place : place + 20] = bytes([255]) * 20

    assert 5 == there.read().granted


def test_full_file_has_no_grant(segments: list[Segment]) -> None:
    grants = SlotGrants(segments[0])

    found = [grants.find(bytes([number])) for number in range(40)]

    assert found[0] is not None
    assert found[-1] is None


def test_another_file_grants_nothing(segments: list[Segment], tmp_path: Path) -> None:
    grants = SlotGrants(segments[0])
    record = grants.find(KEY)
    assert record is not None
    write(record, GRANT)

    with closing(open_segment(tmp_path / "new.mem", slots=64)) as new:
        grants.rebind(new)
        assert 0 == record.read().granted
        write(record, GRANT)
        assert find(new).read() == GRANT
