"""A provider that speaks four wires, with programmable latency and faults, over real sockets.

In process (`--demo`, tests): `simulator = await nursery.start(serve_simulator)`. Alone: `pg-trio simulate`.
docs/simulator.md has the grammar of behaviours.
"""

from pg_trio.simulator.behaviour import Behaviour, parse_behaviour
from pg_trio.simulator.request_reader import ReaderLimits
from pg_trio.simulator.server import serve_simulator
from pg_trio.simulator.simulated_provider import Behaviours, Received, Simulator

__all__ = [
    "Behaviour",
    "Behaviours",
    "ReaderLimits",
    "Received",
    "Simulator",
    "parse_behaviour",
    "serve_simulator",
]
