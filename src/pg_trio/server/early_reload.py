"""A SIGHUP that comes before the supervisor listens: remembered, where the system's default would end the process.

Loading Python's modules and checking the configuration takes half a second on a busy machine, and a service manager's
`reload` may come then. The supervisor takes a remembered one as a reload that is due once every worker is ready.
"""

from __future__ import annotations

import signal

_asked: list[int] = []


def remember_reloads() -> None:
    """From here on a SIGHUP ends nothing. Imports nothing but `signal`, so that it can come first."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, _: _asked.append(number))


def reload_was_asked() -> bool:
    """Whether one came since, or since the last call."""
    was_asked = bool(_asked)
    _asked.clear()
    return was_asked
