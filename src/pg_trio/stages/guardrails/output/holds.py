"""Where a stream of text must wait: the first place at which a match may begin that more text could complete or change.

Rules:
1. A hold may be too early, which delays text, but never too late, which would let a part of a match pass. Every hold
   gets a text and a place in it, before which everything is sent, and returns a place that is not before that one.
2. Nothing waits where no match can begin: after a word and a space, most rules hold nothing.
3. The bound of `hold_back_chars` is not in here: see text_window.py. Configured words: word_holds.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

# (text, from where on it is not sent yet) -> from where on it must wait.
Hold: TypeAlias = Callable[[str, int], int]

# Letters of scripts that are written without spaces, or that no match may contain. A match of personal data has
# Latin, Greek or Cyrillic letters, so that a run of these letters needs no word's end.
_OTHER_SCRIPTS = r"\u0590-\u1CFF\u2E80-\uA63F\uAC00-\uD7FF\uF900-\uFAFF\U00020000-\U0003FFFF"
_RUN = re.compile(rf"[^\s{_OTHER_SCRIPTS}]*")

# Tokens with digits, and what may stand between two of them in a number: a few separators, or an extension's word.
_WITH_DIGIT = r"(?<![0-9A-Za-z_])[0-9A-Za-z_]*[0-9][0-9A-Za-z_]*"
_EXTENSION = r"[ ,;(]{0,3}(?i:x|ext\.?|extn\.?|extension|durchwahl|dw|poste|anexo|interno|ramal|toestel|#)[ .:\-]{0,3}"
_CLUSTER = re.compile(rf"[+(\[]{{0,3}}{_WITH_DIGIT}(?:(?:[^\w\n]{{1,6}}|{_EXTENSION}){_WITH_DIGIT})*[)\]]?")
# Behind a number: separators, after which it may go on.
_OPEN_END = re.compile(r"[^\w\n]{0,6}\Z")
_WORD_BEHIND = re.compile(r"[^\w\n]{0,6}([^\W\d_]+)\W[\s\S]")
_IBAN_START = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}[0-9]{2}")
# The user in a web server's log, behind an address: "1.2.3.4 - max.m [30/".
_USER_BEHIND = re.compile(r"[0-9] - [\w.@-]{0,32}(?: (?:\[[0-9]{0,2})?)?\Z")
_USER_CHARS = 44
# An address of four numbers, or with two colons.
_DOTTED = re.compile(r"[0-9]\.[0-9]+\.[0-9]+\.[0-9]|:[0-9A-Fa-f]*:")
# Words behind a number that may be the beginning of what tells its meaning: "1.2.3.4 is the last stable release",
# "586625 mobile", "X12345678 is my passport"; and an extension's words.
_TELLING_WORD = re.compile(
    r"(?i:is|was|has|had|been|will|be|the|a|an|our|last|latest|new|newest|current|stable|first|next|released?|version|build"
    r"|my|us|u|american|passport|office|fax|mobile|mob|cell|home|work|tel|phone|handy|landline"
    r"|x|extn?|extension|durchwahl|dw|poste|anexo|interno|ramal|toestel)"
)
# The fewest digits of a number without dots or colons that any type has.
_FEWEST_DIGITS = 6
# The longest look behind a number (words after a version), rounded up.
_BEHIND_CHARS = 80
# The longest IBAN with a separator between any two of its characters.
_IBAN_CHARS = 68
# What a date of birth has at most, and the longest name of a month.
_DATE_CHARS = 40

# The beginnings of types that begin with letters and a space: AB 12 34 56 C, RSS MRA 85…, X 1234567 L, March 3.
_LETTERS_FIRST = {
    "uk_nino": r"[A-Za-z]{2}[ \-]",
    "it_codice_fiscale": r"[A-Za-z]{3} (?:[A-Za-z]{0,3}|[A-Za-z]{3} )",
    "es_nif": r"[A-Za-z][ \-]",
    "date_of_birth": r"[^\W\d_]{3,10}\.? ",
}


def hold_characters(count: int) -> Hold:
    """The last characters wait: right for every rule whose decision needs so many."""
    return lambda text, since: max(since, len(text) - count)


def hold_from(first: re.Pattern[str], count: int) -> Hold:
    """Of the last characters, those from the first one that a match may begin with."""

    def hold(text: str, since: int) -> int:
        found = first.search(text, max(since, len(text) - count))
        return len(text) if found is None else found.start()

    return hold


def hold_run(text: str, since: int) -> int:
    """The last run of characters without a space waits: addresses, tokens, keys."""
    found = _RUN.match(text[: since - 1 if since else None : -1])
    assert found is not None  # the pattern matches the empty text
    return len(text) - found.end()


def hold_address(text: str, since: int) -> int:
    """The last run; and an address as a whole, because its password and its path may be in any script."""
    if text.find("://", since) < 0 or text[-1].isspace():
        return hold_run(text, since)
    run = text[since:].rsplit(maxsplit=1)[-1]
    return len(text) - len(run) if "://" in run else hold_run(text, since)


def hold_all(holds: Sequence[Hold]) -> Hold:
    """The earliest of all."""
    return lambda text, since: min([hold(text, since) for hold in holds])


def hold_pii(types: Sequence[str]) -> Hold:
    """For these types of personal data: the last run, and numbers that may go on or that are not decided yet."""
    leads = [pattern for name, pattern in _LETTERS_FIRST.items() if name in types]
    lead = re.compile(rf"(?<![^\W\d_])(?:{'|'.join(leads)})\Z") if leads else None
    has_dates, has_ibans = "date_of_birth" in types, "iban" in types
    hold_last = hold_address if "url_credentials" in types else hold_run

    def hold(text: str, since: int) -> int:
        held = hold_last(text, since)
        if lead is not None:
            begun = lead.search(text, max(since, len(text) - _DATE_CHARS))
            held = held if begun is None else min(held, begun.start())
        for cluster in _CLUSTER.finditer(text, since):
            start, end = cluster.span()
            if start >= held:
                return held if lead is None else _with_letters(text, since, held)
            # One that goes on in the last run is not decided before the run is.
            if end > held or _is_open(text, (start, end), held, has_ibans=has_ibans):
                return start if lead is None else _with_letters(text, since, start)
            if has_dates and len(text) - start < _DATE_CHARS:
                return _with_letters(text, since, start)
        return held

    return hold


def _with_letters(text: str, since: int, start: int) -> int:
    """The start, with the words directly before it, for types that begin with letters."""
    return max(since, text.rfind("\n", since, start) + 1, start - _DATE_CHARS // 2)


def _is_open(text: str, number: tuple[int, int], held: int, *, has_ibans: bool) -> bool:
    """Whether more text could make the number longer, or give it another meaning. From `held` on words may change."""
    start, end = number
    behind = len(text) - end
    if has_ibans and any(len(text) - found.start() < _IBAN_CHARS for found in _IBAN_START.finditer(text, start, end)):
        return True
    if behind >= _BEHIND_CHARS:
        return False
    if _OPEN_END.match(text, end) or _USER_BEHIND.search(text, max(start, len(text) - _USER_CHARS)):
        return True
    digits = sum(map(str.isdigit, text[start:end]))
    if digits < _FEWEST_DIGITS and not _DOTTED.search(text, start, end):
        return False
    if text[start] == "+" and (start == 0 or text[start - 1] == "\n"):
        # Perhaps an added line of a diff: its next line tells.
        return True
    if text[end : end + 1] == "\n":
        return False
    word = _WORD_BEHIND.match(text, end)
    return word is None or word.end(1) > held or _TELLING_WORD.fullmatch(word[1]) is not None


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_KEY_LINES = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,60}(?:-{0,4}|-----(?:[A-Za-z0-9+/=\s:,\\]|-(?!-))*(?:--?[A-Z0-9 -]*)?)\Z"
)
_CONNECTION = re.compile(
    r"(?i:(?<![0-9A-Za-z_])(?:server|data(?: s(?:o(?:u(?:r(?:ce?)?)?)?)?)?|host|addr(?:ess)?|accountname|endpoint))"
    r" ?(?:=[^\n]*)?\Z"
)


def hold_secrets(text: str, since: int) -> int:
    """The last run, a private key from its first line on, and a connection string of several words."""
    held = hold_address(text, since)
    # Also one whose beginning was masked already.
    begun = text.rfind("-----BEGIN ")
    if begun >= 0 and _KEY_LINES.match(text, begun):
        held = min(held, max(begun, since))
    found = _CONNECTION.search(text, since)
    return held if found is None else min(held, found.start())
