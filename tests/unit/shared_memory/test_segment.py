"""The file: made whole, shared, set aside when it cannot be used; the table: one slot a key, full means an error."""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pg_trio.errors import Overloaded, StoreError
from pg_trio.shared_memory import byte_lock
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.segment import BUCKET, COPIES, FREE, HEADER_BYTES, SELECTOR, SLOT_BYTES, SPEND_ROW, Segment
from pg_trio.shared_memory.segment_file import SegmentHeader, open_existing, open_segment, read_boot_id

FORM = struct.Struct("=qqIxx")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.mem"


def make(path: Path, slots: int = 16) -> None:
    open_segment(path, slots=slots).close()


def rewrite_header(path: Path, header: SegmentHeader) -> None:
    with path.open("r+b") as file:
        file.write(header.to_bytes())


def test_new_file_is_private_and_whole(path: Path) -> None:
    with closing(open_segment(path, slots=16)) as segment:
        status = path.stat()
        lock = path.with_name("shared.mem.lock")

        assert (True, 16, True) == (segment.is_new, segment.slots, segment.is_current())
        assert (0o600, HEADER_BYTES + 16 * SLOT_BYTES) == (stat.S_IMODE(status.st_mode), status.st_size)
        assert status.st_blocks * 512 >= status.st_size
        assert 0o600 == stat.S_IMODE(lock.stat().st_mode)


def test_second_opener_sees_what_first_wrote(path: Path) -> None:
    with closing(open_segment(path, slots=16)) as one, closing(open_segment(path, slots=99)) as other:
        one.write(one.find_slot(SPEND_ROW, b"k"), FORM, 1, 2, 3)

        assert (False, 16) == (other.is_new, other.slots)
        assert (1, 2, 3) == other.read(other.find_slot(SPEND_ROW, b"k"), FORM)


def test_values_outlive_every_opener(path: Path) -> None:
    with closing(open_segment(path, slots=16)) as segment:
        segment.write(segment.find_slot(SPEND_ROW, b"k"), FORM, 1, 2, 3)

    with closing(open_segment(path, slots=16)) as segment:
        assert (1, 2, 3) == segment.read(segment.find_slot(SPEND_ROW, b"k"), FORM)


def test_file_appears_only_when_filled(path: Path) -> None:
    def fail(segment: Segment) -> None:
        assert not path.exists()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        open_segment(path, slots=16, fill=fail)
    with closing(open_segment(path, slots=16)) as segment:
        assert segment.is_new


