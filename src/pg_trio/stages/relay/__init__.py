"""The stage `relay`: a stream on its way to the client, from the first candidate asked to `[DONE]`.

relay.py   the reading task: opens the source, relays its events, and ends the stream
watch.py   the second task: it acts when a clock runs out, and sends everything before the first token
clock.py   the phases and the clocks
"""

from pg_trio.stages.relay.clock import StreamClock
from pg_trio.stages.relay.relay import Relay

__all__ = ["Relay", "StreamClock"]
