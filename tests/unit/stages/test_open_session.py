"""The session stage: whose a session is, when it is full or expired, what is kept of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import trio
from attrs import define, evolve, field

from pg_trio.domain.chat import ChatRequest, Message, Reply, SessionTerms, ToolCall, Usage
from pg_trio.domain.project import Caller, Candidate, Credential, Endpoint, Project, Token
from pg_trio.domain.session import StoredSession, Turn
from pg_trio.errors import (
    CallsUnpaired,
    GatewayError,
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
from pg_trio.stages.open_session import Sessions

NOW = 1_000_000.0
ID = UUID(int=5)
PROJECT = Project(UUID(int=1), "p", "p")
CANDIDATES = (Candidate(Credential("c", "openai", "http://127.0.0.1:1"), "m"),)


def endpoint(**settings: Any) -> Endpoint:
    return Endpoint(
        **{
            "uuid": UUID(int=2),
            "slug": "a",
            "name": "a",
            "candidates": CANDIDATES,
            "sessions_enabled": True,
            **settings,
        }
    )


def caller(token_id: int = 4) -> Caller:
    return Caller(Token(token_id, PROJECT.uuid, "t", "pg_live_x", bytes(32), "live", ("chat",), True, 0.0), PROJECT)


def request(*said: str, session_id: UUID | None = ID) -> ChatRequest:
    messages = tuple(Message("user", text) for text in said or ("Hi",))
    return ChatRequest(messages, {}, session_id=session_id)


STORED = StoredSession(
    id=ID,
    endpoint=UUID(int=2),
    token_id=4,
    created_at=NOW - 500,
    last_active_at=NOW - 100,
    message_count=2,
    token_count=30,
    byte_count=80,
    messages=(Message("user", "Hello"), Message("assistant", "Hello to you")),
    tags={"a": 0, "b": 1},
)
REPLY = Reply("chatcmpl-1", "m", "Fine.", "stop")


@define
class FakeBook:
    """Keeps sessions in a list, or fails."""

    sessions: list[StoredSession] = field(factory=lambda: [STORED])
    turns: list[Turn] = field(factory=list)
    forgotten: list[UUID] = field(factory=list)
    is_broken: bool = False
    is_gone: bool = False

    async def load(self, session_id: UUID) -> StoredSession | None:
        await trio.lowlevel.checkpoint()
        if self.is_broken:
            raise StoreError("broken")
        return next((session for session in self.sessions if session.id == session_id), None)

    async def append(self, turn: Turn) -> bool:
        await trio.lowlevel.checkpoint()
        if self.is_broken:
            raise StoreError("broken")
        self.turns.append(turn)
        return not self.is_gone

    async def forget(self, session: StoredSession) -> None:
        await trio.lowlevel.checkpoint()
        self.forgotten.append(session.id)


def stage(book: FakeBook, max_bytes: int = 10_000) -> Sessions:
    return Sessions(book, lambda: NOW, max_bytes)


async def refusal(
    stored: StoredSession, settings: dict[str, Any] | None = None, asked: ChatRequest | None = None
) -> GatewayError | None:
    """Why the session is not opened; None if it is."""
    try:
        await stage(FakeBook([stored])).open(caller(), endpoint(**settings or {}), asked or request())
    except GatewayError as error:
        return error
    return None


async def test_history_comes_with_the_session() -> None:
    session = await stage(FakeBook()).open(caller(), endpoint(), request())

    assert (ID, False, STORED.messages, 17) == (session.id, session.is_new, session.history, session.history_chars)


async def test_without_id_a_new_one_begins() -> None:
    book = FakeBook()

    first = await stage(book).open(caller(), endpoint(), request(session_id=None))
    second = await stage(book).open(caller(), endpoint(), request(session_id=None))

    assert (True, ()) == (first.is_new, first.history)
    assert first.id != second.id
    assert [] == book.turns


@pytest.mark.parametrize(
    "stored",
    [
        evolve(STORED, id=UUID(int=6)),
        evolve(STORED, endpoint=UUID(int=3)),
        evolve(STORED, token_id=5),
        evolve(STORED, token_id=5, last_active_at=0.0),
    ],
    ids=["unknown", "endpoint", "token", "expired"],
)
async def test_others_session_is_not_there(stored: StoredSession) -> None:
    error = await refusal(stored)

    assert isinstance(error, SessionNotAccessible)
    assert (403, "Session not found or not accessible.") == (error.status, error.text)


@pytest.mark.parametrize(("idle_s", "is_expired"), [(0, False), (60, False), (60.1, True), (-5, False)])
async def test_idle_for_longer_than_its_ttl_is_expired(idle_s: float, is_expired: bool) -> None:
    error = await refusal(evolve(STORED, last_active_at=NOW - idle_s), {"session_ttl_seconds": 60})

    assert is_expired == isinstance(error, SessionExpired)


async def test_expired_session_is_deleted() -> None:
    book = FakeBook([evolve(STORED, last_active_at=0.0)])

    with pytest.raises(SessionExpired) as caught:
        await stage(book).open(caller(), endpoint(), request())

    assert (410, "Session expired.") == (caught.value.status, caught.value.text)
    assert [ID] == book.forgotten


@pytest.mark.parametrize(
    ("count", "new", "is_full"),
    [(98, 1, False), (98, 2, False), (99, 1, False), (99, 2, True), (100, 1, True), (101, 1, True), (0, 101, True)],
)
async def test_message_limit(count: int, new: int, is_full: bool) -> None:
    error = await refusal(evolve(STORED, message_count=count), None, request(*["x"] * new))

    assert is_full == isinstance(error, SessionMessagesReached)
    if error is not None:
        assert (429, "Session message limit reached.") == (error.status, error.text)


async def test_message_limit_holds_for_a_first_call() -> None:
    with pytest.raises(SessionMessagesReached):
        await stage(FakeBook()).open(caller(), endpoint(session_max_messages=2), request(*"abc", session_id=None))


# The history has 17 characters, 40 more make 15 tokens.
@pytest.mark.parametrize(("count", "is_full"), [(0, False), (85, False), (86, True), (100, True)])
async def test_token_limit(count: int, is_full: bool) -> None:
    error = await refusal(evolve(STORED, token_count=count), {"session_max_tokens": 100}, request("x" * 40))

    assert is_full == isinstance(error, SessionTokensReached)
    if error is not None:
        assert (429, "Session token limit reached.") == (error.status, error.text)


@pytest.mark.parametrize(("size", "is_full"), [(9_999, False), (10_000, True)])
async def test_size_limit(size: int, is_full: bool) -> None:
    error = await refusal(evolve(STORED, byte_count=size))

    assert is_full == isinstance(error, SessionTooLarge)


async def test_answered_turn_is_kept() -> None:
    book = FakeBook()
    reply = evolve(REPLY, content=None, tool_calls=(ToolCall("c", "f", "{}"),))
    session = await stage(book).open(caller(), endpoint(), request("one", "two"))

    await session.keep(reply, Usage(20, 7))

    messages = (Message("user", "one"), Message("user", "two"), Message("assistant", None, tool_calls=reply.tool_calls))
    assert [Turn(ID, False, UUID(int=2), 4, NOW, messages, 27)] == book.turns


async def test_first_turn_says_so() -> None:
    book = FakeBook()
    session = await stage(book).open(caller(), endpoint(), request(session_id=None))

    await session.keep(REPLY, Usage(1, 1))

    assert [(session.id, True)] == [(turn.session_id, turn.is_first) for turn in book.turns]


async def test_deleted_meanwhile_is_expired() -> None:
    session = await stage(FakeBook(is_gone=True)).open(caller(), endpoint(), request())

    with pytest.raises(SessionExpired):
        await session.keep(REPLY, Usage(1, 1))


async def test_broken_file_is_unavailable() -> None:
    book = FakeBook(is_broken=True)
    sessions = stage(book)
    session = await sessions.open(caller(), endpoint(), request(session_id=None))

    with pytest.raises(SessionsUnavailable) as caught:
        await sessions.open(caller(), endpoint(), request())
    with pytest.raises(SessionsUnavailable):
        await session.keep(REPLY, Usage(1, 1))

    assert (503, {"Retry-After": "1"}) == (caught.value.status, caught.value.headers())


@pytest.mark.parametrize("stop", ["load", "append"])
async def test_cancelled_call_keeps_nothing(stop: str) -> None:
    book = FakeBook()
    session = await stage(book).open(caller(), endpoint(), request())
    waiting: dict[str, Callable[[], Any]] = {
        "load": lambda: stage(book).open(caller(), endpoint(), request()),
        "append": lambda: session.keep(REPLY, Usage(1, 1)),
    }

    with trio.CancelScope() as scope:
        scope.cancel()
        await waiting[stop]()

    assert [] == book.turns


# ── terms of a request ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_instructions_come_first_and_are_not_kept() -> None:
    book, asked = FakeBook(), evolve(request("Be kind.", "Hi"), session_terms=SessionTerms(instructions=1))

    session = await stage(book).open(caller(), endpoint(), asked)
    await session.keep(REPLY, Usage(1, 2))

    assert ["Be kind.", "Hello", "Hello to you", "Hi"] == [message.content for message in session.messages]
    assert ["Hi", "Fine."] == [message.content for message in book.turns[0].messages]


async def test_turn_may_be_left_out() -> None:
    book = FakeBook(is_broken=False)

    session = await stage(book).open(
        caller(), endpoint(), evolve(request(), session_terms=SessionTerms(keeps_turn=False))
    )
    await session.keep(REPLY, Usage(1, 2))

    assert ([], STORED.messages) == (book.turns, session.history)


async def test_new_session_has_the_wanted_id() -> None:
    asked = evolve(request(session_id=None), session_terms=SessionTerms(new_id=UUID(int=77)))

    session = await stage(FakeBook()).open(caller(), endpoint(), asked)

    assert (UUID(int=77), True) == (session.id, session.is_new)


@pytest.mark.parametrize("tag", ["a", "c", ""])
async def test_session_that_moved_on(tag: str) -> None:
    as_it_is, as_it_was = SessionTerms(resumed_tag="b"), SessionTerms(resumed_tag=tag)

    refused = await refusal(STORED, asked=evolve(request(), session_terms=as_it_was))

    assert isinstance(refused, SessionMovedOn)
    assert None is await refusal(STORED, asked=evolve(request(), session_terms=as_it_is))
    foreign = evolve(STORED, token_id=5)
    assert isinstance(await refusal(foreign, asked=evolve(request(), session_terms=as_it_was)), SessionNotAccessible)


async def test_instructions_count_against_no_limit_of_messages() -> None:
    terms, full = SessionTerms(instructions=1), {"session_max_messages": 3}

    assert None is await refusal(STORED, full, evolve(request("Be kind.", "Hi"), session_terms=terms))
    assert isinstance(await refusal(STORED, full, request("Hi", "Ho")), SessionMessagesReached)


async def test_answer_is_kept_under_its_tag() -> None:
    book, terms = FakeBook(), SessionTerms(instructions=1, tag="mine")

    session = await stage(book).open(caller(), endpoint(), evolve(request("Be kind.", "Hi"), session_terms=terms))
    await session.keep(REPLY, Usage(1, 2))

    assert ({1: "mine"}, ID, ID) == (book.turns[0].tags, session.id, session.kept_id)


def quoting(*tags: str, resumes: bool = False, **terms: Any) -> ChatRequest:
    """Instructions, then a user's message before each of the quoted answers."""
    said = [message for tag in tags for message in (Message("user", f"for {tag}"), Message("assistant", None))]
    quotes = {2 * place + 2: tag for place, tag in enumerate(tags)}
    made = SessionTerms(instructions=1, quotes=quotes, resumes=resumes, new_id=UUID(int=77), tag="mine", **terms)
    return ChatRequest((Message("system", "Be kind."), *said), {}, session_id=ID, session_terms=made)


