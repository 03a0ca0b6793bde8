"""A provider that fails at random, in another way each time: `python -m … PORT SEED`.

The simulator has one fault for each model name.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from random import Random

import trio

from scripts.bench.harness.processes import HOST

FAIL_SHARE = 0.7
LATENCY_S = 0.1
# Far beyond any try's limit in the bench.
SLOW_S = 30.0
FAULTS = ("429", "500", "reset", "malformed", "slow")
_RESET = struct.pack("ii", 1, 0)


def answer(is_stream: bool) -> bytes:
    """A good answer, as HTTP."""
    if not is_stream:
        message = {"role": "assistant", "content": "Well"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return _http("200 OK", "application/json", json.dumps({"id": "c", "choices": [choice], "usage": usage}))
    deltas = [({"role": "assistant", "content": "Well"}, None), ({}, "stop")]
    chunks = [
        json.dumps({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        for delta, finish in deltas
    ]
    return _http("200 OK", "text/event-stream", "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]))


def _http(status: str, content_type: str, body: str, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return f"{head}{body}".encode()


async def serve(stream: trio.SocketStream, random: Random) -> None:
    """Answer one connection's requests until it ends."""
    try:
        while (body := await _read_request(stream)) is not None:
            await trio.sleep(LATENCY_S)
            fault = random.choice(FAULTS) if random.random() < FAIL_SHARE else None
            await _play(stream, fault, is_stream=b'"stream":true' in body.replace(b" ", b""))
            if fault == "reset":
                return
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        await trio.aclose_forcefully(stream)


async def _play(stream: trio.SocketStream, fault: str | None, *, is_stream: bool) -> None:
    busy = json.dumps({"error": {"message": "no luck"}})
    if fault == "reset":
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return
    if fault == "slow":
        await trio.sleep(SLOW_S)
    if fault == "429":
        await stream.send_all(_http("429 Too Many Requests", "application/json", busy, "Retry-After: 1\r\n"))
    elif fault == "500":
        await stream.send_all(_http("500 Internal Server Error", "application/json", busy))
    elif fault == "malformed":
        await stream.send_all(_http("200 OK", "application/json", '{"choices": [{"mess'))
    else:
        await stream.send_all(answer(is_stream))


async def _read_request(stream: trio.SocketStream) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        received = await stream.receive_some()
        if not received:
            return None
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += await stream.receive_some()
    return body


async def main(port: int, seed: int) -> None:
    """Serve for ever."""
    random = Random(seed)
    await trio.serve_tcp(lambda stream: serve(stream, random), port, host=HOST)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
