"""Text from elsewhere, so that it can do nothing but be read on a terminal.

Rules:
1. Escape sequences change a terminal's colours, its title, its clipboard, or what was printed before. They begin with a
   control character (ESC, or one of C1), so each control character is shown as a sign of its own.
2. Only line breaks and tabs stay. A lone carriage return would overwrite the line; the one of CR LF is dropped.
3. Marks that turn the direction of text around could show a command that is not the one that is copied; they are shown.
4. Each character is judged alone, so pieces of a stream may be cut anywhere.
"""

from __future__ import annotations

import re

# C0 but for tab and line feed, DEL and C1; the marks of direction (Unicode TR 9, 2.1 to 2.3); line and paragraph
# separators; halves of surrogate pairs, which no terminal's encoding has.
_HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PICTURES, _DELETE, _C0_END = 0x2400, 0x7F, 0x20


def make_harmless(text: str) -> str:
    """The text with a visible sign for each character that a terminal would obey."""
    return _HARMFUL.sub(_show, text)


def make_one_line(text: str, limit: int = 500) -> str:
    """The same on one line of at most `limit` characters, for names and errors."""
    line = " ".join(make_harmless(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _show(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code == 0x0D:
        return "" if found.string[found.end() : found.end() + 1] == "\n" else chr(_PICTURES + code)
    if code < _C0_END:
        return chr(_PICTURES + code)
    return "\u2421" if code == _DELETE else f"\\u{code:04x}"
