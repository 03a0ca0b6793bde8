"""The pages: a shell made here, filled by the scripts in static/ from the admin API.

Rules:
1. A page without a login redirects to `/login`, and back after it. Only paths of these pages are gone back to.
2. No script and no style stands inside a page: the security fields forbid both.
3. Files in static/ are named with the digest of all of them (`?v=…`), and kept by browsers for good.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Response, redirect, render_template, request
from quart_trio import QuartTrio

from pg_trio.errors import GatewayError, OperatorRefused, RouteNotFound
from pg_trio.web.admin.operator_access import Visitor, check_csrf, check_origin

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import Desk

# Path, name in the navigation, script.
PAGES = (
    ("/", "Overview", "overview"),
    ("/live", "Live", "live"),
    ("/playground", "Playground", "playground"),
    ("/providers", "Providers", "providers"),
    ("/endpoints", "Endpoints", "endpoints"),
    ("/tokens", "Tokens", "tokens"),
    ("/audit", "Audit", "audit"),
)
STATIC = files("pg_trio.web.admin").joinpath("static")
TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_FILE = re.compile(r"[a-z0-9_.-]{1,64}\.(?:js|css|svg)")
# A page of ours, with a query; no scheme, no host.
_NEXT = re.compile(r"/(?:[a-z0-9-]+(?:/[a-z0-9-]+)?)?(?:\?[A-Za-z0-9=&%/._~-]{0,256})?")


def add_page_routes(app: QuartTrio, desk: Desk) -> None:
    """Add the routes."""
    for path, name, script in PAGES:
        app.add_url_rule(path, f"page_{script}", _make_page(desk, name, script))

    @app.get("/requests/<request_id>")
    async def request_page(request_id: str) -> Response:
        return await _show(desk, "Request", "request", request_id=request_id)

    @app.get("/login")
    async def login_page() -> Response:
        link = request.args.get("link")
        if link is None:
            return Response(await _login_page(desk, ""))
        # A link in a terminal: the visit itself logs in, once.
        address = desk.access.find_address()
        desk.access.guesses.check(address)
        operator = await desk.gateway.operators.use_link(link)
        if operator is None:
            desk.access.guesses.note_failure(address)
            return Response(await _login_page(desk, "This link was used already, or is too old."), status=401)
        return await _log_in(desk, operator, "/")

    @app.post("/login")
    async def login() -> Response:
        check_origin()
        form = await request.form
        try:
            operator = await desk.access.find_by_key(desk.book, str(form.get("key", "")).strip())
        except GatewayError as error:
            page = Response(await _login_page(desk, error.text), status=error.status)
            page.headers.update(error.headers())
            return page
        return await _log_in(desk, operator, str(form.get("next", "/")))

    @app.post("/logout")
    async def logout() -> Response:
        visitor = await desk.require()
        if visitor.session is not None:
            await check_csrf(visitor)
            await desk.book.end_session(visitor.session)
        response = _go(desk, "/login")
        desk.access.drop_cookie(response)
        return response

    @app.get("/static/<name>")
    async def static_file(name: str) -> Response:
        content = read_static().get(name)
        if content is None or not _FILE.fullmatch(name):
            raise RouteNotFound
        # A module that another one imports has no version in its address: browsers ask for it again.
        is_named = request.args.get("v") == static_version()
        kept = "public, max-age=31536000, immutable" if is_named else "no-cache"
        response = Response(content, content_type=TYPES[name.rpartition(".")[2]], headers={"Cache-Control": kept})
        response.set_etag(static_version())
        return await response.make_conditional(request)


def _make_page(desk: Desk, name: str, script: str):  # type: ignore[no-untyped-def]  # a view of Quart's
    async def page() -> Response:
        return await _show(desk, name, script)

    return page


async def _show(desk: Desk, name: str, script: str, **data: str) -> Response:
    """A page of the visitor's, or the way to the login."""
    try:
        visitor = await desk.access.find_visitor(desk.book)
    except OperatorRefused:
        visitor = None
    if visitor is None:
        back = request.full_path.rstrip("?")
        return _go(desk, f"/login?{urlencode({'next': back})}" if back != "/" else "/login")
    return Response(await render_template("page.html", **_context(desk, name, visitor), script=script, data=data))


def _context(desk: Desk, name: str, visitor: Visitor | None) -> dict[str, object]:
    return {
        "root": desk.settings.server.admin_root_path,
        "version": static_version(),
        "name": name,
        "pages": PAGES,
        "operator": None if visitor is None else visitor.operator,
        "csrf": "" if visitor is None else visitor.csrf_token(),
    }


async def _login_page(desk: Desk, said: str) -> str:
    given = request.args.get("next") or (await request.form).get("next") or "/"
    back = given if _NEXT.fullmatch(given) else "/"
    return await render_template("login.html", **_context(desk, "Log in", None), said=said, back=back)


async def _log_in(desk: Desk, operator, back: str) -> Response:  # type: ignore[no-untyped-def]
    session = await desk.book.open_session(operator)
    response = _go(desk, back if _NEXT.fullmatch(back) else "/")
    desk.access.set_cookie(response, session)
    return response


def _go(desk: Desk, path: str) -> Response:
    # 303: a GET follows, also after a POST.
    response: Response = redirect(desk.settings.server.admin_root_path + path, 303)  # type: ignore[assignment]
    return response


@lru_cache(maxsize=1)
def read_static() -> dict[str, bytes]:
    """The files in static/ by name: some 100 KiB."""
    return {entry.name: entry.read_bytes() for entry in STATIC.iterdir() if _FILE.fullmatch(entry.name)}


@lru_cache(maxsize=1)
def static_version() -> str:
    """A digest of all files in static/."""
    digest = hashlib.sha256()
    for name, content in sorted(read_static().items()):
        digest.update(name.encode() + content)
    return digest.hexdigest()[:12]
