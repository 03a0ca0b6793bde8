"""Ids of requests: random UUIDs (RFC 9562, version 4)."""

from __future__ import annotations

from os import urandom
from uuid import UUID, SafeUUID

_UNKNOWN = SafeUUID.unknown
_make, _set, _read_int = object.__new__, object.__setattr__, int.from_bytes
# The bits of the version (4) and of the variant (binary 10), and all others.
_FIXED = 0x4 << 76 | 0x2 << 62
_RANDOM = (1 << 128) - 1 - (0xF << 76 | 0x3 << 62)


def new_request_id() -> UUID:
    """A random UUID that was never used before.

    As `uuid4` makes it, without the checks of what a caller may give to `UUID(…)`: these are two thirds of it. CPython
    makes its own in this way from 3.14 on (`UUID._from_int`).
    """
    made = _make(UUID)
    _set(made, "int", _read_int(urandom(16), "big") & _RANDOM | _FIXED)
    _set(made, "is_safe", _UNKNOWN)
    return made
