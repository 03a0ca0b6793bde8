"""The admin API's view of requests: a list with filters, one request with its race, and the live stream.

`GET requests?filter=&project=&since=&until=&limit=&cursor=&format=`, `GET requests/{id}` and
`GET requests/stream?filter=`. `format` is `csv` or `jsonl` for an export of the same rows; without a `limit`, of all
that the filter selects (request_export.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from quart import Response, request
from quart_trio import QuartTrio

from pg_trio.domain.request_filter import RequestFilter, RowChoice, parse_filter
from pg_trio.errors import BadRequest, RouteNotFound
from pg_trio.web.admin.api_changes import API
from pg_trio.web.admin.live_feed import LiveBody, LiveFeed
from pg_trio.web.admin.paging import MOST_ID, page, read_cursor, read_limit, read_one
from pg_trio.web.admin.request_export import EXPORT_ROWS, EXPORTS, PAGE_ROWS, RequestExport, make_export
from pg_trio.web.admin.request_shapes import describe_request, describe_whole_request
from pg_trio.web.admin.row_names import RowNames

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import Desk

# Seconds of Unix time; later ones are mistakes (milliseconds).
MOST_TIME = 1e11


def add_request_routes(app: QuartTrio, desk: Desk, names: RowNames) -> None:
    """Add the routes."""
    feed = LiveFeed(desk, names)

    @app.get(f"{API}/requests")
    async def list_requests() -> dict[str, Any] | Response:
        await desk.require()
        form = read_one("format")
        if form not in (None, "json", *EXPORTS):
            raise BadRequest("format: must be json, csv or jsonl.")
        is_export = form in EXPORTS
        limit = EXPORT_ROWS if is_export and read_one("limit") is None else read_limit()
        position = read_cursor(2)
        words = read_filter()
        await names.refresh(desk)
        choice = read_choice(words, names)
        before = None if position is None else (position[0], int(position[1]))
        view = desk.gateway.log_view
        rows, following = await view.page(choice, before, min(limit, PAGE_ROWS) if is_export else limit)
        if is_export:
            return make_export(RequestExport(str(form), view, choice, names, limit, (rows, following)))
        return page([describe_request(row, names) for _, row in rows], following)

    @app.get(f"{API}/requests/<request_id>")
    async def show_request(request_id: str) -> dict[str, Any]:
        await desk.require()
        row = await desk.gateway.log_view.one(read_request_id(request_id))
        if row is None:
            raise RouteNotFound
        await names.refresh(desk)
        return {"ok": True, "data": describe_whole_request(row, names)}

    @app.get(f"{API}/requests/stream")
    async def stream_requests() -> Response:
        await desk.require()
        words = read_filter()
        await names.refresh(desk)
        feed.check_room()
        body = LiveBody(feed, words, names, *await feed.begin(read_last_event()))
        response = Response(body, content_type="text/event-stream; charset=utf-8")
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Accel-Buffering"] = "no"
        return response


def read_filter() -> RequestFilter:
    """`?filter=`. Raises BadRequest."""
    try:
        return parse_filter(read_one("filter") or "")
    except ValueError as error:
        raise BadRequest(f"{error}.") from None


def read_choice(words: RequestFilter, names: RowNames) -> RowChoice:
    """Which rows the query asks for. Raises BadRequest."""
    return RowChoice(words, names.find_tokens(words), read_project(), read_time("since"), read_time("until"))


def read_project() -> UUID | None:
    """`?project=`, a UUID. Raises BadRequest."""
    text = read_one("project")
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest("project: must be a project's UUID.") from None


def read_time(name: str) -> float | None:
    """A time in the query, in Unix seconds. Raises BadRequest."""
    text = read_one(name)
    if text is None:
        return None
    try:
        at = float(text)
    except ValueError:
        at = -1.0
    if not 0 <= at <= MOST_TIME:
        raise BadRequest(f"{name}: must be a time in Unix seconds.")
    return at


def read_request_id(text: str) -> UUID:
    """The id of a request in a path. Raises RouteNotFound, because no request has another one."""
    try:
        return UUID(text)
    except ValueError:
        raise RouteNotFound from None


def read_last_event() -> int | None:
    """The last event that a browser has seen before it came back; None if it has seen none."""
    text = request.headers.get("Last-Event-ID", "")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return min(int(text), MOST_ID)
