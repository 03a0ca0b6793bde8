"""What the client's end of a streamed answer knows over HTTP and over a WebSocket alike."""

from __future__ import annotations

from uuid import UUID

from pg_trio.domain.call import Progress
from pg_trio.surfaces import StreamSummary


class NamedStream:
    """A streamed answer, and whose tokens it is made of."""

    __slots__ = ("_model", "_progress", "_provider", "_request_id", "_session_id")

    def __init__(self, request_id: UUID, progress: Progress, session_id: UUID | None) -> None:
        self._request_id = request_id
        self._progress = progress
        self._session_id = session_id
        # Whose tokens they are: None before the first.
        self._provider: str | None = None
        self._model = ""

    def name_source(self, provider: str, model: str) -> None:
        """Say whose tokens follow."""
        self._provider, self._model = provider, model

    def summarize(self, *, cancelled: bool = False) -> StreamSummary:
        """What is known at the answer's end. `cancelled`: a client stopped it."""
        progress = self._progress
        return StreamSummary(
            request_id=self._request_id,
            provider=self._provider,
            model=self._model,
            attempts=len(progress.attempts.tries),
            first_token_ms=progress.attempts.first_token_ms,
            times=progress.times_so_far(),
            session_id=self._session_id,
            cancelled=cancelled,
            verdicts=progress.verdicts if progress.tells_verdicts else None,
        )
