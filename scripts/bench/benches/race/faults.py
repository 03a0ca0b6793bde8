"""The faults of the scoreboard: how the first candidate behaves, and what its client must get. Pure.

Rules of the verdict
1. An answer comes within the limit, whole as HTTP has it, and is either right or says that it is not.
2. A right answer is a text of one candidate, from its first token to its last, with its finish reason. A text that was
   cut may only come with an error.
3. The client does not notice failures before the first token: it gets the other candidate's answer.
4. A failing candidate is not flooded: of a row of requests it gets a number of calls that is bounded, case by case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from attrs import frozen

from pg_trio.simulator import parse_behaviour
from pg_trio.simulator.chat_call import ChatCall
from pg_trio.simulator.chat_completion import Occasion, complete
from scripts.bench.harness.client import Said

Kind: TypeAlias = Literal["plain", "stream"]
# Who may answer. `told`: tokens, then an error that says so (or the other candidate, where nothing was sent yet).
Who: TypeAlias = Literal["first", "other", "either", "told"]

BOTH: tuple[Kind, ...] = ("plain", "stream")
PLAIN, STREAM = BOTH[:1], BOTH[1:]
TOKENS = 60
# Failures in a row that open a breaker, and the one probe there may be within the time of a row.
BREAKER_CALLS = 4
# A connection that was used before and dies without a byte of an answer is replaced once by the transport: the provider
# may have closed it just then. So a reset may be seen twice by each of the three.
BREAKER_CALLS_TWICE = 7


@frozen(slots=True)
class Fault:
    """A row of requests to two candidates, of which the first behaves so. `refused`: nothing listens there.

    `slow`: each try may cost seconds, so that a row is shorter. `pause_s`: so long after the row one more request
    comes, which `after_pause` may answer. `most_calls` None: as many as there are requests.
    """

    name: str
    behaviour: str
    who: Who
    kinds: Sequence[Kind] = BOTH
    most_calls: int | None = None
    refused: bool = False
    slow: bool = False
    pause_s: float = 0.0
    after_pause: Who = "either"
    finish_reason: str = "stop"


# fmt: off
FAULTS = (
    Fault("one 500", "fault=status:500&fail_first=1", "either"),
    Fault("lasting 503", "fault=status:503", "other", most_calls=BREAKER_CALLS),
    Fault("429, Retry-After: 2, once", "fault=status:429&retry_after=2&fail_first=1", "other", BOTH, 1,
          pause_s=2.2, after_pause="first"),
    Fault("429, Retry-After: 2, for ever", "fault=status:429&retry_after=2", "other", BOTH, 1,
          pause_s=2.2, after_pause="other"),
    Fault("connection reset", "fault=reset", "other", most_calls=BREAKER_CALLS_TWICE),
    Fault("connection closed before a byte", "fault=hangup", "other", most_calls=BREAKER_CALLS_TWICE),
    Fault("connection refused", "", "other", refused=True),
    Fault("upstream silent", "fault=stall", "other", slow=True, most_calls=BREAKER_CALLS),
    Fault("first token after 20 s", "latency=20s&head=early", "either", slow=True, most_calls=BREAKER_CALLS),
    Fault("wrong content type with HTML", "fault=wrong_type", "other", most_calls=BREAKER_CALLS),
    Fault("error behind a 200", "fault=error200", "other", most_calls=BREAKER_CALLS),
    Fault("not HTTP at all", "fault=garbage", "other", most_calls=BREAKER_CALLS),
    Fault("answer cut inside its JSON", "fault=truncate", "other", PLAIN, BREAKER_CALLS),
    Fault("answer stalls inside its JSON", "fault=stall:body", "other", PLAIN, BREAKER_CALLS, slow=True),
    Fault("malformed chunk (JSON)", "pace=2ms&fault=malformed_chunk:json", "told", STREAM, BREAKER_CALLS),
    Fault("malformed chunk (HTTP)", "pace=2ms&fault=malformed_chunk:http", "told", STREAM, BREAKER_CALLS),
    Fault("cut at 40 of 60 tokens", "pace=2ms&fault=cut:40", "told", STREAM, BREAKER_CALLS),
    Fault("cut at 40 of 60, HTTP whole", "pace=2ms&fault=cut:40:clean", "told", STREAM, BREAKER_CALLS),
    Fault("cut inside an event's JSON", "pace=2ms&fault=cut:40:inside", "told", STREAM, BREAKER_CALLS),
    Fault("stall in mid-stream", "pace=2ms&fault=stall:30", "told", STREAM, BREAKER_CALLS, slow=True),
    Fault("missing [DONE]", "fault=no_done", "first", STREAM),
    Fault("content filter", "finish=content_filter", "first", finish_reason="content_filter"),
)
# fmt: on


def text_of(name: str) -> str:
    """The whole text of the candidate that says its name."""
    call = ChatCall(model="sim", said="", prompt_tokens=1)
    return complete(parse_behaviour(behaviour_of(name)), call, Occasion(0, "sim", 1)).text


def behaviour_of(name: str) -> str:
    """The options of a candidate that says its name, filled up to the usual length."""
    return f"content={name}&tokens={TOKENS}"


def find_fault(who: Who, finish_reason: str, status: int, said: Said) -> str | None:
    """What is wrong with an answer; None if nothing is."""
    texts = [text_of(name) for name in ("first", "other") if who in (name, "either", "told")]
    if who == "told" and said.text != text_of("other"):
        return _find_untold(status, said)
    if status != 200:
        return f"status {status}: {said.error}"
    if not said.is_whole:
        return f"an error after {len(said.text.split())} tokens: {said.error}"
    if said.text not in texts:
        return f"{len(said.text.split())} tokens that are no candidate's whole answer: {said.text[:30]!r}"
    if said.finish_reason != finish_reason:
        return f"finish reason {said.finish_reason!r}, not {finish_reason!r}"
    return None


def _find_untold(status: int, said: Said) -> str | None:
    if status != 200:
        return f"status {status} though tokens had come: {said.error}"
    if said.is_whole or said.error is None:
        return f"a stream cut after {len(said.text.split())} tokens is told as finished by {said.finish_reason!r}"
    if not said.text or not text_of("first").startswith(said.text):
        return f"not the tokens that had come: {said.text[-40:]!r}"
    return None
