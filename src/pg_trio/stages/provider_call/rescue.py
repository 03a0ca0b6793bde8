"""Carry an answer on with the next candidate when its stream fails after a token was sent (`on_stream_failure`).

Rules:
1. A candidate that failed at this request, before its first token or after it, is not asked again for it: there are as
   many rescues as candidates left, all within the stream's deadline, and none of them is retried (retry.py).
2. `restart` asks for the whole answer again; what comes takes the place of what was sent.
3. `continue` sends the text so far as a last message of the assistant's. Models that go on from such a message do
   so; one that does not answers it as it likes. Its output limit is less by what is out already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import trio
from attrs import define, evolve

from pg_trio.domain.chat import Message, Prompt, estimate_tokens
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed
from pg_trio.stages.provider_call.call_plan import CallPlan
from pg_trio.stages.provider_call.stream import Listener, OpenStream


class StreamOpener(Protocol):
    """Opens streams: the stage itself."""

    async def open_stream(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream: ...

    async def open_rescue(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream | None: ...


@define(eq=False)
class CarriedStream:
    """A stream, and those that continue it; `now` is the open one. The holder must call `aclose()`."""

    opener: StreamOpener
    plan: CallPlan
    prompt: Prompt
    ends_at: float
    attempts: Attempts
    now: OpenStream | None = None

    @property
    def mode(self) -> Literal["restart", "continue"] | None:
        """How a stream that fails is carried on; None: it is not."""
        mode = self.plan.on_stream_failure
        return None if mode == "error" else mode

    async def open_first(self, listener: Listener) -> OpenStream:
        """The first stream, after its first token. Raises GatewayError."""
        self.now = await self.opener.open_stream(self.plan, self.prompt, self.ends_at, self.attempts, listener)
        return self.now

    async def open_next(self, failure: AttemptFailed, text: str, listener: Listener) -> OpenStream | None:
        """The next candidate's stream, or None where none is left. `text` is what the client has, for `continue`.

        Raises ProviderCallFailed where all that were left failed too.
        """
        self.note_end(f"failed: {failure.said}")
        await self.aclose()
        prompt = self.prompt if self.mode == "restart" else continue_prompt(self.prompt, text)
        opened = await self.opener.open_rescue(self.plan, prompt, self.ends_at, self.attempts, listener)
        if opened is not None:
            self.now = opened
        return opened

    def why_lost(self, candidate: Candidate) -> str:
        """Why the candidate's last try ended, masked; for the client that has heard something of it."""
        key = candidate.credential.name, candidate.model
        for row in reversed(self.attempts.rows):
            if (row.credential, row.model) == key and row.outcome.startswith(("failed", "cancelled")):
                return row.outcome.removeprefix("failed: ").removeprefix("cancelled: ")
        return "cancelled"

    def note_end(self, outcome: str) -> None:
        """How the stream that is open now has ended, for its row and the breakers; only the first word counts."""
        now, stream = trio.current_time(), self.now
        if self.attempts.end_stream(now, outcome) and outcome.startswith("failed") and stream is not None:
            stream.note_broken(now, outcome.removeprefix("failed: "))

    async def aclose(self) -> None:
        """Let go of the connection; does its work under cancellation too."""
        if self.now is not None:
            await self.now.aclose()


def continue_prompt(prompt: Prompt, text: str) -> Prompt:
    """The prompt for a candidate that continues this text."""
    messages = (*prompt.messages, Message("assistant", text))
    options, limit = prompt.options, prompt.options.max_output_tokens
    if limit is not None:
        options = evolve(options, max_output_tokens=max(1, limit - estimate_tokens(len(text))))
    return evolve(prompt, messages=messages, options=options)


def candidates_left(candidates: Sequence[Candidate], attempts: Attempts) -> tuple[Candidate, ...]:
    """Those that have not failed at this request."""
    return tuple(candidate for candidate in candidates if not attempts.has_failed(candidate))
