"""Request heads: bytes in, a value or a refusal out. No I/O.

Rules:
1. A head is accepted only if the grammar below and llhttp both accept it. llhttp splits it (in C: 2.6 µs a head);
   the grammar is RFC 9112's own, without its leniencies, and costs 1.2 µs more. Where llhttp is lax (`gzip,
   chunked`, coding in HTTP/1.0, missing or repeated Host, lower-case methods) or could become so, the grammar and
   `_read_framing` decide.
2. A head that two readers could understand differently is refused, never repaired, because the next hop might read it
   differently. This prevents request smuggling.
3. A refused head ends the connection: where it stops is not known.
4. Every quantifier in the grammar is possessive, so every head of n bytes costs n steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote
from weakref import WeakValueDictionary

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from pg_trio.server.http1.types import HeaderList, RequestStart

if TYPE_CHECKING:
    from pg_trio.server.http1.busy_answer import BusyAnswer

# RFC 9110 section 4.1 asks for at least 8,000 octets; nginx and Apache stop at 8 KiB.
MAX_TARGET_BYTES = 8 * 1024

HEAD_END = b"\r\n\r\n"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
# Visible ASCII but `#`: a fragment never travels. Wider than RFC 3986 (`|`, `{`, `"` …): curl and browsers send those.
_TARGET = rb"[!\"$-~]++"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
_LINE = rb"([A-Z][A-Z-]{0,31}+) (" + _TARGET + rb") HTTP/([0-9]\.[0-9])\r\n"
_REQUEST_LINE = re.compile(_LINE)
_HEAD = re.compile(_LINE + rb"(?:" + _TOKEN + rb":" + _VALUE + rb"\r\n)*+\r\n")
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*+|\[[0-9A-Fa-f:.]++\])(?::[0-9]{0,5}+)?")
_ABSOLUTE = re.compile(rb"https?://([^/?]++)([/?].*+)?", re.IGNORECASE)
# 18 digits fit a signed 64-bit integer: no reader overflows.
_LENGTH = re.compile(rb"[0-9]{1,18}")
_BARE_LF = re.compile(rb"(?<!\r)\n")
# Only in a head that was accepted: there it can only be a field, and there is one at most.
_LENGTH_FIELD = re.compile(rb"\r\ncontent-length:[ \t]*+([0-9]++)", re.IGNORECASE)
_LENGTH_DIGITS = 18
# 2 KiB and 32 fields: twice what the usual SDKs send. With its parsed values, that is 8 kB a connection.
MAX_KNOWN_BYTES, MAX_KNOWN_FIELDS = 2 * 1024, 32

_SINGLE = (b"host", b"content-length", b"transfer-encoding", b"expect")


class Refused(Exception):
    """This server does not accept the request: it answers with `status` and `text`, then closes the connection."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


class HttpHead(NamedTuple):
    """A parsed request head. `length` is the body's in bytes, or None if it is chunked.

    `line` is what ASGI's scope says of the request line: the same for all requests with such a head.
    """

    method: str
    path: bytes
    query: bytes
    version: str
    headers: HeaderList
    length: int | None
    keep_alive: bool
    expects_continue: bool
    wants_websocket: bool
    line: Mapping[str, object]

    @property
    def start(self) -> RequestStart:
        """What it asks for."""
        return RequestStart(self.method, self.path, self.headers)


class KnownHead:
    """A parsed head. A next head with the same bytes is not parsed again; only the body's length may differ.

    A client that keeps its connection sends the same path, token and fields each time. A head with any other difference
    than the length's digits is parsed again, so `recall` always gives what `read_head` would give.
    """

    __slots__ = (
        "__weakref__",
        "_before",
        "_behind",
        "_digits",
        "_digits_end",
        "_head",
        "_length_at",
        "_other_bytes",
        "busy_answer",
        "is_judged",
        "may_wait",
    )

    def __init__(self, data: bytes, head: HttpHead) -> None:
        self._head = head
        # Whether the doorkeeper has judged such requests: its refusal, where it may refuse them, and whether they may
        # wait there.
        self.is_judged = self.may_wait = False
        self.busy_answer: BusyAnswer | None = None
        self._before, self._digits, self._behind, self._length_at, self._digits_end = data, b"", b"", -1, 0
        if (field := _LENGTH_FIELD.search(data)) is not None:
            self._before, self._digits, self._behind = data[: field.start(1)], field[1], data[field.end(1) :]
            # The most digits, and the line's end behind them.
            self._digits_end = len(self._before) + _LENGTH_DIGITS + 1
            self._length_at = [name for name, _ in head.headers].index(b"content-length")
        self._other_bytes = len(self._before) + len(self._behind)

    @property
    def keep_alive(self) -> bool:
        """Whether the client keeps its connection after such a request."""
        return self._head.keep_alive

    @property
    def frame(self) -> tuple[bytes, bytes]:
        """All its bytes but the length's digits: those before them and those behind."""
        return self._before, self._behind

    def recall(self, data: bytes) -> tuple[HttpHead, int] | None:
        """The request whose head `data` begins with, and where the head ends; None for another head, or a part of one.

        The value is shared, so its list of headers must not be changed.
        """
        digits = self._find_digits(data)
        if digits is None:
            return None
        return self._head if digits == self._digits else self._with_length(digits), self._other_bytes + len(digits)

    def measure(self, data: bytes) -> int:
        """Bytes of the request that `data` begins with, its body included, also where not all are here; -1 if it has
        another head, or one without a length."""
        digits = self._find_digits(data)
        return self._other_bytes + len(digits) + int(digits) if digits else -1

    def _find_digits(self, data: bytes) -> bytes | None:
        """The length's digits in the head that `data` begins with, empty without one; None if it is another head."""
        before, behind = self._before, self._behind
        if not data.startswith(before):
            return None
        if not behind:
            return b""
        start = len(before)
        stop = data.find(b"\r", start, self._digits_end)
        digits = data[start:stop]
        return digits if stop >= 0 and digits.isdigit() and data.startswith(behind, stop) else None

    def _with_length(self, digits: bytes) -> HttpHead:
        headers = self._head.headers.copy()
        headers[self._length_at] = (b"content-length", digits)
        return self._head._replace(headers=headers, length=int(digits))


