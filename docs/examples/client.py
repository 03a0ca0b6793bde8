"""A client in Python with the standard library alone: streams an answer, reads on after a lost connection, and stops
the answer at Ctrl-C.

    PG_TRIO_TOKEN=pg_live_… python docs/examples/client.py http://127.0.0.1:8080/api/UUID/support "Why is the sky blue?"

Reading on needs `resumable_streams = true` on the endpoint.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

TRIES = 8


class Stream:
    """One answer: its request's id, and the number of the last event."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.id: str | None = None
        self.after = 0
        self.has_ended = False

    def ask(self, question: str) -> Iterator[str]:
        """The answer's text, piece by piece."""
        yield from self.read(self.open("POST", self.url, {"message": question, "stream": True}))
        tries = 0
        while not self.has_ended:
            before = self.after
            yield from self.read(self.open("GET", f"{self.url}/streams/{self.id}?after={self.after}"))
            tries = 0 if self.after > before else tries + 1
            if tries == TRIES:
                raise SystemExit("The connection is lost again and again.")

    def stop(self) -> None:
        """Stop the answer; the provider's connection is closed at once."""
        if self.id is not None:
            self.open("DELETE", f"{self.url}/streams/{self.id}").close()

    def open(self, method: str, url: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, self.headers, method=method)
        for tries in range(TRIES):
            try:
                return urllib.request.urlopen(request, timeout=60)
            except urllib.error.HTTPError as refused:
                raise SystemExit(f"{json.load(refused)['error']} ({refused.code})") from None
            except OSError as lost:
                # A question is not asked again by itself: the gateway may have begun to answer it.
                if method == "POST" or tries == TRIES - 1:
                    raise SystemExit(f"The gateway cannot be reached: {lost}") from None
                time.sleep(0.1 * 2**tries)
        raise AssertionError

    def read(self, response: Any) -> Iterator[str]:
        """The text of one connection's events, to its end or its loss."""
        self.id = self.id or response.headers["X-Request-Id"]
        event: dict[str, str] = {}
        if response.headers.get_content_type() == "application/json":
            # An endpoint that does not stream.
            self.has_ended = True
            yield json.load(response)["content"] or ""
        try:
            with response:
                for line in response:
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    if name:
                        event[name] = value
                        continue
                    yield from self.take(event)
                    event = {}
        except (OSError, HTTPException):
            return

    def take(self, event: dict[str, str]) -> Iterator[str]:
        if "id" in event:
            self.after = int(event["id"].partition(":")[2])
        if event.get("data") == "[DONE]":
            self.has_ended = True
        elif event.get("event") == "error":
            raise SystemExit(json.loads(event["data"])["error"])
        elif "data" in event:
            for choice in json.loads(event["data"])["choices"]:
                yield choice["delta"].get("content") or ""


def main() -> None:
    stream = Stream(sys.argv[1], os.environ["PG_TRIO_TOKEN"])
    try:
        for piece in stream.ask(sys.argv[2]):
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        stream.stop()
    print()


if __name__ == "__main__":
    main()
