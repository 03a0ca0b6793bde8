"""An export of requests as a file: CSV, or JSON lines. It is read and sent a page at a time, so memory is bounded.

Rules:
1. It holds what the filter selects, newest first: the rows that there were when it began, at most EXPORT_ROWS.
2. Fields have the API's names; in CSV, fields of objects are `usage.prompt_tokens`. In a cluster `node` comes last.
3. In CSV, a text that a spreadsheet would take for a formula gets a `'` before it. A client may choose such texts: an
   endpoint that does not exist, a subject.
4. A failure in the middle cuts the connection, so a cut file never looks like a whole one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Protocol

from attrs import define, field
from quart import Response
from quart.wrappers.response import ResponseBody

from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import Cursor, RowChoice
from pg_trio.web.admin.request_shapes import USAGE_FIELDS, Names, describe_request

# A spreadsheet takes a million lines. 100,000 rows are some 40 MB.
EXPORT_ROWS = 100_000
PAGE_ROWS = 1_000
EXPORTS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
# OWASP, "CSV Injection": cells that begin so are formulas.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


class LogPages(Protocol):
    """Where rows are read: see store/log_view.py. Raises StoreError."""

    @property
    def has_nodes(self) -> bool:
        """Whether rows say which node served them."""

    async def page(
        self, choice: RowChoice, before: Cursor | None, limit: int
    ) -> tuple[list[tuple[int, LogRow]], Cursor | None]: ...


def make_export(body: RequestExport) -> Response:
    """The answer with this body."""
    response = Response(body, content_type=EXPORTS[body.form])
    response.headers["Content-Disposition"] = f'attachment; filename="requests.{body.form}"'
    response.headers["Cache-Control"] = "no-store"
    return response


@define(eq=False)
class RequestExport(ResponseBody):
    """The body: at most `limit` rows, in a form of EXPORTS. `first` is its first page, read already, so that a failure
    there has a status."""

    form: str
    _pages: LogPages
    _choice: RowChoice
    _names: Names
    _limit: int
    _first: tuple[list[tuple[int, LogRow]], Cursor | None]
    _pieces: AsyncGenerator[bytes, None] | None = field(default=None, init=False)

    async def __aenter__(self) -> AsyncIterator[bytes]:
        self._pieces = self._read()
        return self._pieces

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pieces is not None:
            await self._pieces.aclose()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        if self.form == "csv":
            yield _write_line([*_CELLS, "node"] if self._pages.has_nodes else _CELLS)
        (rows, following), left = self._first, self._limit
        while rows:
            yield self._write([row for _, row in rows[:left]])
            left -= len(rows)
            if following is None or left <= 0:
                return
            rows, following = await self._pages.page(self._choice, following, min(PAGE_ROWS, left))

    def _write(self, rows: Sequence[LogRow]) -> bytes:
        shown = [describe_request(row, self._names) for row in rows]
        if self.form == "jsonl":
            return "".join([f"{json.dumps(row)}\n" for row in shown]).encode()
        return b"".join([_write_line([_guard(value) for value in _flatten(row)]) for row in shown])


def _flatten(row: dict[str, Any]) -> list[Any]:
    """The row's values in the order of `_CELLS`, and its node, if it has one."""
    usage = row["usage"] or dict.fromkeys(USAGE_FIELDS)
    node = [row["node"]] if "node" in row else []
    return [row[name] for name in _ROW_FIELDS] + [usage[name] for name in USAGE_FIELDS] + node


def _guard(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value


def _write_line(cells: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode("utf-8", "replace")


_ROW_FIELDS = (
    "request_id",
    "at",
    "project",
    "project_slug",
    "endpoint",
    "surface",
    "token",
    "token_id",
    "subject",
    "provider",
    "model",
    "status",
    "outcome",
    "error",
    "error_code",
    "latency_ms",
    "first_token_ms",
    "cost_usd",
    "attempts_count",
    "hedge_won",
)
_CELLS = (*_ROW_FIELDS, *(f"usage.{name}" for name in USAGE_FIELDS))
