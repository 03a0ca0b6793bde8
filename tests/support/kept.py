"""Kept answers for tests: heads, names, and a process that writes one and is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import trio

from pg_trio.attachment.answer_store import AnswerWriter, KeptAnswer
from pg_trio.domain.kept_answer import AnswerHead, AnswerOwner, KeepLimits
from pg_trio.store.answer_reader import FileKeptAnswer
from pg_trio.store.answer_writer import FileAnswerWriter
from pg_trio.store.file_answers import FileAnswerStore

OWNER = AnswerOwner(UUID(int=1), 7)
HEAD = AnswerHead(UUID(int=9), UUID(int=2), "chat", "gateway", at=1_000.0, body_digest=b"\1" * 32)
LIMITS = KeepLimits(1_000_000)
NAME = OWNER.name("stream", "one")

_WRITE = """
import sys, trio
from tests.support.kept import HEAD, LIMITS, NAME, open_store
from pathlib import Path

async def main():
    store = open_store(Path(sys.argv[1]))
    writer = await store.claim(NAME, HEAD, LIMITS)
    writer.add([b"first", b"second"])
    print("written", flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


def open_store(folder: Path, max_bytes: int = 10_000_000, max_answers: int = 1_000) -> FileAnswerStore:
    """A worker's store, whose task does not run yet."""
    return FileAnswerStore(folder, max_bytes, max_answers)


async def claim(
    store: FileAnswerStore, name: bytes = NAME, limit: int = 1_000_000, head: AnswerHead = HEAD
) -> FileAnswerWriter:
    """A writer, which the test needs."""
    writer = await store.claim(name, head, KeepLimits(limit))
    assert isinstance(writer, FileAnswerWriter)
    _conforms: AnswerWriter = writer
    return writer


async def find(store: FileAnswerStore, name: bytes = NAME) -> FileKeptAnswer:
    """A reader, which the test needs."""
    answer = await store.find(name)
    assert answer is not None
    _conforms: KeptAnswer = answer
    return answer


async def read_all(answer: KeptAnswer) -> list[bytes]:
    """All parts to the end."""
    parts: list[bytes] = []
    with trio.fail_after(10):
        while more := await answer.receive():
            parts += more
    return parts


def start_writer(folder: Path) -> subprocess.Popen[bytes]:
    """Another process that has written two parts of an answer under NAME, and writes no more."""
    return _start(_WRITE, str(folder))


_WRITE_REDIS = """
import sys, trio
from pg_trio.cluster.redis import redis_answers
from tests.support.kept import HEAD, LIMITS, NAME
from tests.support.redis_kept import open_redis_answers

redis_answers.LIFE_S, redis_answers.RENEW_EVERY_S = 2.0, 0.2

async def main():
    store = open_redis_answers(int(sys.argv[1]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        writer = await store.claim(NAME, HEAD, LIMITS)
        writer.add([b"first", b"second"])
        answer = await store.find(NAME)
        await answer.receive()
        print("written", flush=True)

trio.run(main)
"""


def start_redis_writer(port: int) -> subprocess.Popen[bytes]:
    """The same in Redis. Its signs of life are good for 2 s, so that no test waits longer."""
    return _start(_WRITE_REDIS, str(port))


_WRITE_NODE = """
import sys, trio
from pathlib import Path
from pg_trio.stores.cluster_answers import ClusterAnswers, worker_id
from tests.support.kept import HEAD, LIMITS, NAME, open_store
from tests.support.redis_kept import open_redis_answers

async def main():
    files = open_store(Path(sys.argv[1]))
    shared = open_redis_answers(int(sys.argv[2]), worker=worker_id(files.worker))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.run)
        nursery.start_soon(shared.run)
        writer = await ClusterAnswers(files, shared, False).claim(NAME, HEAD, LIMITS)
        writer.add([b"first", b"second"])
        await (await shared.find(NAME)).receive()
        print("written", flush=True)

trio.run(main)
"""


def start_node_writer(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The same in both, as a worker of a cluster's node."""
    return _start(_WRITE_NODE, str(folder), str(port))


def _start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert b"written\n" == process.stdout.readline()
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