class SharedHeads:
    """The known heads of all connections, so that the first head of a further one need not be parsed again.

    A head is kept as long as a connection has it. It is found by a hash: how long that takes does not tell a client how
    far its head, with the token, is like another client's.
    """

    def __init__(self) -> None:
        self._heads: WeakValueDictionary[tuple[bytes, bytes], KnownHead] = WeakValueDictionary()

    def keep(self, known: KnownHead) -> None:
        """Let other connections find it."""
        self._heads[known.frame] = known

    def find(self, head: bytes) -> KnownHead | None:
        """The known head that differs from this one in its length at most; None if there is none.

        `recall` then decides: where the head is a known one, what was found here is its only length.
        """
        field = _LENGTH_FIELD.search(head)
        return self._heads.get((head, b"") if field is None else (head[: field.start(1)], head[field.end(1) :]))


def remember_head(data: bytes, head: HttpHead, max_head_bytes: int) -> KnownHead | None:
    """The parsed head of `data`, to be recalled; None if it is too large to keep.

    A head is also too large if more digits in its length would bring it over `max_head_bytes`, the limit of all heads.
    """
    if len(data) > min(MAX_KNOWN_BYTES, max_head_bytes - _LENGTH_DIGITS) or len(head.headers) > MAX_KNOWN_FIELDS:
        return None
    return KnownHead(data, head)


class _Fields:
    """The parts that llhttp found."""

    __slots__ = ("headers", "target")

    def __init__(self) -> None:
        self.headers: HeaderList = []
        self.target = b""

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp leaves white space at a value's end, which is not part of it (RFC 9112 section 5.1).
        self.headers.append((name.lower(), value.rstrip(b" \t")))


def refuse_hopeless_start(data: bytes, max_head_bytes: int) -> None:
    """Raise Refused if no further bytes can make a head of `data`, which has no end of a head yet."""
    line_end = data.find(b"\r\n")
    if _BARE_LF.search(data):
        raise Refused(400, "Bare line feed in the request head.")
    if line_end >= 0:
        _check_request_line(_REQUEST_LINE.match(data))
    elif len(data) > MAX_TARGET_BYTES + 64:  # 64: a method and a version
        raise Refused(414, "Request target is too long.")
    if len(data) > max_head_bytes:
        raise Refused(431, "Request head is too large.")


def read_head(head: bytes, *, max_head_bytes: int, max_header_count: int) -> HttpHead:
    """The request whose head is `head`, from its first byte to the empty line at its end.

    Raises: Refused.
    Source: RFC 9112 sections 2 to 7 and 11.2; RFC 9110 sections 5.5, 7.2 and 10.1.1.
    """
    match = _HEAD.fullmatch(head)
    if match is None:
        _check_request_line(_REQUEST_LINE.match(head))
        raise Refused(400, "Malformed header field.")
    method, target, version = _check_request_line(match)
    if len(head) > max_head_bytes:
        raise Refused(431, "Request head is too large.")
    headers = _split_fields(head, target)
    if len(headers) > max_header_count:
        raise Refused(431, "Too many header fields.")
    return _understand(method, target, version, headers)


def read_start(data: bytes) -> RequestStart:
    """What a request asks for whose head is incomplete or refused: for the shape of its refusal alone."""
    match = _REQUEST_LINE.match(data)
    if match is None:
        return RequestStart()
    absolute = _ABSOLUTE.fullmatch(match[2])
    target = match[2] if absolute is None else absolute[2] or b"/"
    return RequestStart(match[1].decode("ascii"), target.partition(b"?")[0])


