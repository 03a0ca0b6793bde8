"""Remembers a SIGHUP that comes before the supervisor listens. The system's default would end the process.

Loading Python's modules and checking the configuration takes half a second on a busy machine, and a service manager's
`reload` may come then. The supervisor reloads for a remembered one once every worker is ready.
"""

from __future__ import annotations

import signal

_asked: list[int] = []


def remember_reloads() -> None:
    """From now on a SIGHUP is remembered and does not end the process. This module imports only `signal`, so that it
    can run first."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, _: _asked.append(number))


def reload_was_asked() -> bool:
    """Whether a SIGHUP came since `remember_reloads`, or since the last call."""
    was_asked = bool(_asked)
    _asked.clear()
    return was_asked
