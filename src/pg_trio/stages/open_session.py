"""The stage `session`: puts the stored conversation in front of the request, and stores the turn with its answer.

Rules:
1. A session belongs to one endpoint, one token and one holder of its client tokens. For other callers it does not
   exist, even if it has expired.
2. Limits are checked before the provider is asked. A session with `session_max_messages` is full. So is one that the
   request's own messages would take beyond it, or the estimate of everything sent beyond `session_max_tokens`.
   Concurrent calls do not see each other, and each answer is stored, so they may exceed a limit together.
3. A new session is only an id until its first answer is stored. A failed call stores nothing.
4. The stored messages are the client's, after masking by the guardrails and before the endpoint's template. The
   template belongs to the operator, may change, and wraps the last user message of each call anew.
5. All messages of the call are stored, including system messages, tool calls and tool results. Instructions that hold
   for one answer (`SessionTerms`) are sent before the stored conversation, and not stored.
6. A request may resume a session after a certain answer (`resumed_tag`). If the session has had another turn since, it
   is refused. Two such requests at once do not see each other: both turns are stored, and the later one is the latest.
7. A request may quote answers of a session by their tags. The quoted text takes its place in the request's messages.
   The guardrails have not read it, as they read no history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from uuid import UUID, uuid4

from attrs import evolve, frozen

from pg_trio.domain.chat import ChatRequest, Message, Reply, SessionTerms, Usage, count_sent, estimate_tokens
from pg_trio.domain.project import Caller, Endpoint
from pg_trio.domain.session import StoredSession, Turn
from pg_trio.errors import (
    CallsUnpaired,
    QuoteNotFound,
    SessionExpired,
    SessionMessagesReached,
    SessionMovedOn,
    SessionNotAccessible,
    SessionsUnavailable,
    SessionTokensReached,
    SessionTooLarge,
    StoreError,
)


class SessionBook(Protocol):
    """The store of sessions; see store/sessions.py. Every method may raise StoreError."""

    async def load(self, session_id: UUID) -> StoredSession | None: ...

    async def append(self, turn: Turn) -> bool: ...

    async def forget(self, session: StoredSession) -> None: ...


@frozen(slots=True, eq=False)
class OpenSession:
    """The session of one call. `history` is the stored conversation, `history_chars` the number of its characters, and
    of those that the request quotes."""

    id: UUID
    is_new: bool
    endpoint: Endpoint
    caller: Caller
    request: ChatRequest
    history: tuple[Message, ...]
    history_chars: int
    _book: SessionBook
    _now_s: Callable[[], float]

    @property
    def kept_id(self) -> UUID | None:
        """The id of the session that stores the turn; None if none does."""
        return self.id if self.request.session_terms.keeps_turn else None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation: instructions, the stored messages, the request's own."""
        messages, instructions = self.request.messages, self.request.session_terms.instructions
        return (*messages[:instructions], *self.history, *messages[instructions:])

    async def keep(self, reply: Reply, usage: Usage) -> None:
        """Store the turn: the request's messages and the answer, together. Does nothing if it must not be stored.

        Raises SessionExpired if the session was deleted meanwhile, SessionsUnavailable if the turn cannot be written.
        """
        terms = self.request.session_terms
        if not terms.keeps_turn:
            return
        instructions = terms.instructions
        said = self.request.messages[instructions:]
        tags = {place - instructions: tag for place, tag in terms.quotes.items()}
        if terms.tag is not None:
            tags[len(said)] = terms.tag
        turn = Turn(
            session_id=self.id,
            is_first=self.is_new,
            endpoint=self.endpoint.uuid,
            token_id=self.caller.token.id,
            at=self._now_s(),
            messages=(*said, Message("assistant", reply.content, tool_calls=reply.tool_calls)),
            token_count=usage.total_tokens,
            tags=tags,
            holder=self.caller.token.holder,
        )
        try:
            is_kept = await self._book.append(turn)
        except StoreError as exc:
            raise SessionsUnavailable from exc
        if not is_kept:
            raise SessionExpired


