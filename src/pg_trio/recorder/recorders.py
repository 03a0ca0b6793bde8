"""The recorders of one worker's requests, and their subscribers. A failing subscriber never fails a request."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TypeAlias, TypeVarTuple

from attrs import define

from pg_trio.domain.call import Call, RequestHead
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.trace_context import AttemptTrace, pass_on
from pg_trio.recorder.facts import Fact
from pg_trio.recorder.live import LiveRecorder
from pg_trio.recorder.outcome import RequestOutcome
from pg_trio.recorder.record import RequestRecord
from pg_trio.recorder.recorder import Recorder
from pg_trio.recorder.subscriber import LiveSubscriber, Subscriber

_log = logging.getLogger(__name__)

Given = TypeVarTuple("Given")
BeginTrace: TypeAlias = Callable[[RequestHead], AttemptTrace | None]

# At most one log line a minute about one subscriber: a failure at every request must not fill the disk.
SAY_EVERY_S = 60.0
# 50 ms: half of the limit in asyncio's debug mode, because the times of several subscribers add up.
SLOW_CALL_S = 0.05
# Ten slow calls drop a live subscriber. A pause of the machine causes only one or two.
SLOW_CALLS = 10


@define(slots=True, eq=False)
class Subscription:
    """A live subscriber, while it receives facts."""

    subscriber: LiveSubscriber
    slow_calls: int = 0
    is_on: bool = True


class Recorders:
    """Opens a recorder for each request and calls the subscribers in their order.

    The subscribers in `at_end` are called at each request's end; `watch` adds live ones. `failed` counts calls that
    raised and `slow` counts calls that took longer than SLOW_CALL_S, both by the subscriber's class name.
    `begin_trace` gives what a request's calls of providers are told of its trace; without it they are told what the
    client said.
    """

    def __init__(
        self,
        at_end: Sequence[Subscriber],
        clock: Callable[[], float] = perf_counter,
        begin_trace: BeginTrace | None = None,
    ) -> None:
        self._at_end = tuple(at_end)
        self._begin_trace = begin_trace
        self._live: tuple[Subscription, ...] = ()
        self._clock = clock
        self._said_at: dict[str, float] = {}
        self.failed: Counter[str] = Counter()
        self.slow: Counter[str] = Counter()
        # Whether a subscriber wants the text of every streamed answer, also where the endpoint's log keeps none.
        self.keeps_texts = False

    def open(self, call: Call) -> Recorder:
        """A recorder for the call. The end of its `with` block ends the record."""
        if not self._live:
            head = call.head
            recorder = Recorder(call, self, Attempts(head.head_at))
            if self._begin_trace is not None or head.origin.traceparent is not None:
                recorder.attempts.trace = self._find_trace(head)
            return recorder
        audience = Audience(self, self._live)
        recorder = LiveRecorder(call, audience)
        recorder.attempts.trace = self._find_trace(call.head)
        audience.tell_begin(recorder)
        return recorder

    def _find_trace(self, head: RequestHead) -> AttemptTrace | None:
        """What the request's calls are told of its trace. Where none begins: what its client said."""
        if self._begin_trace is not None:
            return self._begin_trace(head)
        return pass_on(head.origin.traceparent, head.origin.tracestate)

    @contextmanager
    def watch(self, subscriber: LiveSubscriber) -> Iterator[Subscription]:
        """Until the block ends, the subscriber gets every fact of requests that begin from here on."""
        subscription = Subscription(subscriber)
        self._live += (subscription,)
        try:
            yield subscription
        finally:
            self._drop(subscription)

    def tell_end(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        """Call the subscribers that are only called at the end."""
        clock = self._clock
        # The same as `_call`, inlined, because every request runs it. A call begins where the one before has ended.
        began_s = clock()
        for subscriber in self._at_end:
            try:
                subscriber.ended(record, outcome)
            except Exception:  # noqa: BLE001 - logged there, once a minute
                self._note_failure(_name(subscriber))
            ended_s = clock()
            if ended_s - began_s > SLOW_CALL_S:
                self._note_slow(_name(subscriber))
            began_s = ended_s

    def tell_shed(self, count: int) -> None:
        """Tell every subscriber that `count` requests were refused unread."""
        for subscriber in self._at_end:
            self._call(subscriber, subscriber.shed, count)
        for subscription in self._live:
            self.tell_live(subscription, subscription.subscriber.shed, count)

    def tell_live(self, subscription: Subscription, tell: Callable[[*Given], None], *given: *Given) -> None:
        """Call a live subscriber, unless it is gone. A subscriber that was slow too often is dropped here."""
        if subscription.is_on and self._call(subscription.subscriber, tell, *given):
            subscription.slow_calls += 1
            if subscription.slow_calls >= SLOW_CALLS:
                self._drop(subscription)
                _log.error("subscriber %s was too slow and is told nothing more", _name(subscription.subscriber))

    def _drop(self, subscription: Subscription) -> None:
        subscription.is_on = False
        self._live = tuple(one for one in self._live if one is not subscription)

    def _call(self, subscriber: Subscriber, tell: Callable[[*Given], None], *given: *Given) -> bool:
        """Whether the call was slow. An exception is counted and logged."""
        clock = self._clock
        began_s = clock()
        try:
            tell(*given)
        except Exception:  # noqa: BLE001 - logged there, once a minute
            self._note_failure(_name(subscriber))
        if clock() - began_s <= SLOW_CALL_S:
            return False
        self._note_slow(_name(subscriber))
        return True

    def _note_failure(self, name: str) -> None:
        self.failed[name] += 1
        if self._may_say(f"{name} failed"):
            _log.exception("subscriber %s failed, %d times so far", name, self.failed[name])

    def _note_slow(self, name: str) -> None:
        self.slow[name] += 1
        if self._may_say(f"{name} is slow"):
            _log.warning("subscriber %s took over %g s, %d times so far", name, SLOW_CALL_S, self.slow[name])

    def _may_say(self, what: str) -> bool:
        """Whether a log line about `what` is due. If so, it counts as written."""
        now = self._clock()
        is_due = now - self._said_at.get(what, -SAY_EVERY_S) >= SAY_EVERY_S
        if is_due:
            self._said_at[what] = now
        return is_due


class Audience:
    """The subscribers of one request: those that were live when it began, and all that are called at the end."""

    def __init__(self, recorders: Recorders, live: Sequence[Subscription]) -> None:
        self._recorders = recorders
        self._live = live

    def tell_begin(self, record: RequestRecord) -> None:
        """The request has begun."""
        for one in self._live:
            self._recorders.tell_live(one, one.subscriber.began, record)

    def tell(self, record: RequestRecord, fact: Fact) -> None:
        """A fact of the request."""
        for one in self._live:
            self._recorders.tell_live(one, one.subscriber.noted, record, fact)

    def tell_end(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        """The request has ended."""
        self._recorders.tell_end(record, outcome)
        for one in self._live:
            self._recorders.tell_live(one, one.subscriber.ended, record, outcome)


def _name(subscriber: Subscriber) -> str:
    return type(subscriber).__name__
