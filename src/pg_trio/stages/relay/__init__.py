"""The stage `relay`: a stream on its way to the client, from the first candidate asked to `[DONE]`.

relay.py   the reading task: opens the stream, relays it, lets another candidate continue it, and ends it
watch.py   the second task: the clocks, the comments, and everything sent before the first token
whole.py   a whole answer as a stream, of an endpoint that does not stream
"""

from pg_trio.stages.relay.relay import Relay
from pg_trio.stages.relay.whole import send_whole

__all__ = ["Relay", "send_whole"]
