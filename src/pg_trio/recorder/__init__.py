"""What happens to a request is recorded once. Stages emit facts to the request's recorder, and subscribers build what
they need from these facts (the log's row, metrics, traces, a live view).

Rules:
1. Emitting a fact never waits and never fails. A subscriber that raises is logged, counted and called again next time.
2. A `Subscriber` is called once, at the request's end, with the complete record. Single facts cost it nothing. A
   `LiveSubscriber` also gets each fact as it happens. A request that begins without live subscribers creates no facts.
3. A subscriber runs in the request's own task, so it must return quickly. A call that takes longer than SLOW_CALL_S is
   counted. A live subscriber is dropped after SLOW_CALLS such calls.
4. Facts hold no text of a prompt or an answer. A record's `request` and `reply` do. Until `is_guarded` is true,
   `request` may hold text that a guardrail would mask. Both are removed from the record once the request has ended.
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
