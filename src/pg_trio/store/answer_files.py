"""The files of kept answers: `answers/NN/NAME`, one for each. Synchronous, and all calls raise OSError.

Rules:
1. A file gets its name when it is complete up to its head and locked: it is made under another name, and linked. The
   link fails if the name is taken, so one of many claims wins.
2. Its writer holds the kernel's lock on it (flock) until it closes it. A file without an end and without that lock has
   lost its worker.
3. A file is removed only by a process that holds its lock, after it has seen that the name still leads to that file.
   So no one removes a file that took the name of an older one.
4. The modification time of an answer that has ended is the time until which it is kept. So a sweep reads no contents.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from pg_trio.store.answer_records import STATE_BYTES, AnswerState, DamagedAnswer

FOLDER_NAME = "answers"
WORKERS_NAME = "workers"
# A state is rewritten once; a reader that comes in that moment reads again.
STATE_TRIES = 3
# An unnamed file of a killed worker begins with this.
UNNAMED = "new-"


@frozen(slots=True)
class AnswerFile:
    """What a walk sees of a file. `kept_until` is Unix seconds: see rule 4."""

    path: Path
    kept_until: float
    size: int


@frozen(slots=True)
class AnswerFolder:
    """The folder of all answers, in 256 parts."""

    path: Path

    def prepare(self) -> None:
        """Make the folder and its parts, if they are not there."""
        parts = [self.path / f"{number:02x}" for number in range(256)]
        for path in (self.path, self.path / WORKERS_NAME, *parts):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path_of(self, name: bytes) -> Path:
        """Where the answer of that name is."""
        text = name.hex()
        return self.path / text[:2] / text[2:]

    def create(self, name: bytes, unique: str, data: bytes) -> int | None:
        """A locked file of that name with these first bytes; None if the name is taken, or if a sweep found the file
        before it was locked. `unique` is of this call."""
        path = self.path_of(name)
        unnamed = path.parent / f"{UNNAMED}{unique}"
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(unnamed, flags, 0o600)
        except FileNotFoundError:
            # Removed from outside.
            path.parent.mkdir(mode=0o700, exist_ok=True)
            file = os.open(unnamed, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_all(file, data)
            os.link(unnamed, path)
        except (FileExistsError, BlockingIOError, FileNotFoundError):
            os.close(file)
            return None
        except BaseException:
            os.close(file)
            raise
        finally:
            with suppress(OSError):
                os.unlink(unnamed)
        return file

    def open(self, name: bytes) -> int | None:
        """The file of that name, for reading; None if there is none."""
        try:
            file = os.open(self.path_of(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            return None
        return file

    def parts(self) -> Iterator[Path]:
        """The folders that hold answers."""
        with os.scandir(self.path) as entries:
            names = [entry.name for entry in entries if len(entry.name) == 2 and entry.is_dir(follow_symlinks=False)]
        return (self.path / name for name in sorted(names))


def walk_part(part: Path) -> list[AnswerFile]:
    """The files in one part of the folder."""
    found = []
    with os.scandir(part) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found.append(AnswerFile(part / entry.name, status.st_mtime, status.st_size))
    return found


def write_all(file: int, data: bytes) -> None:
    """Append the data. Raises OSError also where only a part of it could be written."""
    if os.write(file, data) != len(data):
        raise OSError("the disk took only a part")


def read_state(file: int) -> AnswerState:
    """The state of an open file. Raises DamagedAnswer."""
    for _ in range(STATE_TRIES - 1):
        with suppress(DamagedAnswer):
            return AnswerState.read(os.pread(file, STATE_BYTES, 0))
    return AnswerState.read(os.pread(file, STATE_BYTES, 0))


def has_writer(file: int) -> bool:
    """Whether a process holds the lock of an open file, or is looking for that at this moment."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def remove(path: Path, file: int) -> int | None:
    """Remove the file of that path, if it is this open one and has no writer. Its size, or None (rule 3)."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    try:
        return unlink_own(path, file)
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def unlink_own(path: Path, file: int) -> int | None:
    """Remove the file of that path, if it is this open one, which this process has locked. Its size, or None."""
    status = os.fstat(file)
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if (named.st_dev, named.st_ino) != (status.st_dev, status.st_ino):
        return None
    os.unlink(path)
    return status.st_size
