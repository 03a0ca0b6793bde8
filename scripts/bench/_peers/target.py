"""What load is aimed at: one URL on a loopback port, with the head and the body of the request."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping

from attrs import evolve, field, frozen

from scripts.bench._peers.errors import PeerUnavailableError
from scripts.bench._peers.plan import MODEL, QUESTION
from scripts.bench._peers.ports import HOST
from scripts.bench._peers.processes import Pinned
from scripts.bench._streams.client import Load

CHAT_PATH = "/v1/chat/completions"
# LiteLLM imports for about ten seconds on a quiet core, and its core is not always quiet.
READY_LIMIT_S = 120.0
# A peer that answers, but wrongly, is still loading or set up badly: it gets this much longer.
WRONG_LIMIT_S = 15.0
_TRY_EVERY_S = 0.05
_CALL_LIMIT_S = 10.0


@frozen(slots=True)
class Target:
    """The same question for everybody; path, headers and the body's shape are the peer's own."""

    port: int
    path: str = CHAT_PATH
    headers: Mapping[str, str] = field(factory=dict)
    body: str = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]})

    def write_request(self) -> bytes:
        """One request as it goes over the wire."""
        body = self.body.encode()
        headers = {
            "Host": f"{HOST}:{self.port}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **self.headers,
        }
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def ask_stream(self, number: int, load: Load) -> Target:
        """The same question, for a stream: what the source is to send stands behind it."""
        body = json.loads(self.body.replace(QUESTION, f"{QUESTION} {load.order(number)}"))
        return evolve(self, body=json.dumps({**body, "stream": True}))

    def request(self, number: int, load: Load) -> bytes:
        """One request for one stream."""
        return self.ask_stream(number, load).write_request()

    def call(self) -> tuple[int, str]:
        """Status and body of one request on a connection of its own. Raises: OSError, HTTPException."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_CALL_LIMIT_S)
        try:
            headers = {"Content-Type": "application/json", **self.headers}
            connection.request("POST", self.path, self.body.encode(), headers)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()


def wait_ready(process: Pinned, target: Target) -> None:
    """The peer has answered a real request with the upstream's own words.

    Raises: PeerUnavailableError if it dies, answers anything else, or is silent, with what it printed.
    """
    give_up_at = time.monotonic() + READY_LIMIT_S
    said = "nothing answered"
    while time.monotonic() < give_up_at and process.is_alive():
        try:
            status, said = target.call()
        except (OSError, http.client.HTTPException):
            pass
        else:
            if status == 200:
                return
            said = f"{status}: {said[:300]}"
            give_up_at = min(give_up_at, time.monotonic() + WRONG_LIMIT_S)
        time.sleep(_TRY_EVERY_S)
    ended = "was not ready in time" if process.is_alive() else f"ended with status {process.leader.returncode}"
    raise PeerUnavailableError(f"{process.name} {ended} ({said})\n{process.read_log_end()}")
