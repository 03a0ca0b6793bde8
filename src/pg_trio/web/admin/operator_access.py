"""Who is asking at the admin address, and may they?

Rules:
1. The API takes an operator's key (`Authorization: Bearer pg_op_…`). Pages have a session in a cookie, which a login
   with the key opens.
2. Cookies ignore ports, so the port is in the cookie's name: two gateways of one host do not log each other out.
3. A change by a page's session needs the session's CSRF token (`X-CSRF-Token`, or the field `csrf` of a form), and an
   `Origin` of this address. Keys need neither, because a browser never sends them by itself.
4. A `viewer` changes nothing.
5. Wrong keys are limited: after GUESSES failed tries of an address within a minute, further ones are a 429 unread. The
   address is the client's, also behind a proxy that `server.trusted_proxies` lists; or one attacker would lock out all.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import OrderedDict
from typing import Protocol
from urllib.parse import urlsplit

import trio
from attrs import define, field, frozen
from quart import Response, request

from pg_trio.domain.json_value import Json
from pg_trio.domain.operator import KEY_PREFIX, Change, Operator
from pg_trio.errors import CsrfMissing, OperatorRefused, RateLimited, RoleInsufficient
from pg_trio.web.client_address import Networks, find_client, plain_address

SESSION_HOURS = 12
# Ten guesses a minute of 256 random bits find nothing, and a person who mistypes is not locked out for long.
GUESSES = 10
GUESS_WINDOW_S = 60.0
# Addresses whose guesses are counted; the oldest is forgotten.
ADDRESSES_KEPT = 10_000


class OperatorBook(Protocol):
    """Where operators are found; see store/operators.py. Every method may raise StoreError."""

    async def find(self, key: str) -> Operator | None: ...

    async def find_by_session(self, session: str) -> Operator | None: ...

    async def open_session(self, operator: Operator) -> str: ...

    async def end_session(self, session: str) -> None: ...

    async def use_link(self, secret: str) -> Operator | None: ...


@frozen
class Visitor:
    """The operator of a request, and from where. `session` is the page's session; None if a key was sent."""

    operator: Operator
    session: str | None
    address: str | None = None

    def csrf_token(self) -> str:
        """The token that this session's changes must bring."""
        return hmac.digest((self.session or "").encode(), b"csrf", hashlib.sha256).hex()

    def change(self, action: str, target: str, change: Json = None) -> Change:
        """A change by this visitor, for the audit."""
        return Change(self.operator, action, target, self.address, change)


@define(eq=False)
class Guesses:
    """Counts failed logins by address."""

    _failed: OrderedDict[str, tuple[float, int]] = field(factory=OrderedDict)

    def check(self, address: str | None) -> None:
        """Return if the address may try a key. Raises RateLimited."""
        began_s, count = self._failed.get(address or "", (-math.inf, 0))
        left_s = began_s + GUESS_WINDOW_S - trio.current_time()
        if count >= GUESSES and left_s > 0:
            raise RateLimited("login", max(1, math.ceil(left_s)))

    def note_failure(self, address: str | None) -> None:
        """One more failed try of the address."""
        address, now = address or "", trio.current_time()
        began_s, count = self._failed.pop(address, (now, 0))
        self._failed[address] = (now, 1) if now - began_s > GUESS_WINDOW_S else (began_s, count + 1)
        if len(self._failed) > ADDRESSES_KEPT:
            self._failed.popitem(last=False)


@frozen(eq=False)
class OperatorAccess:
    """Proves who asks. `root_path` is the pages' prefix, `trusted` the proxies that may name a client's address."""

    root_path: str
    trusted: Networks = ()
    guesses: Guesses = field(factory=Guesses)

    def find_address(self) -> str | None:
        """Where the request comes from; None if the server does not know."""
        peer = request.remote_addr
        if peer is None:
            return None
        fields = (request.headers.getlist(name) for name in ("X-Forwarded-For", "Forwarded"))
        return find_client(plain_address(peer), self.trusted, *fields)

    async def find_visitor(self, book: OperatorBook) -> Visitor | None:
        """The visitor, by key or by session; None without either. Raises OperatorRefused for a wrong key."""
        authorization = request.headers.getlist("Authorization")
        if authorization:
            return Visitor(await self.find_by_key(book, _read_key(authorization)), None, self.find_address())
        session = request.cookies.get(cookie_name())
        operator = None if session is None else await book.find_by_session(session)
        return None if operator is None or session is None else Visitor(operator, session, self.find_address())

    async def find_by_key(self, book: OperatorBook, key: str) -> Operator:
        """The operator of this key. Raises OperatorRefused, RateLimited."""
        address = self.find_address()
        self.guesses.check(address)
        operator = await book.find(key) if key.startswith(KEY_PREFIX) else None
        if operator is None:
            self.guesses.note_failure(address)
            raise OperatorRefused
        return operator

    async def require(self, book: OperatorBook, *, change: bool = False) -> Visitor:
        """The visitor. Raises OperatorRefused; for a change also RoleInsufficient and CsrfMissing."""
        visitor = await self.find_visitor(book)
        if visitor is None:
            raise OperatorRefused
        if change:
            if not visitor.operator.may_change:
                raise RoleInsufficient
            if visitor.session is not None:
                await check_csrf(visitor)
        return visitor

    def set_cookie(self, response: Response, session: str) -> None:
        """Keep the session in the browser."""
        response.set_cookie(
            cookie_name(),
            session,
            max_age=SESSION_HOURS * 3600,
            path=f"{self.root_path}/",
            httponly=True,
            samesite="Strict",
            secure=request.scheme == "https",
        )

    def drop_cookie(self, response: Response) -> None:
        """Take the session from the browser."""
        response.delete_cookie(cookie_name(), path=f"{self.root_path}/", httponly=True, samesite="Strict")


async def check_csrf(visitor: Visitor) -> None:
    """Return if the request comes from a page of ours. Raises CsrfMissing."""
    given = request.headers.get("X-CSRF-Token")
    if given is None and request.mimetype == "application/x-www-form-urlencoded":
        given = (await request.form).get("csrf")
    if given is None or not hmac.compare_digest(given.encode(), visitor.csrf_token().encode()):
        raise CsrfMissing
    check_origin()


def check_origin() -> None:
    """Return if the request's `Origin` (or `Referer`) is this address. Raises CsrfMissing."""
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise CsrfMissing


def cookie_name() -> str:
    """The name of the session's cookie at the address of the request (rule 2)."""
    return name_cookie(request.host)


def name_cookie(host: str) -> str:
    """The name of the session's cookie at an address, `HOST:PORT` or `HOST`."""
    port = host.rpartition(":")[2]
    return f"pg_trio_{port if port.isdecimal() and len(port) <= 5 else 'session'}"


def _read_key(authorization: list[str]) -> str:
    scheme, _, key = authorization[0].partition(" ")
    if len(authorization) > 1 or scheme.lower() != "bearer":
        raise OperatorRefused
    return key.strip()
