"""Decodes a content coding that was not requested.

Rules:
1. Requests ask for `identity`. Some providers (or proxies before them) compress anyway. These codings are decoded: gzip
   (many members too, RFC 1952, 2.2) and deflate (with zlib's head, as in RFC 9110, 8.4.1.2, or raw). Codings stack; the
   last one named is the outermost.
2. A name that is not a coding (a charset, `none`, `binary`) is ignored, and the body is read as it is. So is a body
   under `gzip` that does not begin as gzip: a proxy decoded it and left the header. Every other name is refused, br and
   zstd too.
3. The output has two limits. One step gives at most PIECE_BYTES, so that a small body can neither stall the event loop
   nor fill the memory at once. The caller's limit holds for the whole output.
"""

from __future__ import annotations

import re
import zlib

from pg_trio.errors import UpstreamBroken, UpstreamNonsense

# 64 KiB of output in one step: as much as one read of a connection.
PIECE_BYTES = 64 * 1024
# 4 KiB of input in one step: a gzip member may be as small as 20 bytes, and each costs some 10 µs.
INPUT_BYTES = 4 * 1024
# Codings on top of each other: curl's limit (MAX_ENCODE_STACK).
MAX_CODINGS = 5

# 32 more than the window size: zlib then distinguishes gzip from zlib by the first bytes.
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP, _DEFLATE = frozenset({"gzip", "x-gzip"}), frozenset({"deflate", "x-deflate"})
# Values that servers send and that are not content codings (IANA HTTP Content Coding Registry, read 2026-11): words for
# "none", MIME's transfer encodings without effect (RFC 2045, 6.2), media types, HTTP's own `chunked`, and charsets.
_NO_CODING = re.compile(
    r"|identity|none|null|no|off|false|default|plain|raw|text|json|charset|unicode|chunked|binary|[78]bit"
    r"|[a-z]+/[a-z0-9.+-]+"
    r"|utf[-_]?(?:8|16|32)(?:[-_]?[lb]e)?|(?:us[-_]?)?ascii|ansi|latin[-_]?[0-9]+|iso[-_]?8859[-_]?[0-9]+"
    r"|(?:windows|cp)[-_]?[0-9]+|gbk|gb[-_]?[0-9]+|big5|shift[-_]?jis|sjis|euc[-_]?(?:jp|kr)|koi8[-_]?[ru]"
)


def decoder_for(header: str | None, limit_bytes: int) -> BodyDecoder | None:
    """A decoder for the value of `Content-Encoding`, or None if the body is not coded."""
    codings = [coding for name in (header or "").split(",") if not _NO_CODING.fullmatch(coding := _bare(name))]
    return BodyDecoder(codings[::-1], limit_bytes) if codings else None


def _bare(name: str) -> str:
    """A coding's name without parameters, quotes and case; of `charset=utf-8` the value."""
    return name.partition(";")[0].rpartition("=")[2].strip(" \t\"'").lower()


class BodyDecoder:
    """Decodes a body piece by piece, in steps of at most PIECE_BYTES of output.

    `codings` are named from the outermost inwards; `limit_bytes` limits the whole output of each.
    """

    def __init__(self, codings: list[str], limit_bytes: int) -> None:
        self._layers = [_Layer(coding, limit_bytes) for coding in codings]

    @property
    def has_work(self) -> bool:
        """Whether `take` has something to do before more of the body is needed."""
        return any(layer.has_work for layer in self._layers)

    def feed(self, piece: bytes) -> None:
        """Add the next bytes of the body. Call it only when `has_work` is False."""
        self._layers[0].feed(piece)

    def take(self) -> bytes:
        """Do one step and return its output, which may be empty.

        Raises: UpstreamBroken if it does not decode; UpstreamNonsense over the limit, or if a coding is unknown.
        """
        if len(self._layers) > MAX_CODINGS:
            raise UpstreamNonsense(f"answer has more than {MAX_CODINGS} content codings")
        # The innermost layer with work comes first. So a layer gets input only when it has no work left, and none holds
        # more than one step.
        index = max(index for index, layer in enumerate(self._layers) if layer.has_work)
        decoded = self._layers[index].step()
        if index == len(self._layers) - 1:
            return decoded
        self._layers[index + 1].feed(decoded)
        return b""

    def finish(self) -> None:
        """Raises: UpstreamBroken if the coded body ended early."""
        for layer in self._layers:
            layer.finish()


