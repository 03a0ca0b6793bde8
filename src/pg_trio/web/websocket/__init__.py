"""The chat over a WebSocket: `GET /api/{uuid}/{slug}/ws` (docs/websocket.md).

handshake.py       what the opening handshake says: route, origin, token, subprotocol. No I/O.
chat_protocol.py   JSON frames in, orders out; which answers are under way. No I/O.
outlet.py          where frames go: into the lane, or through a queue of our own under other servers
chat_socket.py     one socket: carries out the orders
open_answers.py    the answers under way on one socket
message_call.py    a `message` frame as a call of the pipeline, and its streamed answer
frame_sinks.py     where one answer's frames go: to the socket, or also to the store of kept answers
resumed_answer.py  a kept answer that goes on for a client that comes back
open_sockets.py    the sockets of a worker: their number, and the end of those whose token has been revoked
socket_route.py    the ASGI application: handshake, authentication, then the socket
"""

from pg_trio.web.websocket.chat_socket import SocketGateway
from pg_trio.web.websocket.message_call import HandshakeCall
from pg_trio.web.websocket.open_sockets import OpenSockets
from pg_trio.web.websocket.socket_route import SocketRoute, covers_socket

__all__ = ["HandshakeCall", "OpenSockets", "SocketGateway", "SocketRoute", "covers_socket"]
