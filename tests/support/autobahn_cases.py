"""The cases of the Autobahn test suite for WebSocket servers that echo, sections 1 to 7, as data.

Source: crossbario/autobahn-testsuite, `case/`, read 2026-11; the case ids are its own. The waits between the parts of a
case are left out: what a server must not wait for is simply not sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
NORMAL, PROTOCOL_ERROR, INVALID_PAYLOAD = 1000, 1002, 1007


@frozen
class Frame:
    """A frame to send. `sends`: how many bytes of its payload are sent; None: all."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    sends: int | None = None


@frozen
class Case:
    """A case: frames to send, in writes of `chop` bytes (0: one write a frame, None: one for all).

    `echoes` are what comes back: (opcode, payload). `ends`: the server must fail the connection, with one of these
    codes; empty: nothing is wrong, and the client closes with 1000. `closes`: the frames contain the client's close
    frame, and the server answers with one of these codes.
    """

    id: str
    frames: tuple[Frame, ...]
    echoes: tuple[tuple[int, bytes], ...] = ()
    ends: tuple[int, ...] = ()
    closes: tuple[int, ...] = ()
    chop: int | None = None


HELLO = b"Hello, world!"
ODD = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
FAILS = (PROTOCOL_ERROR,)
F1, F2 = b"fragment1", b"fragment2"
GREEK = bytes.fromhex("cebae1bdb9cf83cebcceb5")
MIXED = "Hello-µ@ßöäüàá-UTF-8!!".encode()
SURROGATE, TOO_FAR, TAIL = bytes.fromhex("eda080"), bytes.fromhex("f4908080"), b"edited"


def echoed(id: str, opcode: int, payload: bytes, chop: int | None = None) -> Case:
    """A message that is echoed."""
    return Case(id, (Frame(opcode, payload),), ((opcode, payload),), chop=chop)


def split(data: bytes) -> tuple[Frame, ...]:
    """A text in frames of one byte each."""
    last = len(data) - 1
    return tuple(Frame(CONTINUATION if at else TEXT, data[at : at + 1], fin=at == last) for at in range(len(data)))


def section_1() -> Iterator[Case]:
    """Messages of every kind of length."""
    sizes = (0, 125, 126, 127, 128, 65535, 65536, 65536)
    for group, (opcode, letter) in enumerate([(TEXT, b"*"), (BINARY, b"\xfe")], 1):
        for number, size in enumerate(sizes, 1):
            yield echoed(f"1.{group}.{number}", opcode, letter * size, 997 if number == 8 else None)


def section_2() -> Iterator[Case]:
    """Pings and pongs."""
    pinged = {1: b"", 2: HELLO, 3: ODD, 4: b"\xfe" * 125}
    for number, payload in pinged.items():
        yield Case(f"2.{number}", (Frame(PING, payload),), ((PONG, payload),))
    yield Case("2.5", (Frame(PING, b"\xfe" * 126),), ends=FAILS)
    yield Case("2.6", (Frame(PING, b"\xfe" * 125),), ((PONG, b"\xfe" * 125),), chop=1)
    yield Case("2.7", (Frame(PONG),))
    yield Case("2.8", (Frame(PONG, b"not asked for"),))
    yield Case("2.9", (Frame(PONG, b"not asked for"), Frame(PING, b"asked")), ((PONG, b"asked"),))
    many = [b"payload-%d" % number for number in range(10)]
    for number, chop in ((10, None), (11, 1)):
        yield Case(
            f"2.{number}", tuple(Frame(PING, each) for each in many), tuple((PONG, each) for each in many), chop=chop
        )


def section_3() -> Iterator[Case]:
    """Reserved bits."""
    yield Case("3.1", (Frame(TEXT, HELLO, rsv=1),), ends=FAILS)
    for number, rsv, chop in ((2, 2, None), (3, 3, 0), (4, 4, 1)):
        frames = (Frame(TEXT, HELLO), Frame(TEXT, HELLO, rsv=rsv), Frame(PING))
        yield Case(f"3.{number}", frames, ((TEXT, HELLO),), ends=FAILS, chop=chop)
    yield Case("3.5", (Frame(BINARY, ODD, rsv=5),), ends=FAILS)
    yield Case("3.6", (Frame(PING, HELLO, rsv=6),), ends=FAILS)
    yield Case("3.7", (Frame(CLOSE, rsv=7),), ends=FAILS)


def section_4() -> Iterator[Case]:
    """Reserved opcodes."""
    for group, first in ((1, 3), (2, 11)):
        yield Case(f"4.{group}.1", (Frame(first),), ends=FAILS)
        yield Case(f"4.{group}.2", (Frame(first + 1, HELLO),), ends=FAILS)
        for number, payload, chop in ((3, b"", None), (4, HELLO, None), (5, HELLO, 1)):
            frames = (Frame(TEXT, HELLO), Frame(first + number - 1, payload), Frame(PING))
            yield Case(f"4.{group}.{number}", frames, ((TEXT, HELLO),), ends=FAILS, chop=chop)


