"""With which characters the matches of an operator's pattern begin: before them, a stream holds nothing back."""

from __future__ import annotations

import re
import warnings
from importlib import import_module
from typing import Any

# Python's own reader of patterns. It has no public name.
_parser, _codes = import_module("re._parser"), import_module("re._constants")
# RE2 reads these otherwise than Python does: flags, classes by name and by script, one byte, verbatim text.
_READ_OTHERWISE = re.compile(r"\(\?[^:]|\[:|\\[pPCQz]|\\x\{")
_CATEGORIES = {_codes.CATEGORY_DIGIT: "0-9", _codes.CATEGORY_WORD: "0-9A-Za-z_", _codes.CATEGORY_SPACE: r"\s"}


def first_character(pattern: str) -> re.Pattern[str] | None:
    """What every match begins with; None if it is not known: matches may begin with anything."""
    if _READ_OTHERWISE.search(pattern):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _first_of(_parser.parse(pattern))
    except (re.error, OverflowError, RecursionError):
        return None
    return None if found is None else re.compile(f"[{found}]")


def _first_of(items: Any) -> str | None:
    """The inside of a class; None if it is not known."""
    for code, argument in items:
        if code is _codes.AT:
            continue
        if code is _codes.LITERAL:
            return re.escape(chr(argument))
        if code is _codes.IN:
            return _of_class(argument)
        if code is _codes.SUBPATTERN:
            return _first_of(argument[3])
        if code is _codes.MAX_REPEAT and argument[0] > 0:
            return _first_of(argument[2])
        if code is _codes.BRANCH:
            parts = [_first_of(branch) for branch in argument[1]]
            return None if None in parts else "".join([part for part in parts if part is not None])
        return None
    return None


def _of_class(members: Any) -> str | None:
    parts: list[str] = []
    for code, argument in members:
        if code is _codes.LITERAL:
            parts.append(re.escape(chr(argument)))
        elif code is _codes.RANGE:
            parts.append(f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}")
        elif code is _codes.CATEGORY and argument in _CATEGORIES:
            parts.append(_CATEGORIES[argument])
        else:
            return None
    return "".join(parts) or None
