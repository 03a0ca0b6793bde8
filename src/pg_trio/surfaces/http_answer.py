"""Complete answers as bytes, with the header fields that all surfaces share.

A surface renders the body; `make_answer` and `make_failure` add the fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeAlias
from uuid import UUID

from pg_trio.domain.call import EmbeddingAnswer, WholeAnswer
from pg_trio.domain.guardrails import GuardrailVerdict, verdicts_text
from pg_trio.domain.limits import NO_LIMITS, LimitPolicy, LimitsLeft, LimitState
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.value import value
from pg_trio.errors import GatewayError, RateLimited
from pg_trio.surfaces.limit_headers import render_limits, standard_format

HeaderList: TypeAlias = list[tuple[bytes, bytes]]
# All header lines of an answer: their format, which begins with ANSWER_FIELDS, and what it shows after those.
AnswerLines: TypeAlias = tuple[bytes, tuple[object, ...]]


@value(slots=True)
class HttpAnswer:
    """An answer ready to send.

    `fields` holds its header lines except the length. Names are in lower case, and each line has its line end. One
    formatting operation makes all of them.
    """

    status: int
    fields: bytes
    body: bytes

    def with_fields(self, fields: bytes) -> HttpAnswer:
        """The same answer with more header lines."""
        return HttpAnswer(self.status, self.fields + fields, self.body) if fields else self

    def headers(self) -> HeaderList:
        """The header fields in ASGI's form, including the length."""
        return [(b"content-length", b"%d" % len(self.body)), *split_fields(self.fields)]


@value(slots=True)
class Tries:
    """The attempts of a failed call (at least one), and the time of each stage."""

    attempts: Sequence[AttemptRow]
    times: StageTimes


ANSWER_FIELDS = (
    b"content-type: application/json\r\n"
    b"x-request-id: %b\r\n"
    b"x-pg-provider: %b\r\n"
    b"x-pg-model: %b\r\n"
    b"x-pg-attempts: %d\r\n"
    b"server-timing: %b\r\n"
)
_TRIES_FIELDS = b"x-pg-provider: %b\r\nx-pg-model: %b\r\nx-pg-attempts: %d\r\nserver-timing: %b\r\n"


def make_answer(answer: WholeAnswer | EmbeddingAnswer, request_id: str, lines: AnswerLines, body: bytes) -> HttpAnswer:
    """The answer of a success. `body` is JSON; `lines` has the header lines of its limits, and the surface's own."""
    form, shown = lines
    shared = (
        request_id.encode("ascii"),
        answer.provider.encode("ascii"),
        header_text(answer.reply.model),
        len(answer.attempts),
        answer.times.as_server_timing(),
    )
    fields = form % (shared + shown)
    if answer.session_id is not None:
        fields += b"x-pg-session-id: %b\r\n" % str(answer.session_id).encode("ascii")
    if answer.verdicts:
        fields += render_verdicts(answer.verdicts)
    return HttpAnswer(200, fields, body)


def more_lines(lines: bytes) -> AnswerLines:
    """The lines of an answer that has these, too."""
    return ANSWER_FIELDS + b"%b", (lines,)


def limit_lines(limits: Sequence[LimitState]) -> AnswerLines:
    """The lines of an answer that has no others than those of its limits."""
    if limits is NO_LIMITS:
        return ANSWER_FIELDS, ()
    if type(limits) is LimitsLeft:
        shown = tuple(chain.from_iterable(limits.left))
        if None not in shown:
            # As `render_limits` writes them.
            return _limits_format(limits.policies), shown
    return more_lines(render_limits(limits) if limits else b"")


# As many as `standard_format` keeps.
@lru_cache(maxsize=10_000)
def _limits_format(policies: tuple[LimitPolicy, ...]) -> bytes:
    return ANSWER_FIELDS + (standard_format(policies) if policies else b"")


def render_verdicts(verdicts: Sequence[GuardrailVerdict]) -> bytes:
    """The header line of what guardrails masked or flagged; empty if there is nothing."""
    told = verdicts_text(verdicts)
    return f"x-pg-guardrails: {told}\r\n".encode("ascii") if told else b""


def make_failure(
    error: GatewayError, request_id: UUID, limits: Sequence[LimitState], tries: Tries | None, body: bytes
) -> HttpAnswer:
    """The answer of a failure. `body` is JSON. The fields name the candidate that was called last, if there was one."""
    more = "".join([f"{name.lower()}: {value}\r\n" for name, value in error.headers().items()])
    fields = f"content-type: application/json\r\nx-request-id: {request_id}\r\n{more}".encode("ascii")
    if limits:
        fields += render_limits(limits, error.retry_after_s if isinstance(error, RateLimited) else None)
    if tries is not None:
        last = tries.attempts[-1]
        fields += _TRIES_FIELDS % (
            last.provider.encode("ascii"),
            header_text(last.model),
            sum(row.is_try for row in tries.attempts),
            tries.times.as_server_timing(),
        )
    return HttpAnswer(error.status, fields, body)


def split_fields(fields: bytes) -> HeaderList:
    """Header lines in ASGI's form."""
    return [(name, value) for name, _, value in [line.partition(b": ") for line in fields.split(b"\r\n")[:-1]]]


# A few models answer nearly all requests. An entry is about 400 bytes.
@lru_cache(maxsize=1024)
def header_text(text: str) -> bytes:
    """A provider's text as a header value: printable ASCII, at most 200 characters, `?` for the rest."""
    if text.isascii() and text.isprintable():
        return text[:200].encode("ascii")
    return bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in text[:200].encode("ascii", "replace"))
