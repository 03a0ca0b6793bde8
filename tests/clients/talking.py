"""A real client in a process of its own, asked scenario by scenario (python/answering.py, node/answering.mjs)."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO, Any

import trio
from attrs import define, field, frozen

# The longest wait of a scenario is a second; the first one of a process also imports the client (LiteLLM: seconds).
ASK_LIMIT_S = 60
STOP_LIMIT_S = 10
_READ_BYTES = 65_536


@frozen
class Raised:
    """What a client raised: the names of its classes, its own first, and the SDK's fields."""

    classes: Sequence[str]
    message: str
    status_code: int | None
    code: str | None
    fields: dict[str, Any]

    @property
    def name(self) -> str:
        return self.classes[0]


@define(eq=False)
class ClientProgram:
    """One process, started with the first question and again after one that went wrong."""

    command: Sequence[str]
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _complaints: IO[bytes] = field(factory=tempfile.TemporaryFile, init=False)

    async def ask(self, scenario: str, **question: Any) -> Any:
        """What the client gave. Fails the test if it raised."""
        gave = await self.ask_or_raised(scenario, **question)
        assert not isinstance(gave, Raised), f"{gave.name}: {gave.message}\n{self._complained()}"
        return gave

    async def ask_raised(self, scenario: str, **question: Any) -> Raised:
        """What the client raised. Fails the test if it gave an answer."""
        gave = await self.ask_or_raised(scenario, **question)
        assert isinstance(gave, Raised), f"the client took this for an answer: {gave}"
        return gave

    async def ask_or_raised(self, scenario: str, **question: Any) -> Any:
        """What the client gave or raised."""
        process = self._process = self._process or self._start()
        try:
            with trio.fail_after(ASK_LIMIT_S):
                answer = json.loads(await _exchange(process, json.dumps({"scenario": scenario, **question})))
        except BaseException:
            # Its next line would be the answer to this question.
            self.stop()
            raise
        return _raised(answer["raised"]) if "raised" in answer else answer["gave"]

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=STOP_LIMIT_S)

    def close(self) -> None:
        """End the process for good."""
        self.stop()
        self._complaints.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self._complaints.seek(0)
        self._complaints.truncate()
        process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, bufsize=0
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def _complained(self) -> str:
        """The end of what it wrote on standard error."""
        self._complaints.seek(0)
        return self._complaints.read().decode(errors="replace")[-2_000:]


async def _exchange(process: subprocess.Popen[bytes], question: str) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    # A question is shorter than a pipe is.
    process.stdin.write(question.encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        await trio.lowlevel.wait_readable(process.stdout)
        part = os.read(process.stdout.fileno(), _READ_BYTES)
        assert part, f"the client ended with status {process.wait(STOP_LIMIT_S)}"
        answer += part
    return answer


def _raised(said: dict[str, Any]) -> Raised:
    return Raised(said["classes"], said["message"], said["status_code"], said["code"], said)
