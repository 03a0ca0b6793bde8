"""What a simulator received, as JSON for another process on the same machine. Pure, but for the clock it tells.

Shape: docs/simulator.md, "From another process".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from pg_trio.domain.chat import Json

if TYPE_CHECKING:
    from pg_trio.simulator.simulated_provider import Received, Simulator

# Enough to recognize a message by; whole ones would make the answer as large as everything that was received.
SAID_CHARS = 100


def describe(simulator: Simulator, after: int) -> dict[str, Json]:
    """The counts so far, and the requests that are kept with a number above `after`."""
    # Trio's clock starts anywhere; the machine's is the same in every process.
    shift_s = time.monotonic() - trio.current_time()
    return {
        "elapsed_s": simulator.elapsed_s(),
        "received": simulator.received_count,
        "connections": simulator.connection_count,
        # Without the asker's own.
        "open_connections": simulator.open_connections - 1,
        "requests": [_describe(kept, shift_s) for kept in simulator.requests if kept.number > after],
    }


def _describe(request: Received, shift_s: float) -> dict[str, Json]:
    times = {"arrived_at": request.arrived_at, "answered_at": request.answered_at, "closed_at": request.closed_at}
    return {
        "number": request.number,
        "model": request.model,
        "said": request.said[:SAID_CHARS],
        "stream": request.stream,
        "fault": request.fault,
        "connection": request.connection.number,
        **{name: None if at is None else at + shift_s for name, at in times.items()},
        "closed_early": request.closed_early,
    }