def _check_request_line(match: re.Match[bytes] | None) -> tuple[bytes, bytes, bytes]:
    if match is None:
        raise Refused(400, "Malformed request line.")
    method, target, version = match.groups()
    if len(target) > MAX_TARGET_BYTES:
        raise Refused(414, "Request target is too long.")
    if version not in (b"1.1", b"1.0"):
        raise Refused(505, "HTTP version is not supported.")
    return method, target, version


def _split_fields(head: bytes, target: bytes) -> HeaderList:
    fields = _Fields()
    try:
        HttpRequestParser(fields).feed_data(head)
    except HttpParserUpgrade:
        pass  # llhttp reports an Upgrade header this way; `_understand` decides whether it counts
    except HttpParserInvalidMethodError:
        raise Refused(501, "Method is not implemented.") from None
    except HttpParserError:
        raise Refused(400, "Malformed request head.") from None
    if fields.target != target:
        raise Refused(400, "Malformed request target.")
    return fields.headers


def _understand(method: bytes, target: bytes, version: bytes, headers: HeaderList) -> HttpHead:
    one_of_each = dict(headers)
    if len(one_of_each) != len(headers):
        _refuse_repeated(headers)
    host = one_of_each.get(b"host")
    if host is None:
        if version == b"1.1":
            raise Refused(400, "Host header is missing.")
    elif not _HOST.fullmatch(host):
        raise Refused(400, "Malformed Host header.")
    length = _read_framing(one_of_each, version)
    connection = _connection_options(headers, one_of_each)
    path, _, query = (target if target[0] == 0x2F else _other_target(method, target, host)).partition(b"?")
    return HttpHead(
        method=method.decode("ascii"),
        path=path,
        query=query,
        version="1.1" if version == b"1.1" else "1.0",
        headers=headers,
        length=length,
        keep_alive=b"close" not in connection and (version == b"1.1" or b"keep-alive" in connection),
        expects_continue=b"expect" in one_of_each and _expects_continue(one_of_each[b"expect"], version),
        wants_websocket=b"upgrade" in connection and _wants_websocket(method, version, one_of_each),
        line=_describe_line(method.decode("ascii"), path, query, "1.1" if version == b"1.1" else "1.0"),
    )


def _describe_line(method: str, path: bytes, query: bytes, version: str) -> Mapping[str, object]:
    """Source: ASGI HTTP specification 2.4, the connection scope."""
    decoded = path.decode("ascii")
    return {
        "http_version": version,
        "method": method,
        "path": unquote(decoded) if "%" in decoded else decoded,
        "raw_path": path,
        "query_string": query,
    }


def _refuse_repeated(headers: HeaderList) -> None:
    names = [name for name, _ in headers]
    for name in _SINGLE:
        if names.count(name) > 1:
            raise Refused(400, f"Repeated {name.decode('ascii')} header.")


def _read_framing(headers: dict[bytes, bytes], version: bytes) -> int | None:
    """The body's length, None if chunked. RFC 9112 section 6.3; heads that a server may repair are refused."""
    length = headers.get(b"content-length")
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise Refused(400, "Both Content-Length and Transfer-Encoding.")
        if version != b"1.1" or coding.lower() != b"chunked":
            raise Refused(400, "Transfer-Encoding is not supported.")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise Refused(400, "Malformed Content-Length.")
    return int(length)


def _connection_options(headers: HeaderList, one_of_each: dict[bytes, bytes]) -> list[bytes]:
    if b"connection" not in one_of_each:
        return []
    joined = b",".join(value for name, value in headers if name == b"connection")
    return [option.strip(b" \t") for option in joined.lower().split(b",")]


def _other_target(method: bytes, target: bytes, host: bytes | None) -> bytes:
    """The origin-form of a target that is not one. Absolute-form only if it names the very Host: readers that
    differ on which of the two counts would route it differently."""
    if target == b"*" and method == b"OPTIONS":
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None or method == b"CONNECT":
        raise Refused(400, "Malformed request target.")
    if host is None or match[1].lower() != host.lower():
        raise Refused(400, "Request target and Host header differ.")
    path = match[2] or b"/"
    return path if path[:1] == b"/" else b"/" + path


def _wants_websocket(method: bytes, version: bytes, headers: dict[bytes, bytes]) -> bool:
    """Whether it is a whole opening handshake (RFC 6455 section 4.2.1). Any other Upgrade is ignored, as a server
    may do. Hypercorn answers half a handshake with 400 and then keeps the connection without a limit."""
    return (
        method == b"GET"
        and version == b"1.1"
        and headers.get(b"upgrade", b"").lower() == b"websocket"
        and headers.get(b"sec-websocket-version") == b"13"
        and b"sec-websocket-key" in headers
    )


def _expects_continue(expectation: bytes, version: bytes) -> bool:
    if expectation.lower() != b"100-continue":
        raise Refused(417, "Expectation is not supported.")
    return version == b"1.1"
