"""A provider that speaks four wires, with programmable latency and faults, over real sockets.

In process (`--demo`, tests): `simulator = await nursery.start(serve_simulator)`. Alone: `pg-trio simulate`.
docs/simulator.md has the grammar of behaviours.
"""

from pg_trio.simulator.behaviour import Behaviour, parse_behaviour
from pg_trio.simulator.provider import Behaviours, Received, Simulator
from pg_trio.simulator.request_reader import ReaderLimits
from pg_trio.simulator.server import serve_simulator

__all__ = [
    "Behaviour",
    "Behaviours",
    "ReaderLimits",
    "Received",
    "Simulator",
    "parse_behaviour",
    "serve_simulator",
]
