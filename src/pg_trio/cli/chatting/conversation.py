"""The conversation: which frames are sent, and what frames from the gateway mean. No I/O.

Rules:
1. One answer runs at a time. Frames with another id are late ones of an answer that was given up, and are left out.
2. `seq` counts without a gap. A frame that came before is left out, because a resumed answer may repeat some. An error
   ends the answer, with any number.
3. After a lost connection, an answer that had begun is resumed after its last frame. One that had not is asked for
   again, at most ASKED_TIMES times in all.
4. Where the endpoint has sessions, the gateway remembers the turns. Elsewhere they are sent along, at most
   REMEMBERED_MESSAGES of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import define, field, frozen

Frame: TypeAlias = dict[str, Any]

ASKED_TIMES = 3
# As many as a request may have by the gateway's default, and an even number: questions and answers.
REMEMBERED_MESSAGES = 100
_REFUSALS = (401, 403)
# Of an unknown session, and of one that has expired.
_LOST_SESSION = (403, 410)


@frozen
class MoreText:
    """More of the answer."""

    text: str


@frozen
class Note:
    """Something to know beside the answer."""

    text: str


@frozen
class Ended:
    """The answer has ended. `error` says why it failed; None if it did not."""

    error: str | None = None


@frozen
class TokenRefused:
    """The gateway takes the token no more, or never did."""

    error: str


@frozen
class SessionLost:
    """The gateway has the session no more: the next question begins another one."""


Said: TypeAlias = MoreText | Note | Ended | TokenRefused | SessionLost


class FrameMissing(Exception):
    """A frame of the answer did not come: only a resumption can bring it."""


@define(eq=False)
class RunningAnswer:
    """The answer that runs. `request_id` is known once it has begun; `seq` is that of the last frame."""

    id: str
    question: str
    body: Frame
    request_id: str | None = None
    seq: int = 0
    asked_times: int = 1
    is_stopping: bool = False
    pieces: list[str] = field(factory=list)


@define(eq=False)
class Conversation:
    """What was said so far, and the answer that runs."""

    answer: RunningAnswer | None = None
    session_id: str | None = None
    _turns: list[Frame] = field(factory=list)
    _question: str | None = None
    # Whether the last question and its answer are the last two turns.
    _is_kept: bool = False
    _count: int = 0

    def ask(self, question: str) -> Frame:
        """The frame of a question."""
        self._count += 1
        turns = [*self._turns, {"role": "user", "content": question}]
        body = {"messages": turns} if self.session_id is None else {"message": question, "session_id": self.session_id}
        self._is_kept, self._question, self.answer = False, question, RunningAnswer(f"c{self._count}", question, body)
        return self._frame("message", **body)

    def retry(self) -> Frame | None:
        """The frame that asks the last question again, in place of its answer; None if there was none."""
        if self._question is None:
            return None
        if self._is_kept:
            del self._turns[-2:]
        return self.ask(self._question)

    def begin_anew(self) -> None:
        """Forget everything."""
        self._turns.clear()
        self.session_id = self._question = None

    def stop(self) -> Frame | None:
        """The frame that stops the answer; None if it was sent before, or nothing runs."""
        if self.answer is None or self.answer.is_stopping:
            return None
        self.answer.is_stopping = True
        return self._frame("cancel")

    def reconnected(self) -> tuple[Frame | None, list[Said]]:
        """What to send on a new connection, and what to show: the answer is resumed, asked for again, or over."""
        answer = self.answer
        if answer is None:
            return None, []
        if answer.is_stopping:
            return None, self._end(None, [Note("The answer was stopped.")])
        if answer.request_id is not None:
            return self._frame("resume", request_id=answer.request_id, after=answer.seq), []
        if answer.asked_times >= ASKED_TIMES:
            return None, self._end("The connection was lost each time before the answer began. /retry asks again.")
        answer.asked_times += 1
        return self._frame("message", **answer.body), []

    def give_up(self) -> list[Said]:
        """No connection can be had: the answer is over."""
        return [] if self.answer is None else self._end("The rest of the answer is lost. /retry asks again.")

    def take(self, frame: Mapping[str, Any]) -> list[Said]:
        """What a frame means. Raises FrameMissing. Unknown frames and fields mean nothing."""
        kind, answer = frame.get("type"), self.answer
        if kind == "error" and "id" not in frame:
            return self._take_general_error(frame)
        if answer is None or frame.get("id") != answer.id:
            return []
        if kind == "error":
            # With any number: a resumption that is refused begins to count anew.
            return self._take_error(answer, frame)
        if not self._is_next(answer, frame):
            return []
        if kind == "started":
            return self._take_start(answer, frame)
        if kind == "delta":
            answer.pieces.append(_text_of(frame, "content"))
            return [MoreText(answer.pieces[-1])]
        if kind == "joined" and frame.get("mode") == "restart":
            answer.pieces.clear()
            return [Note("The model failed; another one begins the answer again:")]
        if kind == "tool_call" and frame.get("name"):
            return [Note(f"The model calls the tool {_text_of(frame, 'name')}.")]
        return self._take_end(answer, frame)

    # ── parts of `take` ──────────────────────────────────────────────────────────────────────────────────────────────

    def _is_next(self, answer: RunningAnswer, frame: Mapping[str, Any]) -> bool:
        seq = frame.get("seq")
        if not isinstance(seq, int) or isinstance(seq, bool):
            return True
        if seq > answer.seq + 1:
            raise FrameMissing
        if seq <= answer.seq:
            return False
        answer.seq = seq
        return True

    def _take_start(self, answer: RunningAnswer, frame: Mapping[str, Any]) -> list[Said]:
        answer.request_id = _text_of(frame, "request_id") or answer.request_id
        self._note_session(frame)
        return []

    def _take_end(self, answer: RunningAnswer, frame: Mapping[str, Any]) -> list[Said]:
        kind = frame.get("type")
        if kind == "done":
            meta = frame.get("meta")
            self._note_session(meta if isinstance(meta, dict) else {})
            reason = _text_of(frame, "finish_reason")
            notes: list[Said] = [] if reason in ("", "stop") else [Note(f"The answer ended early: {reason}.")]
            return self._end(None, notes)
        return self._end(None, [Note("The answer was stopped.")]) if kind == "cancelled" else []

    def _take_error(self, answer: RunningAnswer, frame: Mapping[str, Any]) -> list[Said]:
        error, status = _text_of(frame, "error") or "The gateway says no reason.", frame.get("status")
        if status in _LOST_SESSION and self.session_id is not None and answer.request_id is None:
            self.session_id = None
            return [SessionLost(), *self._end(f"{error} /retry asks in a new session.")]
        if status in _REFUSALS and answer.request_id is None:
            self.answer = None
            return [TokenRefused(error)]
        if status == 404 and answer.request_id is not None:
            return self._end("The connection was lost, and the rest of the answer is not kept. /retry asks again.")
        retry_after = frame.get("retry_after")
        if isinstance(retry_after, int | float):
            error = f"{error} Try again in {retry_after:g} s."
        return self._end(error)

    def _take_general_error(self, frame: Mapping[str, Any]) -> list[Said]:
        error = _text_of(frame, "error") or "The gateway says no reason."
        if frame.get("status") in _REFUSALS:
            self.answer = None
            return [TokenRefused(error)]
        return [Note(error)] if self.answer is None else self._end(error)

    def _end(self, error: str | None, before: list[Said] | None = None) -> list[Said]:
        answer, self.answer = self.answer, None
        assert answer is not None
        text = "".join(answer.pieces)
        if text and error is None:
            self._turns += [{"role": "user", "content": answer.question}, {"role": "assistant", "content": text}]
            del self._turns[:-REMEMBERED_MESSAGES]
            self._is_kept = True
        return [*(before or []), Ended(error)]

    def _note_session(self, found: Mapping[str, Any]) -> None:
        session_id = found.get("session_id")
        if isinstance(session_id, str):
            self.session_id = session_id

    def _frame(self, kind: str, **more: Any) -> Frame:
        assert self.answer is not None
        return {"type": kind, "id": self.answer.id, **more}


def _text_of(frame: Mapping[str, Any], name: str) -> str:
    found = frame.get(name)
    return found if isinstance(found, str) else ""
