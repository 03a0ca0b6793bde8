"""The lane: an ASGI HTTP/1.1 server on Trio and llhttp for plain-text connections. Linux only (see departures.py).

Rooms, from the bytes inwards; the first three do no I/O:

    head.py        request heads: which are accepted, and how others are refused
    body.py        request bodies: by length, or chunked
    response.py    responses: ASGI messages in, the bytes to send out
    busy_answer.py  the answer to requests for which there is no room
    departures.py  which clients left, told by the kernel
    lane_exchange.py  one request and its answer: the application's `receive` and `send`
    doorkeeper.py  refusing requests for the application when it is overloaded
    socket_calls.py  calls on a client's socket, which WebSockets use, too
    parting.py     the end of a connection, so that its client can read the last answer
    connection.py  one connection: read, run the application, write; every limit
    accepting.py   accept, with a limit
    open_connections.py  all connections of a worker: their number, the clock of their limits
    lane.py        what the lane's connections share; drain

This package does not import Hypercorn. Connections that are not plain HTTP/1.1 go to the caller's `HandOver`.
"""

from pg_trio.server.http1.lane import serve_lane
from pg_trio.server.http1.open_connections import OpenConnections
from pg_trio.server.http1.types import ASGIApplication, HandOver, Mount

__all__ = ["ASGIApplication", "HandOver", "Mount", "OpenConnections", "serve_lane"]
