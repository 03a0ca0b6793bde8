"""The gateway's own state."""

from __future__ import annotations

from attrs import define

from pg_trio.errors.gateway_error import OwnStateError, Unavailable


@define(slots=False, eq=False)
class ProviderDisabled(OwnStateError):
    """Every candidate's provider is switched off in this gateway. The text names the endpoint's own provider."""

    status = 503
    provider: str

    @property
    def text(self) -> str:
        return f"Provider '{self.provider}' is disabled in this gateway."


@define(slots=False, eq=False)
class Overloaded(OwnStateError):
    """The queue for admission is too long (`gateway.admission_wait_ms`), and no work was done for this request; or no
    slot of the last candidate's credential (`max_concurrent`) became free in time."""

    status = 503
    retry_after_s: int
    text = "Gateway is overloaded."

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


@define(slots=False, eq=False)
class OutOfResources(Overloaded):
    """A connection to a provider needs a file descriptor, a socket's buffer or memory that this process or the system
    does not have. The provider is not to blame, and the next candidate would need the same."""

    retry_after_s: int = 1


@define(slots=False, eq=False)
class StreamInterrupted(OwnStateError):
    """The rest of a resumed stream is not there: the worker that made it ended, or the stream has become too long to
    be kept. Only ever inside a stream."""

    status = 502
    text = "The rest of this stream is not available."


@define(slots=False, eq=False)
class SessionsUnavailable(Unavailable):
    """The sessions' file cannot be read or written; the server's own log says why. Calls without sessions work."""

    text = "Session storage is unavailable."


@define(slots=False, eq=False)
class AnswersUnavailable(Unavailable):
    """Only in a cluster: Redis is away, and this node cannot know whether another one keeps the answer that is asked
    for, or makes the one of this `Idempotency-Key`. It is not a 404, which would say that there is none."""

    text = "Answer storage is unavailable."


@define(slots=False, eq=False)
class TokensUnavailable(Unavailable):
    """A token must be looked up, and its file cannot be read; the server's own log says why. Tokens in this worker's
    cache work. It is not a 401, which would make clients discard valid tokens."""

    text = "Token storage is unavailable."


@define(slots=False, eq=False)
class MetricsUnavailable(Unavailable):
    """The file of metrics cannot be read; the server's own log says why. Requests are served."""

    text = "Metrics are unavailable."


@define(slots=False, eq=False)
class LogUnavailable(Unavailable):
    """At the pages, the log of all nodes cannot be read, or not in time. Requests are served."""

    why: str

    @property
    def text(self) -> str:
        return f"The log cannot be shown: {self.why}."


@define(slots=False, eq=False)
class ShuttingDown(Unavailable):
    """The server is stopping, and `server.drain_ms` ended before the answer began. Another server may accept the
    request now."""

    text = "Gateway is shutting down."


@define(slots=False, eq=False)
class DeadlineExceeded(OwnStateError):
    """The request's own deadline passed. A candidate's own limit is an `AttemptFailed` and starts the next one."""

    status = 504
    limit_ms: int

    @property
    def text(self) -> str:
        return f"Deadline exceeded: no answer within {self.limit_ms} ms."

    def headers(self) -> dict[str, str]:
        # For SDKs that repeat a 504: the caller has no time left.
        return {"x-should-retry": "false"}


@define(slots=False, eq=False)
class StillStarting(Unavailable):
    """The pages were asked for before this worker's gateway ran."""

    text = "Gateway is starting."


@define(slots=False, eq=False)
class InternalError(OwnStateError):
    """Anything unexpected: a bug in the gateway. The log has the traceback under the request's id; the client gets no
    details."""

    status = 500
    text = "Internal error."


class ClientLeft(Exception):
    """The client closed the connection before it was answered. No answer is sent; the log has a row (499)."""
