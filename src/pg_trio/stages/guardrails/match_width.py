"""The longest text that a configured pattern can match: what a stream must hold back for it."""

from __future__ import annotations

import re
import warnings
from importlib import import_module

# Python's own reader of patterns, which knows how wide a match can be. It has no public name.
_parser = import_module("re._parser")
# RE2 reads these otherwise than Python does: a literal "{,5}", and classes by name.
_READ_OTHERWISE = ("{,", "[:")
# The text that \b, $ and the like read behind a match.
_BEHIND_CHARS = 1


def widest_match(pattern: str) -> int | None:
    """Characters from a match's first one to the last that decides about it; None if there is no bound, or if only RE2
    can read the pattern."""
    if any(text in pattern for text in _READ_OTHERWISE):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, most = _parser.parse(pattern).getwidth()
    except (re.error, OverflowError, RecursionError):
        return None
    return None if most >= _parser.MAXREPEAT else int(most) + _BEHIND_CHARS
