"""Makes room for all of a worker's file descriptors at once.

The kernel keeps a process's descriptors in a table that it doubles when it is full: at 64, 128, 256 and so on. In a
process with more than one thread each doubling waits until no processor reads the old table (`expand_fdtable` calls
`synchronize_rcu`), 8 to 16 ms in which the event loop stands still. That met the crowd of clients that filled the
table: tokens of 64 streams were late by 20 ms when 256 more began. A table never shrinks, and a slot takes 8 bytes.
"""

from __future__ import annotations

import fcntl
import os
import resource
from contextlib import suppress

# 65,536: as many as `pg-trio serve` asks the system for (cli/descriptors.py). The table has 512 KiB then.
MOST_SLOTS = 65_536


def widen_descriptor_table(slots: int) -> None:
    """Let the table hold descriptors up to `slots`, at most MOST_SLOTS, or as many as the process may have.

    Call it before the first thread starts: then nothing waits. If the system refuses, the table grows as usual.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY:
        slots = min(slots, allowed)
    with suppress(OSError), open(os.devnull, "rb") as nothing:
        os.close(fcntl.fcntl(nothing, fcntl.F_DUPFD_CLOEXEC, min(slots, MOST_SLOTS) - 1))
