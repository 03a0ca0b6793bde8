"""The protocol between provider calls and the network: the request, the response, and the transport.

Adapters (providers/) make `WireRequest`s and read bytes; transports (transport/) carry them and know nothing of AI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from attrs import field

from pg_trio.domain.value import value

Headers: TypeAlias = Sequence[tuple[str, str]]


@value(slots=True)
class WireRequest:
    """One HTTP request to a provider. `url` is absolute; `headers` hold the credential, so a repr does not show them.

    Unless `allow_private_addresses`, a transport refuses to connect to loopback, private and link-local addresses.
    """

    url: str
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"
    allow_private_addresses: bool = False
    # A stream's bytes are passed on, not kept, so it may be longer than an answer that is read whole.
    is_stream: bool = False
    # Further lines of the head, made by the gateway itself, each with its CRLF. They differ from call to call, so no
    # transport caches them.
    lines: bytes = b""


class UpstreamResponse(Protocol):
    """An answer whose head has arrived. Its holder must call `aclose()`, unless `receive_nowait` gave the body."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case; of a repeated name the last one."""

    def forget_headers(self) -> None:
        """They were read: a stream need not keep them to its end."""

    def receive_nowait(self) -> bytes | None:
        """The rest of the body, if all of it is here and needs no decoding; None: `receive_some` has it.

        Once it gave the body, the response holds nothing that must be released.
        """

    async def receive_some(self) -> bytes:
        """The next bytes of the body, transfer coding removed; `b""` once it ended as it should.

        Raises: UpstreamBroken if it ended early or broke HTTP; UpstreamNonsense over the transport's size limit.
        """

    async def aclose(self) -> None:
        """Release the connection: back to the pool if the body was read to its end, closed otherwise. Never waits for
        the peer, and works under cancellation too."""


class Transport(Protocol):
    """Carries requests to providers. Cancelling any await frees exactly what that call held."""

    async def open_response(self, request: WireRequest) -> UpstreamResponse:
        """Send the request and wait for the answer's head; any status is an answer.

        Raises: UpstreamUnreachable if there was no connection; UpstreamBroken if it died before a head arrived.
        """

    async def aclose(self) -> None:
        """Close every connection, idle or busy; open responses end with UpstreamBroken."""