async def test_quoted_answers_take_their_places() -> None:
    book = FakeBook()

    session = await stage(book).open(caller(), endpoint(), quoting("b", "a"))
    await session.keep(REPLY, Usage(1, 2))

    contents = ["for b", "Hello to you", "for a", "Hello"]
    assert ["Be kind.", *contents] == [message.content for message in session.messages]
    assert (UUID(int=77), True, 17) == (session.id, session.is_new, session.history_chars)
    [turn] = book.turns
    assert [*contents, "Fine."] == [message.content for message in turn.messages]
    assert {1: "b", 3: "a", 4: "mine"} == turn.tags


async def test_quotes_without_a_new_session() -> None:
    book = FakeBook()

    session = await stage(book).open(caller(), endpoint(), quoting("b", keeps_turn=False))
    await session.keep(REPLY, Usage(1, 2))

    assert ([], None) == (book.turns, session.kept_id)
    assert "Hello to you" == session.messages[2].content


async def test_quotes_of_a_resumed_session() -> None:
    session = await stage(FakeBook()).open(caller(), endpoint(), quoting("b", resumes=True))

    assert ["Be kind.", "Hello", "Hello to you", "for b", "Hello to you"] == [
        message.content for message in session.messages
    ]
    assert (ID, 29) == (session.id, session.history_chars)


