"""Opens the shared file. The first process makes it, completely; an unusable file is set aside.

Rules:
1. Starting processes take turns (a lock file beside it). A new file is filled under another name and then renamed, so
   no process sees a partial file. Filling includes the month's spend from the log.
2. A file belongs to one boot of the machine. After a crash it is not known which of its pages reached the disk, and its
   times have no meaning. A file of an earlier boot is replaced.
3. A damaged, foreign, truncated or older file is renamed to `NAME.bad-SECONDS`, the log says so, and a new file is
   made. The newest few renamed files are kept. Workers that have it mapped check once a second, and move to the new one
   (renewal.py).
4. Its space is allocated when it is made, because a hole in a mapped file on a full disk would be a SIGBUS during a
   request.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

from attrs import frozen

from pg_trio.errors import StoreError
from pg_trio.shared_memory.segment import FREE, HEADER_BYTES, SLOT_BYTES, Segment

logger = logging.getLogger("pg_trio.shared_memory")

# Its name in a data directory.
SEGMENT_NAME = "shared.mem"
MAGIC = b"PGTRIOSM"
VERSION = 1
# 4 MiB: an endpoint with limits and a budget takes 5 slots and one more per worker, so some thousand endpoints.
DEFAULT_SLOTS = 65_536
# Making the file takes milliseconds. A process that needs longer is probably stopped, and the operator must know.
START_LIMIT_S = 10.0
START_PAUSE_S = 0.005
# Kept for finding the cause; each is as large as the file.
KEPT_ASIDE = 3

# Magic, version, bytes a slot, slots, Unix seconds of creation, boot id; then a hash of these.
_FIELDS = struct.Struct("=8sIIQQ16s")
_HASH_BYTES = 16
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@frozen
class SegmentHeader:
    """The file's header."""

    slots: int
    boot_id: bytes
    created_s: int = 0
    version: int = VERSION
    slot_bytes: int = SLOT_BYTES

    def to_bytes(self) -> bytes:
        """The bytes at the beginning of the file."""
        fields = _FIELDS.pack(MAGIC, self.version, self.slot_bytes, self.slots, self.created_s, self.boot_id)
        return fields + blake2b(fields, digest_size=_HASH_BYTES).digest()


def open_segment(
    path: Path,
    *,
    slots: int = DEFAULT_SLOTS,
    fill: Callable[[Segment], object] | None = None,
    unsound: Segment | None = None,
) -> Segment:
    """The gateway's segment, mapped. If there is no usable file, a new one is made, and `fill` writes its first
    content.

    An existing file keeps its number of slots. It is not used if it is the `unsound` one.
    Raises: StoreError if the file cannot be made, opened or locked.
    """
    try:
        with taking_turns(path):
            descriptor = _open_usable(path, unsound)
            if descriptor is not None:
                return Segment(descriptor, path, is_new=False)
            return _make(path, slots, fill)
    except OSError as exc:
        raise StoreError(_explain(path, exc)) from exc