def section_5() -> Iterator[Case]:
    """Fragments."""
    first, last = Frame(TEXT, F1, fin=False), Frame(CONTINUATION, F2)
    whole, ping = (TEXT, F1 + F2), Frame(PING, b"ping")
    lone, open_lone, text = Frame(CONTINUATION, F1), Frame(CONTINUATION, F1, fin=False), Frame(TEXT, HELLO)
    chops = (None, 0, 1)
    yield Case("5.1", (Frame(PING, F1, fin=False), last), ends=FAILS)
    yield Case("5.2", (Frame(PONG, F1, fin=False), last), ends=FAILS)
    for number, chop in enumerate(chops):
        yield Case(f"5.{3 + number}", (first, last), (whole,), chop=chop)
        yield Case(f"5.{6 + number}", (first, ping, last), ((PONG, b"ping"), whole), chop=chop)
        yield Case(f"5.{9 + number}", (lone, text), ends=FAILS, chop=chop)
        yield Case(f"5.{12 + number}", (open_lone, text), ends=FAILS, chop=chop)
    yield Case("5.15", (first, last, open_lone, text), (whole,), ends=FAILS)
    yield Case("5.16", (open_lone, first, last) * 2, ends=FAILS)
    yield Case("5.17", (lone, first, last) * 2, ends=FAILS)
    yield Case("5.18", (first, Frame(TEXT, F2)), ends=FAILS)
    parts = [b"fragment%d" % number for number in range(1, 6)]
    middle = [Frame(CONTINUATION, part, fin=False) for part in parts[1:4]]
    frames = (
        Frame(TEXT, parts[0], fin=False), middle[0], Frame(PING, b"1"), *middle[1:], Frame(PING, b"2"),
        Frame(CONTINUATION, parts[4]),
    )  # fmt: skip
    for number, chop in ((19, None), (20, 0)):
        yield Case(f"5.{number}", frames, ((PONG, b"1"), (PONG, b"2"), (TEXT, b"".join(parts))), chop=chop)


def _hex(data: Iterable[int]) -> str:
    """An invalid sequence."""
    return "!" + bytes(data).hex()


def _list(words: str) -> Sequence[str]:
    return words.split()


# Groups 6.5 to 6.23: valid sequences, and, with a `!`, invalid ones, in hexadecimal.
UTF8_GROUPS: tuple[Sequence[str], ...] = (
    _list(
        "68656c6c6f24776f726c64 68656c6c6fc2a2776f726c64 68656c6c6fe282ac776f726c64 68656c6c6ff0a4ada2776f726c64"
        " cebae1bdb9cf83cebcceb5"
    ),
    # Every prefix of that last one.
    _list(
        "!ce ceba !cebae1 !cebae1bd cebae1bdb9 !cebae1bdb9cf cebae1bdb9cf83 !cebae1bdb9cf83ce cebae1bdb9cf83cebc"
        " !cebae1bdb9cf83cebcce cebae1bdb9cf83cebcceb5"
    ),
    _list("00 c280 e0a080 f0908080"),
    _list("!f888808080 !fc8480808080"),
    _list("7f dfbf efbfbf f48fbfbf"),
    _list("!f7bfbfbf !fbbfbfbfbf !fdbfbfbfbfbf"),
    _list("ed9fbf ee8080 efbfbd f48fbfbf !f4908080"),
    (*_list("!80 !bf !80bf !80bf80 !80bf80bf !80bf80bf80 !80bf80bf80bf"), _hex(range(0x80, 0xBF))),
    [
        _hex(byte for start in range(low, high) for byte in (start, 0x20))
        for low, high in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    ],
    _list("!c0 !e080 !f08080 !f8808080 !fc80808080 !df !efbf !f7bfbf !fbbfbfbf !fdbfbfbfbf"),
    _list("!c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"),
    _list("!fe !ff !fefeffff"),
    _list("!c0af !e080af !f08080af !f8808080af !fc80808080af"),
    _list("!c1bf !e09fbf !f08fbfbf !f887bfbfbf !fc83bfbfbfbf"),
    _list("!c080 !e08080 !f0808080 !f880808080 !fc8080808080"),
    _list("!eda080 !edadbf !edae80 !edafbf !edb080 !edbe80 !edbfbf"),
    _list(
        "!eda080edb080 !eda080edbfbf !edadbfedb080 !edadbfedbfbf !edae80edb080 !edae80edbfbf !edafbfedb080"
        " !edafbfedbfbf"
    ),
    [
        "efbfbe",
        "efbfbf",
        *[
            f"{one}{two}bf{three}"
            for one in ("f0", "f1", "f2", "f3", "f4")
            for two in ("8f", "9f", "af", "bf")
            for three in ("be", "bf")
            if (one != "f4" or two == "8f") and (one, two) != ("f0", "8f")
        ],
    ],
    _list("efbfb9 efbfba efbfbb efbfbc efbfbd efbfbe efbfbf"),
)


