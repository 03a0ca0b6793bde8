"""A call's arguments on their way through the rules: the JSON stays JSON, also where something is masked.

Rules:
1. Strings are read with their escapes resolved, as a client reads them, and written anew: `\u0041` becomes `A`.
2. A value is read behind its key ("id: 4111…"), because the key tells the value's meaning.
3. A key that matches cannot be masked (two keys could become one), so it is refused; in a rule that only flags, it is
   flagged.
4. A number that matches becomes a string with the mask. Text outside of strings that is not JSON is read like a number.
5. Strings and numbers are separate texts: a match does not span two of them.
"""

from __future__ import annotations

import json
import re

from pg_trio.stages.guardrails.output.fixed_texts import check_fixed
from pg_trio.stages.guardrails.output.text_rules import VerdictBook
from pg_trio.stages.guardrails.output.text_window import TextWindow, WindowRules

# What ends a run of plain characters inside a string, and outside of one.
_PLAIN = re.compile(r'[^"\\]*')
_OUTSIDE = re.compile(r'[^"\s,:\[\]{}]*')
_STRUCTURE = re.compile(r"[\s,:\[\]{}]*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"'}
_HEX = frozenset("0123456789abcdefABCDEF")
# The longest escape: two of \uXXXX, for a character beyond the basic plane.
_PAIR_CHARS = 12
# In the place of half a pair, which is no text.
_LONE = "\ufffd"
_HIGH, _LOW, _BEYOND = range(0xD800, 0xDC00), range(0xDC00, 0xE000), 0x10000


class ArgumentsWindow:
    """The arguments of one call."""

    __slots__ = ("_book", "_depth", "_key", "_key_text", "_rest", "_rules", "_string", "_wants_key")

    def __init__(self, rules: WindowRules, book: VerdictBook) -> None:
        self._rules = rules
        self._book = book
        # What is not read yet: the beginning of an escape, or of a number.
        self._rest = ""
        # The window of the string under way.
        self._string: TextWindow | None = None
        # The pieces of the key under way; None outside of a key.
        self._key_text: list[str] | None = None
        # The key of the next value.
        self._key = ""
        # For each open object or array: whether it is an object.
        self._depth: list[bool] = []
        self._wants_key = False

    @property
    def open_chars(self) -> int:
        """Characters of the string under way that have come."""
        return 0 if self._string is None else self._string.come_chars

    def feed(self, piece: str) -> str:
        """The part of the arguments that is decided with this piece, as JSON. Raises: GuardrailBlocked."""
        text, self._rest = self._rest + piece, ""
        return "".join(self._read(text, is_last=False))

    def flush(self) -> str:
        """The part of a string that waits; more may follow after other events."""
        return "" if self._string is None else _escape(self._string.flush())

    def end(self) -> str:
        """What waits; the arguments are complete, or as complete as they will be. Raises: GuardrailBlocked."""
        text, self._rest = self._rest, ""
        parts = self._read(text, is_last=True)
        if self._key_text is not None:
            parts.append(_escape(self._end_key()))
        if self._string is not None:
            parts.append(_escape(self._string.end()))
            self._string = None
        return "".join(parts)

    def drop(self) -> None:
        """Drop what waits. Raises: GuardrailBlocked, if what was sent of the string under way matches."""
        if self._string is not None:
            self._string.drop()

    def _read(self, text: str, *, is_last: bool) -> list[str]:
        parts: list[str] = []
        at = 0
        while at < len(text):
            if self._string is not None or self._key_text is not None:
                at = self._read_string(text, at, parts, is_last=is_last)
            elif text[at] == '"':
                at += 1
                self._begin_string(parts)
            else:
                at = self._read_outside(text, at, parts, is_last=is_last)
            if at < 0:
                break
        return parts

    # ── strings ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_string(self, parts: list[str]) -> None:
        parts.append('"')
        if self._wants_key:
            self._key_text = []
        else:
            self._string = TextWindow(self._rules, self._book, f"{self._key}: " if self._key else "")

    def _read_string(self, text: str, at: int, parts: list[str], *, is_last: bool) -> int:
        """Read on inside a string. Returns where to go on, -1 if the rest must wait for more."""
        read: list[str] = []
        while at < len(text):
            found = _PLAIN.match(text, at)
            assert found is not None  # the pattern matches the empty text
            read.append(found[0])
            at = found.end()
            if at == len(text) or text[at] == '"':
                break
            character, after = _read_escape(text, at, is_last=is_last)
            if after < 0:
                self._rest = text[at:]
                break
            read.append(character)
            at = after
        self._take("".join(read), parts)
        if self._rest:
            return -1
        if at < len(text):
            self._close_string(parts)
            at += 1
        return at

    def _take(self, read: str, parts: list[str]) -> None:
        if self._key_text is not None:
            self._key_text.append(read)
        elif self._string is not None and read:
            parts.append(_escape(self._string.feed(read)))

    def _close_string(self, parts: list[str]) -> None:
        if self._key_text is not None:
            self._key = self._end_key()
            parts.append(_escape(self._key))
        elif self._string is not None:
            parts.append(_escape(self._string.end()))
            self._string = None
        parts.append('"')

    def _end_key(self) -> str:
        key, self._key_text, self._wants_key = "".join(self._key_text or ()), None, False
        check_fixed(key, self._rules, self._book)
        return key

    # ── outside of strings ───────────────────────────────────────────────────────────────────────────────────────────

    def _read_outside(self, text: str, at: int, parts: list[str], *, is_last: bool) -> int:
        """Read structure, then a number or a word. Returns where to go on, -1 if the rest must wait for more."""
        structure = _STRUCTURE.match(text, at)
        assert structure is not None  # the pattern matches the empty text
        for sign in structure[0]:
            self._note_structure(sign)
        parts.append(structure[0])
        found = _OUTSIDE.match(text, structure.end())
        assert found is not None  # it does, too
        if found.end() == len(text) and found[0] and not is_last and len(found[0]) < self._rules.hold_back_chars:
            # A number may go on.
            self._rest = found[0]
            return -1
        parts.append(self._check_bare(found[0]))
        return found.end()

    def _note_structure(self, sign: str) -> None:
        if sign in "{[":
            self._depth.append(sign == "{")
            self._wants_key = sign == "{"
            self._key = ""
        elif sign in "}]" and self._depth:
            self._depth.pop()
            self._wants_key = False
        elif sign == ",":
            self._wants_key = bool(self._depth) and self._depth[-1]

    def _check_bare(self, text: str) -> str:
        if not text or text in ("true", "false", "null"):
            return text
        window = TextWindow(self._rules, self._book, f"{self._key}: " if self._key else "")
        masked = window.feed(text) + window.end()
        return text if masked == text else json.dumps(masked)


def _read_escape(text: str, at: int, *, is_last: bool) -> tuple[str, int]:
    """The character that an escape is, and where it ends; -1 if it is not complete yet.

    What is no escape of JSON's stays as it is.
    """
    rest = len(text) - at
    if rest < 2:
        return ("\\", at + 1) if is_last else ("", -1)
    if text[at + 1] != "u":
        known = _ESCAPES.get(text[at + 1])
        return (text[at : at + 2] if known is None else known), at + 2
    if rest < _PAIR_CHARS and not is_last and _may_go_on(text[at:]):
        return "", -1
    code = _read_code(text, at)
    if code is None:
        return text[at : at + 2], at + 2
    if code in _HIGH:
        low = _read_code(text, at + 6)
        if low is not None and low in _LOW:
            return chr(_BEYOND + ((code - 0xD800) << 10) + (low - 0xDC00)), at + _PAIR_CHARS
        return _LONE, at + 6
    return (_LONE if code in _LOW else chr(code)), at + 6


def _may_go_on(begun: str) -> bool:
    """Whether an escape of `\\u` needs more characters, or is the first half of a pair."""
    if len(begun) < 6:
        return all(character in _HEX for character in begun[2:])
    code = _read_code(begun, 0)
    return code is not None and code in _HIGH and "\\u".startswith(begun[6:8])


def _read_code(text: str, at: int) -> int | None:
    digits = text[at + 2 : at + 6]
    if not text.startswith("\\u", at) or len(digits) < 4 or not _HEX.issuperset(digits):
        return None
    return int(digits, 16)


def _escape(text: str) -> str:
    """The text inside a JSON string."""
    if not text:
        return ""
    return json.dumps(text, ensure_ascii=False)[1:-1]