@pytest.mark.parametrize(
    "stored",
    [
        evolve(STORED, id=UUID(int=6)),
        evolve(STORED, endpoint=UUID(int=3)),
        evolve(STORED, token_id=5),
        evolve(STORED, last_active_at=0.0),
        evolve(STORED, tags={}),
    ],
    ids=["unknown", "endpoint", "token", "expired", "tag"],
)
async def test_others_answers_cannot_be_quoted(stored: StoredSession) -> None:
    assert isinstance(await refusal(stored, asked=quoting("b")), QuoteNotFound)


def output(call_id: str) -> Message:
    return Message("tool", "3", tool_call_id=call_id)


@pytest.mark.parametrize(
    ("said", "is_paired"),
    [
        ((output("a"), output("b")), True),
        ((output("b"), output("a"), Message("user", "And?")), True),
        ((output("a"),), False),
        ((Message("user", "Never mind."),), False),
        ((output("a"), output("b"), output("b")), False),
        ((output("a"), output("b"), output("c")), False),
    ],
)
async def test_continued_calls_have_their_outputs(said: tuple[Message, ...], is_paired: bool) -> None:
    calls = (ToolCall("a", "add", "{}"), ToolCall("b", "add", "{}"))
    stored = evolve(STORED, messages=(Message("user", "Add"), Message("assistant", None, tool_calls=calls)))
    terms = SessionTerms(resumed_tag="b")

    refused = await refusal(stored, asked=evolve(request(), messages=said, session_terms=terms))

    assert (None if is_paired else CallsUnpaired) is (None if refused is None else type(refused))
    assert None is await refusal(stored, asked=evolve(request(), messages=said))
