"""Ask candidates for vectors, in as many calls as each of them needs.

Rules:
1. All vectors of an answer are from one candidate, because vectors of different models cannot be compared.
2. A request with more inputs than a provider takes in one call is split. The calls of one try follow each other: a try
   holds one slot of its credential, so that it must not have two calls at once.
3. The next try of the same candidate continues where its last one failed. Otherwise a rate limit that lets half of the
   calls pass would let no request pass.
4. The provider charges for the calls that it answered, also if the whole try failed. `unfinished` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from attrs import define, field, frozen

from pg_trio.domain.adapter import EmbeddingAdapter
from pg_trio.domain.chat import Usage, estimate_tokens
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest, join_replies
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate
from pg_trio.errors import Overloaded, UpstreamNonsense
from pg_trio.racing.attempt import Attempt
from pg_trio.racing.byte_room import KeptBytes
from pg_trio.racing.large_work import LARGE_BYTES, work_owner
from pg_trio.stages.provider_call.exchange import RETRY_AFTER_S, Exchange, add_lines, tell_deadline
from pg_trio.stages.provider_call.stream import TellCall


@frozen(slots=True)
class _PartReader:
    """Reads the answer to one call; see `exchange.ReplyReader`."""

    adapter: EmbeddingAdapter
    inputs: int

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> EmbeddingReply:
        return self.adapter.read_embeddings(status, headers, body, candidate, inputs=self.inputs, now_s=now_s)


@define(slots=True, eq=False)
class VectorCall:
    """One request for vectors, on its way to the candidates; see `provider_call.WholeStep`.

    A `with` block around it, and around the use of the vectors, counts them as memory in use. `tell_call`: what
    calls are told of the request's trace.
    """

    request: EmbeddingRequest
    adapters: Callable[[str], EmbeddingAdapter]
    exchange: Exchange
    tell_call: TellCall | None = None
    # The answered calls of each candidate, by the number of the part, and their large vectors' share of the memory.
    _answered: dict[Candidate, dict[int, EmbeddingReply]] = field(factory=dict, init=False)
    _kept: KeptBytes = field(init=False)

    @_kept.default
    def _keep_nothing(self) -> KeptBytes:
        return self.exchange.answer_room.keep_nothing(work_owner.get())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.give_back()

    def why_unfit(self, candidate: Candidate) -> str | None:
        """See WholeStep."""
        return self.adapters(candidate.provider).why_unfit(self.request, candidate)

    async def fetch(self, attempt: Attempt[Candidate]) -> EmbeddingReply:
        """The candidate's vectors of all inputs. Raises AttemptFailed."""
        candidate = attempt.candidate
        adapter = self.adapters(candidate.provider)
        answered = self._answered.setdefault(candidate, {})
        parts = adapter.split(self.request, candidate)
        for number, part in enumerate(parts):
            if number not in answered:
                answered[number] = await self._fetch_part(adapter, part, attempt)
        replies = [answered[number] for number in range(len(parts))]
        if len({reply.dimensions for reply in replies}) > 1:
            # They are of no use to a later try either.
            del self._answered[candidate]
            raise UpstreamNonsense("the vectors of two calls differ in length")
        return join_replies(replies)

    async def _fetch_part(
        self, adapter: EmbeddingAdapter, part: EmbeddingRequest, attempt: Attempt[Candidate]
    ) -> EmbeddingReply:
        candidate, exchange = attempt.candidate, self.exchange
        request = adapter.build_embeddings(part, candidate)
        if candidate.credential.send_deadline:
            request = tell_deadline(request, attempt.ends_at)
        if self.tell_call is not None:
            request = add_lines(request, self.tell_call(candidate, attempt.started_at))
        response = await exchange.transports[candidate.credential.carrier].open_response(request)
        try:
            reply = await exchange.read_reply(_PartReader(adapter, len(part.inputs)), response, candidate)
        finally:
            await response.aclose()
        size_bytes = reply.size_bytes()
        if size_bytes > LARGE_BYTES and not self._kept.grow_nowait(size_bytes):
            raise Overloaded(RETRY_AFTER_S)
        return reply

    def unfinished(self, winner: Candidate | None, attempts: Attempts) -> list[tuple[Candidate, Usage]]:
        """The usage of the calls that candidates answered without answering all of the request.

        A candidate with a lost try is left out, because that try counts the whole request already.
        """
        return [
            (candidate, self._usage_of(candidate, answered))
            for candidate, answered in self._answered.items()
            if answered and candidate != winner and candidate not in attempts.lost_to
        ]

    def _usage_of(self, candidate: Candidate, answered: Mapping[int, EmbeddingReply]) -> Usage:
        parts = self.adapters(candidate.provider).split(self.request, candidate)
        used = Usage(0, 0)
        for number, reply in answered.items():
            used = used.plus(reply.usage or estimate_embeddings(parts[number]))
        return used


def estimate_embeddings(request: EmbeddingRequest) -> Usage:
    """The estimated usage of an answer whose provider sent none."""
    return Usage(estimate_tokens(request.characters()), 0, estimated=True)
