"""`scripts/bench/overload --noisy`: what one token's large bodies cost the others.

A neighbour asks again and again, once with a small request and once with one of 300 KB, first alone and then while
another token keeps so many connections busy with bodies of 4 MiB. Closed loops: each sends when its last answer is in.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from attrs import asdict, field, frozen

from scripts.bench._limits.command import Site, format_table, say
from scripts.bench._limits.gateway import Running, make_gateway, name_token, run_gateway
from scripts.bench._limits.worker import measure_memory_bytes
from scripts.bench._peers.ports import HOST
from scripts.bench._peers.target import Target

NOISY_CONNECTIONS = 16
_NOISY_BYTES = 4 * 1024 * 1024 - 1024
_NEIGHBOUR_BYTES = 300_000
_ANSWER_LIMIT_S = 120.0


@frozen(slots=True)
class Neighbour:
    """How a neighbour fared: of each answer its milliseconds, and how many had which status."""

    kind: str
    noise: str
    latencies_ms: Sequence[float]
    statuses: dict[int, int]
    worker_bytes: int
    noisy_answers: dict[int, int] = field(factory=dict)


def _repeat(text: str, size: int) -> str:
    return (text * (size // len(text) + 1))[:size]


def make_noises() -> dict[str, bytes]:
    """Bodies of 4 MiB that cost much, each in its own way."""
    parts = [{"type": "text", "text": "word"}] * 80_000
    return {
        "addresses": json.dumps(
            {"message": _repeat("12 Main St, mail a.b@example.org or 10.1.2.3; ", _NOISY_BYTES)}
        ).encode(),
        "text parts": json.dumps({"messages": [{"role": "user", "content": parts}]}).encode(),
        "lists": b'{"message":"Hi","x":[' + b"[]," * 249_000 + b"0]}",
        "plain text": json.dumps({"message": _repeat("a word and another ", _NOISY_BYTES)}).encode(),
    }


def measure_noise(site: Site, duration_s: float) -> list[Neighbour]:
    """Every kind of noise in turn, the quiet before it. Raises: PeerUnavailableError, TimeoutError."""
    gateway = make_gateway(site.folder / "noisy", site.upstream_url, tokens=2)
    found = []
    with run_gateway(gateway, str(site.cores.gateway)) as running:
        found += _measure(running, "none", None, duration_s)
        for name, body in make_noises().items():
            found += _measure(running, name, body, duration_s)
    return found


def _measure(running: Running, noise: str, body: bytes | None, duration_s: float) -> list[Neighbour]:
    neighbours = {
        "small request": json.dumps({"message": "Say hello to the world."}).encode(),
        "300 KB request": json.dumps({"message": _repeat("some words of a long text ", _NEIGHBOUR_BYTES)}).encode(),
    }
    loops = {kind: _Loop(running, name_token(0), text) for kind, text in neighbours.items()}
    noisy = [_Loop(running, name_token(1), body) for _ in range(NOISY_CONNECTIONS if body is not None else 0)]
    _run_all([*loops.values(), *noisy], duration_s)
    used = measure_memory_bytes(running.workers[0])
    heard = dict(sum((one.statuses for one in noisy), Counter[int]()))
    results = [
        Neighbour(kind, noise, sorted(loop.latencies_ms), dict(loop.statuses), used, heard)
        for kind, loop in loops.items()
    ]
    for result in results:
        most_ms = result.latencies_ms[-1]
        say(f"{noise}: {result.kind}: most {most_ms:.0f} ms of {len(result.latencies_ms)}, {result.statuses}")
    return results


class _Loop:
    """One client that asks until it is told to stop."""

    def __init__(self, running: Running, token: str, body: bytes | None) -> None:
        self._target: Target = running.make_target({}, token=token)
        self._body = body
        self.latencies_ms: list[float] = []
        self.statuses: Counter[int] = Counter()

    def run(self, is_over: Callable[[], bool]) -> None:
        """Ask again and again; one answer at least."""
        headers = {**self._target.headers, "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(HOST, self._target.port, timeout=_ANSWER_LIMIT_S)
        while not (is_over() and self.latencies_ms):
            began = time.perf_counter()
            try:
                connection.request("POST", self._target.path, self._body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                # Refused before it was sent whole.
                connection.close()
                status = 0
            self.latencies_ms.append((time.perf_counter() - began) * 1000)
            self.statuses[status] += 1
        connection.close()


def _run_all(loops: Sequence[_Loop], duration_s: float) -> None:
    ends_at = time.monotonic() + duration_s
    threads = [threading.Thread(target=loop.run, args=(lambda: time.monotonic() > ends_at,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def make_noise_table(found: Sequence[Neighbour]) -> str:
    """One row for each kind of neighbour and of noise."""
    header = ("", "answers", "ms, p50 / p99 / most", "other than 200", "noisy answers", "MB")
    rows = []
    for one in sorted(found, key=lambda one: one.kind, reverse=True):
        count = len(one.latencies_ms)
        picked = [one.latencies_ms[min(count - 1, count * share // 100)] for share in (50, 99, 100)]
        rows.append(
            (
                f"{one.kind}, noise: {one.noise}",
                f"{count:,}",
                " / ".join(f"{ms:,.1f}" for ms in picked),
                str(count - one.statuses.get(200, 0)),
                ", ".join(f"{times} × {status or 'cut'}" for status, times in sorted(one.noisy_answers.items())) or "–",
                f"{one.worker_bytes / 1e6:,.0f}",
            )
        )
    return format_table(header, rows)


def as_raw(found: Sequence[Neighbour]) -> dict[str, object]:
    """The figures for a file."""
    return {"neighbours": [asdict(one) for one in found]}
