"""The trace that a client's request belongs to.

Source: W3C Recommendation "Trace Context" (2021-11), section 3.2, read 2026-11.
"""

from __future__ import annotations

import re

from pg_trio.domain.value import value

# Version, trace, parent, flags. A later version may have more behind another dash (section 3.2.4); 0xff is no version.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@value(slots=True)
class TraceContext:
    """A trace and the client's span in it, in lower-case hexadecimal: 32 and 16 digits."""

    trace_id: str
    parent_id: str
    is_sampled: bool

    @classmethod
    def read(cls, traceparent: str) -> TraceContext | None:
        """From the header's value; None for a malformed one, which the specification tells us to ignore."""
        found = _TRACEPARENT.fullmatch(traceparent)
        if found is None or (found[1] == "00" and found[5] is not None):
            return None
        return cls(found[2], found[3], bool(int(found[4], 16) & 1))