class _Layer:
    """One coding. `has_work` once a step can do something; zlib may hold output that did not fit into a step."""

    def __init__(self, coding: str, limit_bytes: int) -> None:
        self._coding = coding
        self._room_bytes = limit_bytes
        self._input = b""
        self._inflater: zlib._Decompress | None = None
        self._members = 0
        # Whether the input is passed on unchanged, or ignored.
        self._is_as_is = self._is_over = False
        self.has_work = False

    def feed(self, piece: bytes) -> None:
        """Add input. Padding before a further member, and bytes after the last one, are dropped."""
        self._input += piece
        if self._members and self._inflater is None:
            self._input = b"" if self._is_over else self._input.lstrip(b"\0")
        self.has_work = bool(self._input)

    def step(self) -> bytes:
        """Decode at most INPUT_BYTES to at most PIECE_BYTES."""
        if self._inflater is None and not self._is_as_is:
            self._begin_member()
        # One byte more than the room: a body of exactly the limit is allowed.
        decoded = self._decode(min(PIECE_BYTES, self._room_bytes + 1))
        if len(decoded) > self._room_bytes:
            raise UpstreamNonsense("answer's body is over the size limit once decompressed")
        self._room_bytes -= len(decoded)
        return decoded

    def finish(self) -> None:
        """Raises: UpstreamBroken if this coding's body ended early. No byte at all is an empty body."""
        if self._inflater is not None or (self._input and not self._is_over):
            raise UpstreamBroken("answer's compressed body ended early")

    def _begin_member(self) -> None:
        """Choose by the first two bytes how the input is decoded; wait until both are there."""
        start = self._input[:2]
        if self._coding not in _GZIP | _DEFLATE:
            raise UpstreamNonsense(f"answer has an unknown content coding {self._coding[:40]!r}")
        if len(start) < 2 and (not self._members or _GZIP_MAGIC.startswith(start)):
            self.has_work = False
        elif start == _GZIP_MAGIC or (not self._members and _begins_as_zlib(start)):
            self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        elif self._members:
            # gzip(1), too, ignores bytes that are not another member.
            self._is_over, self.has_work = True, False
        elif self._coding in _DEFLATE:
            self._inflater = zlib.decompressobj(_RAW_DEFLATE)
        else:
            self._is_as_is = True

    def _decode(self, most: int) -> bytes:
        if self._inflater is not None:
            return self._inflate(self._inflater, most)
        if not self._is_as_is:
            return b""
        decoded, self._input = self._input[:most], self._input[most:]
        self.has_work = bool(self._input)
        return decoded

    def _inflate(self, inflater: zlib._Decompress, most: int) -> bytes:
        piece, rest = self._input[:INPUT_BYTES], self._input[INPUT_BYTES:]
        try:
            decoded = inflater.decompress(piece, most)
        except zlib.error as exc:
            raise UpstreamBroken(f"answer's compressed body is damaged: {exc}") from exc
        if inflater.eof:
            # Members may be padded with NULs, as on tapes.
            self._input = (inflater.unused_data + rest).lstrip(b"\0")
            self._inflater = None
            self._members += 1
            self.has_work = bool(self._input) and not self._is_over
        else:
            self._input = inflater.unconsumed_tail + rest
            self.has_work = bool(self._input) or len(decoded) == most
        return decoded


def _begins_as_zlib(start: bytes) -> bool:
    """Whether these two bytes are zlib's head (RFC 1950, 2.2)."""
    return start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start, "big") % 31 == 0
