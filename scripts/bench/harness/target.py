"""One request and where it goes: a path on a loopback port, with headers and a body."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping

from attrs import evolve, field, frozen

from scripts.bench.harness.processes import HOST, PeerUnavailableError, Pinned

MODEL = "gpt-4o-mini"
SYSTEM_PROMPT = "You are a support agent. Answer in two sentences, and say so when you do not know."
# About 400 characters, a short support question: no guardrail masks or blocks anything in it.
QUESTION = (
    "Our team moved to the new billing plan last week and since then the monthly overview shows two entries for the "
    "same workspace, one with the old name and one with the new one. The totals look right, but the export counts "
    "both of them, so the sum in our own report is twice as high as it should be. Which of the two entries is the one "
    "to keep, and how do we make the export leave the other one out from now on?"
)
# LiteLLM imports for about ten seconds on a quiet core.
READY_LIMIT_S = 120.0
# A process that answers, but wrongly, is still loading or badly set up: it gets this much longer.
WRONG_LIMIT_S = 15.0
_TRY_EVERY_S = 0.05
_CALL_LIMIT_S = 10.0


def make_text(characters: int) -> str:
    """The question again and again, to that length: prose in which no guardrail finds anything."""
    return repeat(f"{QUESTION} ", characters)


def repeat(text: str, characters: int) -> str:
    return (text * (characters // len(text) + 1))[:characters]


@frozen(slots=True)
class StreamOrder:
    """Streams at once, the tokens of each, and the time between two tokens of a stream."""

    streams: int
    tokens: int
    pace_us: int

    def text(self, number: int) -> str:
        """What the source of streams looks for in a request (source.py)."""
        return f"stream {number} of {self.tokens} tokens every {self.pace_us}"


@frozen(slots=True)
class Target:
    """A request to a loopback port."""

    port: int
    path: str = "/v1/chat/completions"
    headers: Mapping[str, str] = field(factory=dict)
    body: str = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]})
    # Whether it is asked over a WebSocket at the path's `/ws`: see websocket_client.py.
    over_websocket: bool = False

    def as_bytes(self) -> bytes:
        body = self.body.encode()
        fixed = {"Host": f"{HOST}:{self.port}", "Content-Type": "application/json", "Content-Length": str(len(body))}
        lines = [
            f"POST {self.path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in {**fixed, **self.headers}.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def ask_stream(self, number: int, order: StreamOrder) -> Target:
        """The same question for a stream: the order for the source stands behind the question."""
        body = json.loads(self.body.replace(QUESTION, f"{QUESTION} {order.text(number)}"))
        return evolve(self, body=json.dumps({**body, "stream": True}))

    def call(self) -> tuple[int, str]:
        """Status and body of one request on a connection of its own; (0, why) if it broke."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_CALL_LIMIT_S)
        try:
            headers = {"Content-Type": "application/json", **self.headers}
            connection.request("POST", self.path, self.body.encode(), headers)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, f"nothing answered: {error}"
        finally:
            connection.close()


def wait_ready(process: Pinned, target: Target) -> None:
    """The process has answered the request with 200.

    Raises: PeerUnavailableError if it ends, answers anything else or stays silent, with what it printed.
    """
    give_up_at, said = time.monotonic() + READY_LIMIT_S, ""
    while time.monotonic() < give_up_at and process.is_alive():
        status, said = target.call()
        if status == 200:
            return
        if status:
            said = f"{status}: {said[:300]}"
            give_up_at = min(give_up_at, time.monotonic() + WRONG_LIMIT_S)
        time.sleep(_TRY_EVERY_S)
    ended = "was not ready in time" if process.is_alive() else f"ended with status {process.leader.returncode}"
    raise PeerUnavailableError(f"{process.name} {ended} ({said})\n{process.read_log_end()}")
