"""When text leaves the process, and what is left of a failure."""

from __future__ import annotations

import io
import os

import pytest

from pg_trio.cli.console import Console


def python_stream(*, line_buffering: bool = False, write_through: bool = False) -> io.TextIOWrapper:
    """Python's own stream, as its settings make it."""
    return io.TextIOWrapper(io.BytesIO(), "utf-8", line_buffering=line_buffering, write_through=write_through)


@pytest.mark.parametrize(
    ("like", "at_once"),
    [
        (None, b"line\n"),
        (python_stream(line_buffering=True), b"line\n"),
        # PYTHONUNBUFFERED, as most containers have it.
        (python_stream(write_through=True), b"line\n"),
        (python_stream(), b""),
    ],
    ids=["closed", "terminal", "unbuffered", "pipe"],
)
def test_line_leaves_as_from_pythons_own(like: io.TextIOWrapper | None, at_once: bytes) -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    console = Console(write, like)

    print("line", file=console)

    try:
        assert at_once == (os.read(read, 100) if at_once else _read_nothing(read))
    finally:
        console.close()
        os.close(read)
        os.close(write)


def _read_nothing(pipe: int) -> bytes:
    with pytest.raises(BlockingIOError):
        os.read(pipe, 100)
    return b""


def test_first_failure_is_kept() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    console = Console(full, python_stream(line_buffering=True))

    print("one", file=console)
    print("two", file=console)

    assert console.failure is not None
    assert "No space left on device" == console.failure.strerror
    console.close()
    os.close(full)