class Sessions:
    """Opens the session of each call. `now_s` is Unix seconds."""

    def __init__(self, book: SessionBook, now_s: Callable[[], float], max_bytes: int) -> None:
        self._book = book
        self._now_s = now_s
        self._max_bytes = max_bytes

    async def open(self, caller: Caller, endpoint: Endpoint, request: ChatRequest) -> OpenSession:
        """The session that the request resumes, or a new one.

        Raises SessionNotAccessible, SessionExpired, SessionMovedOn, CallsUnpaired, QuoteNotFound, SessionsUnavailable,
        and the errors of a full session.
        """
        terms = request.session_terms
        stored = None if request.session_id is None else await self._find(request.session_id, caller, endpoint, terms)
        history_chars = 0
        if terms.quotes:
            quoting = _fill_quotes(request, stored)
            history_chars = count_sent(quoting.messages) - count_sent(request.messages)
            request = quoting
        if not terms.resumes:
            stored = None
        history = () if stored is None else stored.messages
        if terms.resumed_tag is not None:
            _check_calls((*history, *request.messages))
        history_chars += count_sent(history)
        self._check_limits(endpoint, stored, request, history_chars)
        return OpenSession(
            id=(terms.new_id or uuid4()) if stored is None else stored.id,
            is_new=stored is None,
            endpoint=endpoint,
            caller=caller,
            request=request,
            history=history,
            history_chars=history_chars,
            book=self._book,
            now_s=self._now_s,
        )

    async def _find(self, session_id: UUID, caller: Caller, endpoint: Endpoint, terms: SessionTerms) -> StoredSession:
        """The session that the request resumes or quotes from."""
        try:
            stored = await self._resume(session_id, caller, endpoint)
        except (SessionNotAccessible, SessionExpired):
            if terms.resumes:
                raise
            raise QuoteNotFound from None
        tag = terms.resumed_tag
        if tag is not None and stored.tags.get(tag) != len(stored.messages) - 1:
            raise SessionMovedOn
        return stored

    async def _resume(self, session_id: UUID, caller: Caller, endpoint: Endpoint) -> StoredSession:
        try:
            stored = await self._book.load(session_id)
            if stored is None or not _is_owner(caller, endpoint, stored):
                raise SessionNotAccessible
            if self._now_s() - stored.last_active_at > endpoint.session_ttl_seconds:
                await self._book.forget(stored)
                raise SessionExpired
        except StoreError as exc:
            raise SessionsUnavailable from exc
        return stored

    def _check_limits(
        self, endpoint: Endpoint, stored: StoredSession | None, request: ChatRequest, history_chars: int
    ) -> None:
        messages, tokens, size = (0, 0, 0)
        if stored is not None:
            messages, tokens, size = stored.message_count, stored.token_count, stored.byte_count
        most = endpoint.session_max_messages
        if messages >= most or messages + len(request.messages) - request.session_terms.instructions > most:
            raise SessionMessagesReached
        if endpoint.session_max_tokens is not None:
            tokens += estimate_tokens(history_chars + request.characters())
            if tokens > endpoint.session_max_tokens:
                raise SessionTokensReached
        if size >= self._max_bytes:
            raise SessionTooLarge


def _is_owner(caller: Caller, endpoint: Endpoint, stored: StoredSession) -> bool:
    token = caller.token
    return (stored.endpoint, stored.token_id, stored.holder) == (endpoint.uuid, token.id, token.holder)


def _fill_quotes(request: ChatRequest, stored: StoredSession | None) -> ChatRequest:
    """The request with the texts of the answers that it quotes. Raises: QuoteNotFound."""
    messages = list(request.messages)
    for place, tag in request.session_terms.quotes.items():
        found = None if stored is None else stored.tags.get(tag)
        if stored is None or found is None:
            raise QuoteNotFound
        messages[place] = evolve(messages[place], content=stored.messages[found].content)
    return evolve(request, messages=tuple(messages))


def _check_calls(messages: tuple[Message, ...]) -> None:
    """Return if each call has one output, after it. Raises: CallsUnpaired."""
    unanswered: set[str] = set()
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in unanswered:
                raise CallsUnpaired
            unanswered.remove(message.tool_call_id)
        unanswered.update([call.id for call in message.tool_calls])
    if unanswered:
        raise CallsUnpaired
