"""Undoing a content coding, in pieces and within a limit."""

from __future__ import annotations

import gzip
import zlib

import pytest

from pg_trio.errors import UpstreamBroken, UpstreamNonsense
from pg_trio.transport.content_coding import BodyDecoder, decoder_for

TEXT = b"hello hello hello hello"


@pytest.mark.parametrize("coding", [None, "", "identity", " Identity "])
def test_identity_needs_no_decoder(coding: str | None) -> None:
    assert decoder_for(coding, 100) is None


@pytest.mark.parametrize(("coding", "wire"), [("gzip", gzip.compress(TEXT)), ("DEFLATE", zlib.compress(TEXT))])
def test_every_cut_decodes_alike(coding: str, wire: bytes) -> None:
    for cut in range(len(wire)):
        decoder = decoder_for(coding, 100)
        assert decoder is not None

        decoded = decoder.feed(wire[:cut]) + decoder.feed(wire[cut:])
        decoder.finish()

        assert TEXT == decoded


def test_limit_holds_what_comes_out() -> None:
    exact, over = BodyDecoder("gzip", len(TEXT)), BodyDecoder("gzip", len(TEXT) - 1)

    assert TEXT == exact.feed(gzip.compress(TEXT))
    with pytest.raises(UpstreamNonsense):
        over.feed(gzip.compress(TEXT))


def test_early_end_is_broken() -> None:
    decoder = BodyDecoder("gzip", 100)
    decoder.feed(gzip.compress(TEXT)[:-1])

    with pytest.raises(UpstreamBroken):
        decoder.finish()


def test_damage_is_broken() -> None:
    with pytest.raises(UpstreamBroken):
        BodyDecoder("gzip", 100).feed(b"plain text")


def test_unknown_coding_is_nonsense() -> None:
    with pytest.raises(UpstreamNonsense):
        BodyDecoder("br", 100).feed(b"x")