def _explain(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"{path}: it or its .lock file is a symbolic link, which is not followed; remove the link."
    return (
        f"{path}: the shared memory file cannot be used ({error.strerror}); the gateway's user must own data_dir,"
        " and its disk must have some space."
    )


def open_existing(path: Path) -> Segment | None:
    """The existing file, for inspection: nothing is made or set aside. None if there is none of this boot.

    Raises: StoreError if it cannot be opened or used.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StoreError(f"{path}: cannot be opened ({exc.strerror}); the gateway's user must own it.") from exc
    head = os.pread(descriptor, _FIELDS.size + _HASH_BYTES, 0)
    complaint = _complaint(head, os.fstat(descriptor).st_size)
    if complaint is None and _FIELDS.unpack_from(head)[-1] == read_boot_id():
        return Segment(descriptor, path, is_new=False)
    os.close(descriptor)
    if complaint is not None:
        raise StoreError(f"{path}: {complaint}. The next start of `pg-trio serve` sets it aside and makes a new one.")
    return None


def read_created_s(segment: Segment) -> int:
    """When the file was made, in Unix seconds."""
    return int(_FIELDS.unpack_from(segment.memory)[4])


def count_used_slots(path: Path) -> int | None:
    """How many slots of the file at `path` have a key; None if there is no usable file."""
    try:
        segment = open_existing(path)
    except StoreError:
        return None
    if segment is None:
        return None
    try:
        kinds = segment.memory[HEADER_BYTES::SLOT_BYTES]
        return len(kinds) - kinds.count(FREE)
    finally:
        segment.close()


def read_boot_id() -> bytes:
    """16 bytes that differ after a reboot. Zeros if the system has none; times of another boot are then clamped."""
    try:
        return UUID(_BOOT_ID.read_text().strip()).bytes
    except FileNotFoundError:
        return bytes(16)


@contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """A block that one process at a time runs, by a lock file beside the path. Raises StoreError, OSError."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        with suppress(PermissionError):
            os.fchmod(descriptor, 0o600)
        limit = time.monotonic() + START_LIMIT_S
        while not _flock_nowait(descriptor):
            if time.monotonic() > limit:
                raise StoreError(f"{path}: another process has been opening it for {START_LIMIT_S:.0f} s; find it.")
            time.sleep(START_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _flock_nowait(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_usable(path: Path, unsound: Segment | None) -> int | None:
    """A descriptor of the file. None if a new one must be made; an unusable file is then set aside."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    head = os.pread(descriptor, _FIELDS.size + _HASH_BYTES, 0)
    status = os.fstat(descriptor)
    complaint = _complaint(head, status.st_size)
    if complaint is None and unsound is not None and os.path.samestat(status, os.fstat(unsound.descriptor)):
        complaint = "somebody else wrote into it"
    if complaint is None and _FIELDS.unpack_from(head)[-1] == read_boot_id():
        return descriptor
    os.close(descriptor)
    if complaint is None:
        logger.info("%s: of an earlier boot; made anew", path)
    else:
        _set_aside(path, complaint)
    return None


def _set_aside(path: Path, complaint: str) -> None:
    before = sorted(path.parent.glob(f"{path.name}.bad-*"), key=lambda aside: aside.name)
    aside = path.with_name(f"{path.name}.bad-{int(time.time())}")
    path.rename(aside)
    logger.error("%s: %s; set aside as %s and made anew", path, complaint, aside.name)
    for old in before[: -KEPT_ASIDE + 1]:
        old.unlink(missing_ok=True)


def _complaint(head: bytes, size: int) -> str | None:
    """Why a file with this header and size cannot be used; None if it can."""
    if not head.startswith(MAGIC):
        return "not a shared memory file of this gateway"
    if len(head) < _FIELDS.size + _HASH_BYTES:
        return f"truncated to {size} bytes"
    fields, digest = head[: _FIELDS.size], head[_FIELDS.size :]
    _, version, slot_bytes, slots, _, _ = _FIELDS.unpack(fields)
    if blake2b(fields, digest_size=_HASH_BYTES).digest() != digest:
        return "its header is damaged"
    if (version, slot_bytes) != (VERSION, SLOT_BYTES):
        return f"of version {version}, and this gateway writes version {VERSION}"
    expected = HEADER_BYTES + slots * SLOT_BYTES
    return None if size == expected else f"{size} bytes long instead of {expected}"


def _make(path: Path, slots: int, fill: Callable[[Segment], object] | None) -> Segment:
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    with ExitStack() as undo:
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Restore the bits that the umask removed.
        os.fchmod(descriptor, 0o600)
        undo.callback(unfinished.unlink)
        with ExitStack() as undo_open:
            undo_open.callback(os.close, descriptor)
            _allocate(descriptor, HEADER_BYTES + slots * SLOT_BYTES)
            os.pwrite(descriptor, SegmentHeader(slots, read_boot_id(), created_s=int(time.time())).to_bytes(), 0)
            segment = Segment(descriptor, path, is_new=True)
            undo_open.pop_all()
        undo.callback(segment.close)
        if fill is not None:
            fill(segment)
        unfinished.rename(path)
        undo.pop_all()
    return segment


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        # macOS has no such call; writing zeros has the same effect.
        os.pwrite(descriptor, bytes(size), 0)
