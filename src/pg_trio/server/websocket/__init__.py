"""WebSockets in the lane: ASGI's `websocket` scope over plain-text HTTP/1.1 connections.

    frames.py       bytes to events, and messages to bytes, by wsproto. No I/O.
    upgrade.py      the opening handshake's answer. No I/O.
    unsent.py       the frames that the kernel has not taken yet
    flusher.py      writes them when the kernel has room, for all sockets of a worker
    socket_scope.py  ASGI's scope of one socket
    socket_phase.py  the phases of a socket
    lane_socket.py  one socket: `receive` and `send`, heartbeats, every limit, the closing handshake

The lane hands over a connection that asks for a path that the application serves itself (types.Door). Any other one
goes to Hypercorn.
"""
