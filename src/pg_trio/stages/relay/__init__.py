"""The stage `relay`: a stream on its way to the client, from the first candidate asked to `[DONE]`.

relay.py   the reading task: opens the source, relays its events, and ends the stream
watch.py   what acts beside it: when a clock runs out, and to send everything before the first token
clock.py   the phases and the clocks
whole.py   a whole answer as a stream, of an endpoint that does not stream
"""

from pg_trio.stages.relay.clock import StreamClock
from pg_trio.stages.relay.relay import Relay
from pg_trio.stages.relay.whole import send_whole

__all__ = ["Relay", "StreamClock", "send_whole"]
