"""Undoing a content coding, in pieces and within limits."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.errors import UpstreamBroken, UpstreamNonsense
from pg_trio.transport.content_coding import MAX_CODINGS, PIECE_BYTES, BodyDecoder, decoder_for

MIB = 1024 * 1024
# Without the time in its header: what tests are called must be the same in each process.
compress = partial(gzip.compress, mtime=0)
TEXT = b"hello hello hello hello"


def deflate_raw(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def decode(coding: str, *pieces: bytes, limit: int = 100) -> bytes:
    decoder = decoder_for(coding, limit)
    assert decoder is not None
    decoded = b""
    for piece in pieces:
        decoder.feed(piece)
        while decoder.has_work:
            step = decoder.take()
            assert len(step) <= PIECE_BYTES
            decoded += step
    decoder.finish()
    return decoded


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "identity",
        " Identity ",
        "utf-8",
        "UTF8",
        "UTF-8, identity",
        "none",
        "binary",
        "8bit",
        "ISO-8859-1",
        "us-ascii",
        "windows-1252",
        "charset=utf-8",
        '"utf-8"',
        "utf-8; q=1",
        "application/json",
        "chunked",
        "null",
    ],
)
def test_what_is_no_coding_needs_no_decoder(header: str | None) -> None:
    assert decoder_for(header, 100) is None


@pytest.mark.parametrize(
    ("coding", "wire"),
    [
        ("gzip", compress(TEXT)),
        ("X-GZIP", compress(TEXT)),
        ("DEFLATE", zlib.compress(TEXT)),
        ("deflate", deflate_raw(TEXT)),
        ("gzip", zlib.compress(TEXT)),
        ("gzip, identity", compress(TEXT)),
        ("utf-8, gzip", compress(TEXT)),
        ("gzip, gzip", compress(compress(TEXT))),
        ("deflate, gzip", compress(deflate_raw(TEXT))),
        ("gzip", compress(TEXT[:9]) + compress(TEXT[9:])),
        ("gzip", compress(b"") + compress(TEXT) + compress(b"")),
        ("gzip", compress(TEXT[:9]) + b"\0\0\0" + compress(TEXT[9:]) + b"\0\0"),
        ("gzip", compress(TEXT) + b"\r\n<!-- served by -->"),
        ("deflate", zlib.compress(TEXT) + b"\r\n"),
        ("gzip", TEXT),
        ("gzip, gzip", compress(TEXT)),
    ],
)
def test_every_cut_decodes_alike(coding: str, wire: bytes) -> None:
    for cut in range(len(wire)):
        assert TEXT == decode(coding, wire[:cut], wire[cut:])


@given(
    parts=st.lists(st.binary(max_size=300), min_size=1, max_size=6), cuts=st.integers(1, 7), layers=st.integers(1, 3)
)
def test_members_and_layers_come_back(parts: list[bytes], cuts: int, layers: int) -> None:
    wire = b"".join(map(compress, parts))
    for _ in range(layers - 1):
        wire = compress(wire)
    pieces = [wire[at : at + cuts] for at in range(0, len(wire), cuts)]

    assert b"".join(parts) == decode(", ".join(["gzip"] * layers), *pieces, limit=10_000)


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip"])
def test_limit_holds_what_comes_out(coding: str) -> None:
    wire = TEXT
    for _ in coding.split(","):
        wire = compress(wire)

    assert TEXT == decode(coding, wire, limit=max(len(TEXT), len(compress(TEXT))))
    with pytest.raises(UpstreamNonsense, match="size limit"):
        decode(coding, wire, limit=len(TEXT) - 1)


def test_limit_holds_over_all_members() -> None:
    with pytest.raises(UpstreamNonsense, match="size limit"):
        decode("gzip", compress(TEXT) * 5, limit=4 * len(TEXT))


@pytest.mark.parametrize("layers", [1, 2])
def test_bomb_holds_a_few_steps_in_memory(layers: int) -> None:
    bomb = bytes(64 * MIB)
    for _ in range(layers):
        bomb = compress(bomb)
    decoder = decoder_for(", ".join(["gzip"] * layers), 256 * MIB)
    assert decoder is not None
    tracemalloc.start()
    decoder.feed(bomb)
    out_bytes = 0

    while decoder.has_work:
        out_bytes += len(decoder.take())

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 64 * MIB == out_bytes
    # Two windows and two steps; the whole would be 64 MiB.
    assert peak_bytes < MIB


@pytest.mark.parametrize(
    "wire",
    [
        compress(TEXT)[:-1],
        compress(TEXT)[:1],
        compress(TEXT) + b"\x1f",
        compress(TEXT) * 2 + b"\x1f\x8b",
    ],
)
def test_early_end_is_broken(wire: bytes) -> None:
    with pytest.raises(UpstreamBroken, match="ended early"):
        decode("gzip", wire)


def test_damage_is_broken() -> None:
    wire = bytearray(compress(TEXT))
    wire[14] ^= 0xFF

    with pytest.raises(UpstreamBroken):
        decode("gzip", bytes(wire))


def test_empty_body_is_empty() -> None:
    assert b"" == decode("gzip")


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "br, gzip", "foo", "aes128gcm", "gzipped"])
def test_unknown_coding_is_nonsense(coding: str) -> None:
    with pytest.raises(UpstreamNonsense, match="unknown content coding"):
        decode(coding, compress(TEXT))


def test_too_many_codings_are_nonsense() -> None:
    with pytest.raises(UpstreamNonsense, match="more than 5 content codings"):
        BodyDecoder(["gzip"] * (MAX_CODINGS + 1), 100).take()
