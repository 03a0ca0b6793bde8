"""What happens to a request, told once: stages emit facts to one recorder a request, and subscribers make of them what
they need (the log's row, metrics, traces, a live view).

Rules:
1. Emitting a fact never waits and never fails. A subscriber that raises is logged, counted and called again next time.
2. Most subscribers want the end alone (`Subscriber`): the record holds all that is known then, and a fact costs them
   nothing. A `LiveSubscriber` gets each fact as it happens; requests that begin without one make no facts.
3. A subscriber hands on and returns: it runs in the request's own task. One that takes over SLOW_CALL_S is counted, and
   a live one is dropped after SLOW_CALLS of those.
4. Facts hold no text of a prompt or an answer. A record's `request` and `reply` do. What a guardrail would mask may be
   in `request` until `is_guarded` is true. A record that is kept after its end has lost both.
"""

from pg_trio.recorder.outcome import OutcomeKind, RequestOutcome
from pg_trio.recorder.record import RequestRecord
from pg_trio.recorder.recorder import Recorder
from pg_trio.recorder.recorders import Recorders
from pg_trio.recorder.subscriber import LiveSubscriber, Subscriber

__all__ = [
    "LiveSubscriber",
    "OutcomeKind",
    "Recorder",
    "Recorders",
    "RequestOutcome",
    "RequestRecord",
    "Subscriber",
]
