"""Short messages between the workers that share a folder of answers: a named pipe for each worker.

Rules:
1. A message is MESSAGE_BYTES long, so that the kernel writes it whole or not at all (pipe(7), PIPE_BUF).
2. Messages may get lost: the receiver's pipe may be full, its process may have ended. So none carries data, and
   those who wait for one look for themselves after POLL_S (answer_reader.py).
3. The pipes belong to the gateway's user (mode 0600). Messages of unknown kinds are ignored.

Why pipes: a socket's path may have 107 bytes only, and a pipe without a reader tells that its worker has ended.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import trio
from attrs import frozen

from pg_trio.store.answer_records import WORKER_ID_BYTES

logger = logging.getLogger("pg_trio.store")

_MESSAGE = struct.Struct(f"<c7x{WORKER_ID_BYTES}s32sQ")
MESSAGE_BYTES = _MESSAGE.size
# A reader has read all bytes before `number`, and waits for more.
WAIT = b"W"
# There is more to read, or the answer has ended.
GROWN = b"G"
# `number` readers of the sender's worker are attached.
READERS = b"R"
# How many are attached of the receiver's worker?
COUNT = b"C"
# A reader asks for the answer's end.
STOP = b"S"
# Pipes of other workers that are kept open: more than a machine has workers, of two configurations during a reload.
OPEN_PIPES = 256
# What a pipe without a reader says, and one that is gone. Other errors (no free descriptor) say nothing of its worker.
ENDED = (errno.EPIPE, errno.ENXIO, errno.ENOENT)


@frozen(slots=True)
class PipeMessage:
    """What one worker tells another about an answer."""

    kind: bytes
    sender: bytes
    name: bytes
    number: int = 0


Take: TypeAlias = Callable[[PipeMessage], None]


class AnswerPipes:
    """One worker's pipe, and the pipes of the others. Raises OSError if the pipe cannot be made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.worker = secrets.token_bytes(WORKER_ID_BYTES)
        self._path = folder / self.worker.hex()
        os.mkfifo(self._path, 0o600)
        # For reading and writing, so that it has a reader at any time, and no end.
        self._pipe = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._others: dict[bytes, int] = {}

    async def run(self, take: Take) -> None:
        """Take messages until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._pipe)
            for message in self._receive():
                try:
                    take(message)
                except Exception:
                    logger.exception("a message about a kept answer: unexpected error")

    def _receive(self) -> Iterator[PipeMessage]:
        with suppress(BlockingIOError):
            data = os.read(self._pipe, MESSAGE_BYTES * 1_000)
            for at in range(0, len(data) - MESSAGE_BYTES + 1, MESSAGE_BYTES):
                yield PipeMessage(*_MESSAGE.unpack_from(data, at))

    def send(self, worker: bytes, kind: bytes, name: bytes, number: int = 0) -> bool:
        """Tell another worker. False if its process has ended; True says not that it was told (rule 2)."""
        try:
            pipe = self._others.get(worker) or self._open(worker)
            os.write(pipe, _MESSAGE.pack(kind, self.worker, name, number))
        except BlockingIOError:
            return True
        except OSError as error:
            self._forget(worker)
            return error.errno not in ENDED
        return True

    def _open(self, worker: bytes) -> int:
        if len(self._others) >= OPEN_PIPES:
            self._forget(next(iter(self._others)))
        pipe = open_pipe(self._folder / worker.hex())
        self._others[worker] = pipe
        return pipe

    def _forget(self, worker: bytes) -> None:
        pipe = self._others.pop(worker, None)
        if pipe is not None:
            os.close(pipe)

    def sweep(self) -> None:
        """Remove the pipes of workers that have ended. Raises OSError."""
        for entry in list(os.scandir(self._folder)):
            path = self._folder / entry.name
            if path != self._path and entry.name not in {worker.hex() for worker in self._others}:
                try:
                    os.close(open_pipe(path))
                except OSError as error:
                    if error.errno in ENDED:
                        path.unlink(missing_ok=True)

    def close(self) -> None:
        """Take and tell no more."""
        for worker in list(self._others):
            self._forget(worker)
        os.close(self._pipe)
        self._path.unlink(missing_ok=True)


def open_pipe(path: Path) -> int:
    """A pipe, for writing without waiting. Raises OSError if it has no reader, or is none."""
    pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
        os.close(pipe)
        raise OSError(errno.ENXIO, "not a pipe")
    return pipe
