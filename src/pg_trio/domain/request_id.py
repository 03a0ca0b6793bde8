"""Ids of requests: random UUIDs (RFC 9562, version 4)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from struct import iter_unpack
from uuid import UUID, SafeUUID

_UNKNOWN = SafeUUID.unknown
_make, _set, _read_int = object.__new__, object.__setattr__, int.from_bytes
# The bits of the version (4) and of the variant (binary 10), and all others.
_FIXED = 0x4 << 76 | 0x2 << 62
_RANDOM = (1 << 128) - 1 - (0xF << 76 | 0x3 << 62)
# 4 KiB, for 256 ids. Asking the kernel for each id takes as long as all the rest of it.
BLOCK_BYTES = 4096


class _RandomBlock:
    """Random bytes of the kernel's that no id was made of yet, drawn many at once. A forked process draws its own."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left: Iterator[tuple[bytes]] = iter(())
        os.register_at_fork(after_in_child=self.drop)

    def drop(self) -> None:
        """Use none of the rest."""
        self.left = iter(())

    def draw(self) -> tuple[bytes]:
        """The first 16 bytes of a new block."""
        self.left = iter_unpack("16s", os.urandom(BLOCK_BYTES))
        return next(self.left)


_block = _RandomBlock()


def new_request_id() -> UUID:
    """A random UUID that was never used before.

    As `uuid4` makes it, without the checks of what a caller may give to `UUID(…)`: these are two thirds of it. CPython
    makes its own in this way from 3.14 on (`UUID._from_int`).
    """
    (drawn,) = next(_block.left, None) or _block.draw()
    made = _make(UUID)
    _set(made, "int", _read_int(drawn, "big") & _RANDOM | _FIXED)
    _set(made, "is_safe", _UNKNOWN)
    return made