def section_6() -> Iterator[Case]:
    """UTF-8, as whole messages and as it comes."""
    bad = (INVALID_PAYLOAD,)
    yield echoed("6.1.1", TEXT, b"")
    empty, no_more = Frame(TEXT, fin=False), Frame(CONTINUATION)
    yield Case("6.1.2", (empty, Frame(CONTINUATION, fin=False), no_more), ((TEXT, b""),))
    yield Case("6.1.3", (empty, Frame(CONTINUATION, HELLO, fin=False), no_more), ((TEXT, HELLO),))
    yield echoed("6.2.1", TEXT, MIXED)
    half = len("Hello-µ@ßöä".encode())
    halves = (Frame(TEXT, MIXED[:half], fin=False), Frame(CONTINUATION, MIXED[half:]))
    yield Case("6.2.2", halves, ((TEXT, MIXED),))
    yield Case("6.2.3", split(MIXED), ((TEXT, MIXED),))
    yield Case("6.2.4", split(GREEK), ((TEXT, GREEK),))
    wrong = GREEK + SURROGATE + TAIL
    yield Case("6.3.1", (Frame(TEXT, wrong),), ends=bad)
    yield Case("6.3.2", split(wrong), ends=bad)
    # Fail fast: what follows the wrong byte is never sent.
    yield Case("6.4.1", (Frame(TEXT, GREEK, fin=False), Frame(CONTINUATION, TOO_FAR, fin=False)), ends=bad)
    far = GREEK + TOO_FAR + TAIL
    yield Case("6.4.2", (Frame(TEXT, far[:12], fin=False), Frame(CONTINUATION, far[12:13], fin=False)), ends=bad)
    yield Case("6.4.3", (Frame(TEXT, far, sends=15),), ends=bad)
    yield Case("6.4.4", (Frame(TEXT, far, sends=13),), ends=bad)
    for group, sequences in enumerate(UTF8_GROUPS, 5):
        for number, sequence in enumerate(sequences, 1):
            data = bytes.fromhex(sequence.removeprefix("!"))
            name = f"6.{group}.{number}"
            yield Case(name, (Frame(TEXT, data),), ends=bad) if sequence[0] == "!" else echoed(name, TEXT, data)


def closing(code: int, reason: bytes = b"") -> Frame:
    """A close frame."""
    return Frame(CLOSE, code.to_bytes(2, "big") + reason)


def section_7() -> Iterator[Case]:
    """Close frames."""
    close, normal = closing(NORMAL), (NORMAL,)
    yield Case("7.1.1", (Frame(TEXT, HELLO), close), ((TEXT, HELLO),), closes=normal)
    yield Case("7.1.2", (close, Frame(CLOSE)), closes=normal)
    yield Case("7.1.3", (close, Frame(PING)), closes=normal)
    yield Case("7.1.4", (close, Frame(TEXT, HELLO)), closes=normal)
    yield Case("7.1.5", (Frame(TEXT, F1, fin=False), close, Frame(CONTINUATION, F2)), closes=normal)
    large = b"BAsd7&jh23" * 26_214
    both = ((TEXT, large), (TEXT, HELLO))
    yield Case("7.1.6", (Frame(TEXT, large), Frame(TEXT, HELLO), close, Frame(PING)), both, closes=normal)
    yield Case("7.3.1", (Frame(CLOSE),), closes=(NORMAL, 1005))
    yield Case("7.3.2", (Frame(CLOSE, b"a"),), ends=FAILS)
    yield Case("7.3.3", (close,), closes=normal)
    yield Case("7.3.4", (closing(NORMAL, HELLO),), closes=normal)
    yield Case("7.3.5", (closing(NORMAL, b"*" * 123),), closes=normal)
    yield Case("7.3.6", (closing(NORMAL, b"*" * 124),), ends=FAILS)
    yield Case("7.5.1", (closing(NORMAL, GREEK + SURROGATE + TAIL),), ends=(PROTOCOL_ERROR, INVALID_PAYLOAD))
    for number, code in enumerate((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1):
        yield Case(f"7.7.{number}", (closing(code),), closes=(NORMAL, code))
    for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        yield Case(f"7.9.{number}", (closing(code),), ends=FAILS)
    # The suite leaves these two open.
    for number, code in ((1, 5000), (2, 65535)):
        yield Case(f"7.13.{number}", (closing(code),), ends=(NORMAL, code, PROTOCOL_ERROR))


CASES: tuple[Case, ...] = (
    *section_1(), *section_2(), *section_3(), *section_4(), *section_5(), *section_6(), *section_7(),
)  # fmt: skip
