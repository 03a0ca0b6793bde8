"""The log's row of a request: always exactly one, also after a failure. Never a secret, never text that a guardrail
masked."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias
from uuid import UUID

from attrs import field

from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.project import Candidate
from pg_trio.domain.trace_context import AttemptTrace
from pg_trio.domain.value import value

# What became of a candidate: it answered, another answered first, it failed, the deadline or the client's leaving cut
# it short, or it was not asked.
AttemptKind: TypeAlias = Literal["won", "lost", "failed", "cancelled", "skipped"]

PASSED_OVER = "passed over"
# As racing.attempt words the end of an attempt beside which another has won.
_LOST = "cancelled: hedge lost"


@value(slots=True)
class AttemptRow:
    """One candidate's try. Offsets are milliseconds from the request's head. `outcome` is `won`, `failed: <error>`,
    `passed over: <reason>` (not asked, so not a try), or `cancelled` (by the deadline or the client's departure). `why`
    is the reason for the client, in a few fixed words.

    A stream that sent a token has `first_token_ms`. Its end is the end of the relay, so it may have won its race and
    failed later.
    """

    provider: str
    model: str
    credential: str
    started_ms: float
    ended_ms: float
    outcome: str
    first_token_ms: float | None = None
    why: str = ""
    # False in rows that older releases have written.
    is_hedge: bool = False

    @property
    def is_try(self) -> bool:
        """Whether the candidate was asked."""
        return not self.outcome.startswith(PASSED_OVER)

    @property
    def kind(self) -> AttemptKind:
        """What became of the candidate, as one word."""
        outcome = self.outcome
        if outcome == "won":
            return "won"
        if not self.is_try:
            return "skipped"
        if outcome == _LOST:
            return "lost"
        return "cancelled" if outcome.startswith("cancelled") else "failed"


class Beginning(Protocol):
    """An attempt that begins. `number` counts from 0 within its race."""

    @property
    def candidate(self) -> Candidate: ...

    @property
    def number(self) -> int: ...

    @property
    def is_hedge(self) -> bool: ...


class Attempts:
    """The tries of one request so far. Times are Trio's clock; rows hold offsets from the request's head."""

    has_passed_over = False
    # Tries whose provider neither answered nor refused: it may have worked, and may charge for it. By candidate,
    # because each has a price of its own.
    lost_to: tuple[Candidate, ...] = ()
    # Whether a hedge was due that the hedge budget, or the candidates' state, did not allow.
    hedge_denied = False
    # What calls are told of the request's trace. None if there is nothing to tell.
    trace: AttemptTrace | None = None

    def __init__(self, head_at: float) -> None:
        self._head_at = head_at
        self.rows: list[AttemptRow] = []

    @property
    def lost(self) -> int:
        """How many such tries there were."""
        return len(self.lost_to)

    def begin(self, attempt: Beginning, started_at: float) -> None:
        """A candidate is asked. Its row comes with its end."""

    def add(  # what a row has, and two that most leave out
        self,
        candidate: Candidate,
        started_at: float,
        ended_at: float,
        outcome: str,
        why: str = "",
        is_hedge: bool = False,
    ) -> None:
        """Note a try that has ended."""
        head_at, credential = self._head_at, candidate.credential
        self.rows.append(
            # By position, because keyword arguments take twice as long.
            AttemptRow(
                credential.provider,
                candidate.model,
                credential.name,
                int((started_at - head_at) * 1e6) / 1000,
                int((ended_at - head_at) * 1e6) / 1000,
                outcome,
                None,
                why,
                is_hedge,
            )
        )

    def replace(self, place: int, row: AttemptRow) -> None:
        """Put the row of a stream that has ended in the place of the one that it had at its first token."""
        self.rows[place] = row

    def pass_over(self, candidate: Candidate, now: float, said: str, why: str) -> None:
        """Note that a candidate was not asked; once for each reason, even if it is considered several times."""
        self.has_passed_over = True
        outcome = f"{PASSED_OVER}: {said}"
        places = [(row.credential, row.model, row.why) for row in self.rows if not row.is_try]
        if (candidate.credential.name, candidate.model, why) not in places:
            self.add(candidate, now, now, outcome, why)

    @property
    def tries(self) -> list[AttemptRow]:
        """The candidates that were asked."""
        return [row for row in self.rows if row.is_try] if self.has_passed_over else self.rows

    def end_stream(self, ended_at: float, outcome: str) -> bool:
        """Note the end of the winning stream; until then its row ends with its first token.

        Returns False if an end was noted before; the first one is kept.
        """
        ended_ms = int((ended_at - self._head_at) * 1e6) / 1000
        for index, row in enumerate(self.rows):
            if row.outcome == "won" and row.first_token_ms is None:
                why = "stream broke off" if outcome.startswith("failed") else ""
                ended = AttemptRow(
                    row.provider,
                    row.model,
                    row.credential,
                    row.started_ms,
                    ended_ms,
                    outcome,
                    row.ended_ms,
                    why,
                    row.is_hedge,
                )
                self.replace(index, ended)
                return True
        return False

    @property
    def first_token_ms(self) -> float | None:
        """The time of the first token sent to the client; None before it."""
        for row in self.rows:
            if row.first_token_ms is not None:
                return row.first_token_ms
            if row.outcome == "won":
                return row.ended_ms
        return None

    def has_failed(self, candidate: Candidate) -> bool:
        """Whether a try of the candidate failed, also after it won; a cancelled try does not count."""
        key = candidate.credential.name, candidate.model
        failed = [row for row in self.tries if not row.outcome.startswith("cancelled")]
        return any((row.credential, row.model) == key for row in failed)


@value(slots=True)
class LogRow:
    """One request. `at` is Unix seconds of the head's arrival; money is billionths of a US dollar, as an integer.

    Fields are None (or empty) for stages that the request did not reach: an unknown token has no project, a refused
    request no provider. `endpoint_slug` is the requested slug, even if no such endpoint exists. `client_request_id` is
    the client's own `X-Request-Id`, `client_address` its address. `stages` is JSON text, `{"stage": milliseconds}`;
    bodies are JSON text too, if the endpoint keeps them (domain/log_body.py). `cached_tokens` and `cache_write_tokens`
    are parts of `prompt_tokens`, `reasoning_tokens` of `completion_tokens`. `price` is where the price of the winner's
    tokens is from (`TokenPrice.source`). `surface` is the name of the surface that the request came by, `outcome` the
    class of its end (recorder.outcome), `deadline_ms` the limit that held when it ended, in milliseconds from its head.
    `client_token` is the id of a client token, None for a stored one, whose id is `token_id`; `subject` is the user
    that it was minted for, if there is one. `guardrails` is what each rule of a guardrail decided. `node` is the node
    of a cluster that served it; None in a node's own log.
    """

    request_id: UUID
    at: float
    status: int
    latency_ms: float
    project_uuid: UUID | None = None
    endpoint_uuid: UUID | None = None
    endpoint_slug: str | None = None
    token_id: int | None = None
    provider: str | None = None
    model: str | None = None
    error_code: str | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_nano_usd: int | None = None
    stages: str = "{}"
    attempts: tuple[AttemptRow, ...] = ()
    client_request_id: str | None = None
    client_address: str | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    price: str | None = None
    surface: str | None = None
    outcome: str | None = None
    deadline_ms: int | None = None
    subject: str | None = None
    client_token: str | None = None
    guardrails: tuple[GuardrailVerdict, ...] = ()
    node: str | None = None
    request_body: str | None = field(default=None, repr=False)
    response_body: str | None = field(default=None, repr=False)

    @property
    def has_bodies(self) -> bool:
        """Whether a body is kept in it."""
        return self.request_body is not None or self.response_body is not None

    @property
    def first_token_ms(self) -> float | None:
        """When the first token of a stream left for the client, in milliseconds from the head."""
        for attempt in self.attempts:
            if attempt.first_token_ms is not None:
                return attempt.first_token_ms
        return None

    @property
    def hedge_won(self) -> bool | None:
        """Whether a hedge gave the answer; None if none was started."""
        won = None
        for attempt in self.attempts:
            if attempt.is_hedge and attempt.is_try:
                won = won or attempt.kind == "won" or attempt.first_token_ms is not None
        return won

    def to_row(self) -> LogRow:
        """Itself: see UnwrittenRow."""
        return self


class UnwrittenRow(Protocol):
    """What the log is given of a request. Its row is made where rows are written, not while the client waits."""

    @property
    def has_bodies(self) -> bool: ...

    def to_row(self) -> LogRow:
        """The row. One that has bodies is made already."""
