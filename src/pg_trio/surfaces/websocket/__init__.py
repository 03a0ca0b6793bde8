"""The frames of a WebSocket's answers and the body of its messages (docs/websocket.md). Sans I/O.

    message_surface.py  a `message` frame's body as a `ChatRequest`: the Gateway API's reader
    frame_writer.py     one answer as JSON frames with numbers
    frame_objects.py    the other frames

It is not in SURFACES: no HTTP request is for it. web/websocket/ makes the calls.
"""

from pg_trio.surfaces.websocket.frame_objects import dump_frame, error_frame
from pg_trio.surfaces.websocket.frame_writer import FrameWriter
from pg_trio.surfaces.websocket.message_surface import MESSAGE_SURFACE, MessageSurface

__all__ = ["MESSAGE_SURFACE", "FrameWriter", "MessageSurface", "dump_frame", "error_frame"]