def test_file_without_space_is_explained(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEADER_BYTES, hard))
    try:
        with pytest.raises(StoreError, match="its disk must have some space"):
            open_segment(path, slots=16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert ["shared.mem.lock"] == [file.name for file in path.parent.iterdir()]


def test_existing_file_is_not_filled_again(path: Path) -> None:
    make(path)
    filled: list[Segment] = []

    open_segment(path, fill=filled.append).close()

    assert [] == filled


def truncate(path: Path) -> None:
    os.truncate(path, HEADER_BYTES + 100)


def truncate_in_header(path: Path) -> None:
    os.truncate(path, 20)


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[17] ^= 1
    path.write_bytes(content)


def make_older(path: Path) -> None:
    rewrite_header(path, SegmentHeader(16, read_boot_id(), version=0))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (truncate, "4196 bytes long instead of 5120"),
        (truncate_in_header, "truncated to 20 bytes"),
        (fill_with_garbage, "not a shared memory file of this gateway"),
        (empty, "not a shared memory file of this gateway"),
        (flip_bit, "its header is damaged"),
        (make_older, "of version 0, and this gateway writes version 1"),
    ],
)
def test_unusable_file_is_set_aside(
    path: Path, spoil: Callable[[Path], None], complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    make(path)
    spoil(path)
    spoiled = path.read_bytes()

    with closing(open_segment(path, slots=16)) as segment:
        assert segment.is_new

    [aside] = path.parent.glob("shared.mem.bad-*")
    assert spoiled == aside.read_bytes()
    assert [f"{path}: {complaint}; set aside as {aside.name} and made anew"] == caplog.messages


def test_file_of_earlier_boot_is_made_anew(path: Path) -> None:
    with closing(open_segment(path, slots=16)) as segment:
        segment.write(segment.find_slot(SPEND_ROW, b"k"), FORM, 1, 2, 3)
    rewrite_header(path, SegmentHeader(16, b"another boot, ok"))

    with closing(open_segment(path, slots=16)) as segment:
        assert (True, (0, 0, 0)) == (segment.is_new, segment.read(segment.find_slot(SPEND_ROW, b"k"), FORM))

    assert ["shared.mem", "shared.mem.lock"] == sorted(file.name for file in path.parent.iterdir())


def test_look_from_outside_sees_no_earlier_boot(path: Path) -> None:
    make(path)
    rewrite_header(path, SegmentHeader(16, b"another boot, ok"))

    assert open_existing(path) is None
    assert path.exists()


def test_replaced_file_is_noticed_by_those_who_have_it(path: Path) -> None:
    with closing(open_segment(path, slots=16)) as old:
        truncated_later = path.with_name("elsewhere")
        path.rename(truncated_later)
        missing = old.is_current()
        make(path)

        assert (False, False) == (missing, old.is_current())


@pytest.mark.parametrize("obstacle", ["directory", "symlink", "no directory"])
def test_unusable_place_is_explained(tmp_path: Path, obstacle: str) -> None:
    path = tmp_path / "shared.mem"
    if obstacle == "directory":
        path.mkdir()
    elif obstacle == "symlink":
        path.symlink_to(tmp_path / "target")
    else:
        path = tmp_path / "missing" / "shared.mem"

    with pytest.raises(StoreError, match=r"the shared memory file cannot be used|symbolic link"):
        open_segment(path, slots=16)


def test_full_table_is_an_error_for_new_keys_only(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(open_segment(path, slots=4)) as segment:
        offsets = [segment.find_slot(BUCKET, bytes((number,))) for number in range(4)]

        for _ in range(2):
            with pytest.raises(Overloaded):
                segment.find_slot(BUCKET, b"one more")

        assert 4 == len(set(offsets))
        assert offsets == [segment.find_slot(BUCKET, bytes((number,))) for number in range(4)]
        assert 2 == segment.counters.table_full
        assert 1 == len(caplog.messages)


def test_kinds_and_seats_of_a_key_have_own_slots(path: Path) -> None:
    with closing(open_segment(path, slots=16)) as segment:
        offsets = {segment.find_slot(BUCKET, b"k"), *(segment.find_slot(SPEND_ROW, b"k", seat) for seat in range(3))}

    assert 4 == len(offsets)


def test_claim_left_half_way_is_made_again(path: Path) -> None:
    with closing(open_segment(path, slots=1)) as segment:
        # Killed after the key and before the kind, which is written last.
        segment.memory[HEADER_BYTES + 4 : HEADER_BYTES + 20] = b"half of some key"

        offset = segment.find_slot(SPEND_ROW, b"k")

        assert (HEADER_BYTES, (0, 0, 0)) == (offset, segment.read(offset, FORM))


def test_claim_of_stopped_worker_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_lock, "LOCK_LIMIT_S", 0.0)
    with closing(open_segment(path, slots=64)) as stopped, closing(open_segment(path)) as segment:
        offset = segment.find_slot(BUCKET, b"k")
        segment.memory[offset] = FREE  # as before its claim was complete
        lock = ByteLock(stopped.descriptor, offset)
        lock.acquire_nowait()

        with pytest.raises(Overloaded):
            segment.find_slot(BUCKET, b"k")
        lock.release()

        assert (offset, 1) == (segment.find_slot(BUCKET, b"k"), segment.counters.stuck)


@pytest.mark.parametrize("written_bytes", range(FORM.size + 1))
def test_write_cut_at_any_byte_leaves_old_value(path: Path, written_bytes: int) -> None:
    with closing(open_segment(path, slots=1)) as segment:
        offset = segment.find_slot(SPEND_ROW, b"k")
        segment.write(offset, FORM, 1, 2, 3)
        # What a write does first, cut short; the selector, a single byte, is turned after it.
        unused = offset + COPIES + FORM.size * ((segment.memory[offset + SELECTOR] + 1) & 1)
        segment.memory[unused : unused + written_bytes] = b"\xff" * written_bytes

        assert (1, 2, 3) == segment.read(offset, FORM)
        segment.write(offset, FORM, 4, 5, 6)
        assert (4, 5, 6) == segment.read(offset, FORM)


def test_writer_that_dies_leaves_old_value(path: Path) -> None:
    class CutShort(struct.Struct):
        def pack_into(self, memory: Any, offset: int, *value: Any) -> None:
            memory[offset : offset + 5] = b"\xff" * 5
            raise MemoryError

    with closing(open_segment(path, slots=1)) as segment:
        offset = segment.find_slot(SPEND_ROW, b"k")
        segment.write(offset, FORM, 1, 2, 3)
        with pytest.raises(MemoryError):
            segment.write(offset, CutShort(FORM.format), 4, 5, 6)

        assert (1, 2, 3) == segment.read(offset, FORM)


def test_copy_that_changes_while_read_is_read_again(path: Path) -> None:
    class Overtaken(struct.Struct):
        looks = 0

        def unpack_from(self, memory: Any, offset: int = 0) -> tuple[int, ...]:
            self.looks += 1
            if self.looks == 1:
                for number in (4, 7):
                    segment.write(slot, FORM, number, number + 1, number + 2)
                return (1, 2, 9)  # half of the old value, half of the new
            return FORM.unpack_from(memory, offset)

    with closing(open_segment(path, slots=1)) as segment:
        slot = segment.find_slot(SPEND_ROW, b"k")
        segment.write(slot, FORM, 1, 2, 3)

        assert (7, 8, 9) == segment.read(slot, Overtaken(FORM.format))


def test_closing_twice_changes_nothing(path: Path) -> None:
    segment = open_segment(path, slots=1)
    segment.close()

    segment.close()

    assert segment.memory.closed


def test_what_went_wrong_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(open_segment(path, slots=16)) as segment:
        segment.tell_counters()
        segment.counters.takeovers += 1
        segment.tell_counters()
        segment.tell_counters()
        segment.counters.table_full += 3
        segment.tell_counters()

    told = [record.getMessage().partition("began: ")[2] for record in caplog.records]
    assert ["0 requests", "3 requests"] == [text[:10] for text in told]
    assert told[0].endswith("1 places were taken over from one")


def mapped_kb(path: Path) -> int:
    """KB of this file in this process's memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.endswith(str(path)))
    return int(next(line for line in lines[start:] if line.startswith("Rss:")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells it")
def test_pages_go_after_all_slots_were_read(path: Path) -> None:
    with closing(open_segment(path, slots=4096)) as segment:
        offset = segment.find_slot(BUCKET, b"key")
        segment.write(offset, FORM, 1, 2, 3)
        assert segment.is_sound()
        before = mapped_kb(path)

        segment.let_pages_go()

        assert (True, 0) == (before >= 256, mapped_kb(path))
        assert (1, 2, 3) == segment.read(offset, FORM)
        assert segment.is_sound()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may let locked pages go")
def test_locked_pages_stay(path: Path) -> None:
    """As where an operator locks all memory of the process: that must not end the worker."""
    libc = ctypes.CDLL(None)
    with closing(open_segment(path, slots=64)) as segment:
        page = ctypes.c_char.from_buffer(segment.memory)
        if libc.mlock(ctypes.c_void_p(ctypes.addressof(page)), 1):
            pytest.skip("no page may be locked here")
        del page

        segment.let_pages_go()

        assert segment.is_sound()
