"""Keeps the sources of the methods that attrs generates out of memory.

attrs leaves them in `linecache`, so that a debugger can step through them. Of a gateway's classes they are 1.5 MB in
each process. Removing them later gives nothing back, because they lie between objects that stay. A traceback through
such a method has its name and line number as before, but not the line's text.
"""

from __future__ import annotations

import linecache
from typing import Any

_GENERATED = "<attrs generated"


class _Unkept(dict[str, Any]):
    """`linecache.cache` without generated sources."""

    def setdefault(self, key: str, default: Any = None, /) -> Any:
        """As a dictionary's; attrs calls it, and compares what it returns."""
        return default if key.startswith(_GENERATED) else super().setdefault(key, default)


def keep_no_generated_sources() -> None:
    """Do so in this process, for classes that are made from now on."""
    if not isinstance(linecache.cache, _Unkept):
        linecache.cache = _Unkept(linecache.cache)
