"""Standard output and standard error, for every command.

Rules:
1. Text in an encoding that lacks a character is written legibly: `·` as `-`, `…` as `...`, everything else escaped.
2. A failed write raises nothing and is remembered. A closed reader or a log on a full disk must not end the work. The
   next write is tried again, because the disk may have space by then.
3. A reader that has left (`head`, `less`) does not change a command's exit status. Any other failure (a full disk, a
   closed descriptor) is exit status 1 and a line on standard error, for a command whose output is its result.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

LEGIBLE = "pg_trio.legible"
# The non-ASCII characters of the gateway's own texts.
_PLAIN = {"·": "-", "…": "...", "–": "-", "—": "-", "→": "->", "×": "x", "≥": ">=", "≤": "<=", "µ": "u"}


def _write_legibly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = [_PLAIN.get(character) or _escape(character) for character in lacking]
    return "".join(plain), error.end


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(LEGIBLE, _write_legibly)


class _Descriptor(io.FileIO):
    """A file descriptor whose writes raise nothing (rule 2)."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            # None: the descriptor is full and does not block. Another process may have made the pipe non-blocking.
            while (written := super().write(data)) is None:
                select.select([], [self.fileno()], [])
            return written
        except OSError as error:
            # The first failure is kept: after a full disk, a reader that left does not matter.
            self.failure = self.failure or error
            return memoryview(data).nbytes


class Console(io.TextIOWrapper):
    """Standard output or standard error with the rules above."""

    def __init__(self, number: int, like: TextIO | None) -> None:
        """Replaces Python's own text stream `like`, which is None if the descriptor was closed."""
        self._descriptor = _Descriptor(number, "w", closefd=False)
        old = like if isinstance(like, io.TextIOWrapper) else None
        super().__init__(
            io.BufferedWriter(self._descriptor),
            encoding=old.encoding if old is not None else "utf-8",
            errors=LEGIBLE,
            # PYTHONUNBUFFERED sets `write_through` on Python's stream; here it means a line at a time.
            line_buffering=old is None or old.line_buffering or old.write_through,
        )

    @property
    def failure(self) -> OSError | None:
        """The error of the first failed write; None if there was none."""
        return self._descriptor.failure


def output_failure() -> OSError | None:
    """Why some of standard output could not be written; None if all of it was."""
    sys.stdout.flush()
    return sys.stdout.failure if isinstance(sys.stdout, Console) else None


@contextmanager
def own_console() -> Iterator[None]:
    """Inside the block, `sys.stdout` and `sys.stderr` follow the rules. Streams that other code has replaced stay."""
    before = sys.stdout, sys.stderr
    if before != (sys.__stdout__, sys.__stderr__):
        yield
        return
    _fill_closed()
    for stream in before:
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    console = sys.stdout, sys.stderr = Console(1, before[0]), Console(2, before[1])
    try:
        yield
    finally:
        for stream in console:
            stream.flush()
        sys.stdout, sys.stderr = before


def final_status(status: int, *, is_result: bool) -> int:
    """The exit status of a command that would end with `status` (rule 3). `is_result`: the command's output is its
    result."""
    failure = output_failure()
    if failure is None or failure.errno == errno.EPIPE or not is_result:
        return status
    print(f"pg-trio: standard output: {failure.strerror}", file=sys.stderr)
    return status or 1


def _fill_closed() -> None:
    """Open the descriptors 0 to 2 that the caller has closed, so that no file or socket gets such a number. Standard
    output is opened for reading, so that writing to it still fails, as it does for other programs."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one, because the ones below are open.
            os.open(os.devnull, mode)
            os.set_inheritable(number, True)
