"""The lane: an ASGI HTTP/1.1 server on Trio and llhttp for plain-text connections. Linux only (see departures.py).

Rooms, from the bytes inwards; the first three do no I/O:

    head.py        request heads: what is one, what is refused, and with which status
    body.py        request bodies: by length, or chunked
    response.py    responses: ASGI messages in, the bytes to send out
    departures.py  which clients left, told by the kernel
    lane_exchange.py  one request and its answer: the application's `receive` and `send`
    doorkeeper.py  turning requests away in the application's stead, when it is overloaded
    connection.py  one connection: read, run the application, write; every limit
    accepting.py   accept, with a limit
    open_connections.py  all connections of a worker: their number, the clock of their limits
    lane.py        what the lane's connections share; drain

Nothing here knows Hypercorn: what is not plain HTTP/1.1 goes to a `HandOver` that the caller gives.
"""

from pg_trio.server.http1.lane import serve_lane
from pg_trio.server.http1.open_connections import OpenConnections
from pg_trio.server.http1.types import ASGIApplication, HandOver, Mount

__all__ = ["ASGIApplication", "HandOver", "Mount", "OpenConnections", "serve_lane"]
