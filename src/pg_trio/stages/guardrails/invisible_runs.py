"""Texts of nothing but invisible characters, shortened before they are scanned.

An invisible character has three bytes in UTF-8, so a scan takes three times as long for it as for a letter. No rule
reads more of a long run of them than of one. So a text with long runs is scanned without them first. If something is
found, it is scanned as it is, because places are offsets of that.
"""

from __future__ import annotations

import re

INVISIBLE = frozenset("\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff")
# Shorter texts cost microseconds in any case.
LEAST_CHARS = 4096
# A text is looked at in so many places. It is shortened if a quarter of them are in long runs; for a text that has few,
# that would take longer than the scan.
_SAMPLES, _LEAST_SAMPLES = 64, 16
_LONG_RUN = re.compile(f"[{''.join(sorted(INVISIBLE))}]{{16,}}")


def without_long_runs(text: str) -> str:
    """The text with one character for each long run of invisible ones; the same object if it has few of them."""
    if len(text) < LEAST_CHARS or text.isascii():
        return text
    seen = [at for at in range(0, len(text), len(text) // _SAMPLES) if text[at] in INVISIBLE]
    if (
        len(seen) < _LEAST_SAMPLES
        or sum(_LONG_RUN.match(text, at, at + 16) is not None for at in seen) < _LEAST_SAMPLES
    ):
        return text
    return _LONG_RUN.sub(lambda run: run[0][0], text)
