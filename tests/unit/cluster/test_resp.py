"""Redis's wire, on bytes, cut at every position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.cluster.redis.resp import (
    MAX_DEPTH,
    MAX_REPLY_BYTES,
    GarbledReply,
    RedisError,
    Reply,
    RespReader,
    encode_command,
)

REPLIES: list[tuple[bytes, Reply]] = [
    (b"+OK\r\n", "OK"),
    (b"-NOSCRIPT No matching script.\r\n", RedisError("NOSCRIPT No matching script.")),
    (b":-7\r\n", -7),
    (b"$5\r\na\r\nbc\r\n", b"a\r\nbc"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n:1\r\n*2\r\n$1\r\nx\r\n+y\r\n-ERR z\r\n", [1, [b"x", "y"], RedisError("ERR z")]),
]


def test_command_is_an_array_of_strings() -> None:
    assert b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa4\r\n$1\r\n7\r\n$2\r\n\x00\r\r\n" == encode_command(
        "SET", "ä", 7, b"\x00\r"
    )


@pytest.mark.parametrize(("wire", "reply"), REPLIES)
def test_reply_is_read(wire: bytes, reply: Reply) -> None:
    assert [reply] == RespReader().feed(wire)


def test_replies_are_read_from_any_pieces() -> None:
    wire = b"".join(each for each, _ in REPLIES)
    for size in range(1, len(wire)):
        reader = RespReader()

        got = [one for at in range(0, len(wire), size) for one in reader.feed(wire[at : at + size])]

        assert [reply for _, reply in REPLIES] == got


@pytest.mark.parametrize(
    "wire",
    [
        b"?x\r\n",
        b":a\r\n",
        b"$x\r\n",
        b"$1\r\nabc",
        b"$%d\r\n" % (MAX_REPLY_BYTES + 1),
        b"*1\r\n" * (MAX_DEPTH + 1),
        b"*%d\r\n" % (MAX_REPLY_BYTES + 1),
    ],
)
def test_nonsense_is_refused(wire: bytes) -> None:
    with pytest.raises(GarbledReply):
        RespReader().feed(wire)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_refused_or_waited_for(data: bytes) -> None:
    try:
        RespReader().feed(data)
    except GarbledReply:
        return


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_command_reads_back_as_an_array(arguments: list[bytes]) -> None:
    assert [arguments] == RespReader().feed(encode_command(*arguments))


def test_error_s_first_word_is_its_code() -> None:
    assert ("WRONGTYPE", "x") == (RedisError("WRONGTYPE Operation").code, RedisError("x").code)
