"""Selects requests by words that a person types: `status:5xx provider:openai error:timeout summarize`.

Rules:
1. Every word must hold. Words are separated by white space; `error:"no answer"` has one with a space.
2. `status:` takes a status (`429`), a class (`5xx`), or the name of an outcome (`deadline`). `provider:`, `endpoint:`
   and `token:` (name, prefix or id) take a whole name, `model:` and `error:` a part of it. `*` stands for any text.
   `subject:` takes the whole subject of client tokens, exactly: letters of either case differ, and a star is a star.
3. Any other word is bare: a part of the endpoint, the provider, the model, the token's name, the error or the request
   id.
4. Letters of either case are alike, in ASCII only, because SQLite's LIKE has the same rule.
5. The same filter selects rows in the file (`store.log_view`, LIKE patterns) and live rows (`Word.holds`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias
from uuid import UUID

from attrs import frozen

# 1,000 characters and 16 words: more than a person types. Each word costs a comparison of every row.
FILTER_CHARS = 1_000
FILTER_WORDS = 16
# LIKE tries every place for each of them.
STARS = 2

KINDS = ("status", "provider", "model", "endpoint", "error", "token", "subject")
_PARTS = frozenset({"model", "error", "bare"})
_WORD = re.compile(r'(\w+):("[^"]*"?|\S*)|("[^"]*"?|\S+)')
_STATUS = re.compile(r"([1-5])(xx|[0-9]{2})")

# The time of a row's head, and its id.
Cursor: TypeAlias = tuple[float, int]
# The texts of a row by the kind of word that is compared with them, and its `id`: the request's, in hexadecimal digits.
Texts: TypeAlias = Mapping[str, tuple[str | None, ...]]


@frozen
class Word:
    """One word: its kind (`bare` for a bare one) and the text to find."""

    kind: str
    text: str

    @property
    def statuses(self) -> tuple[int, int] | None:
        """The statuses of a word of the kind `status`, both included; None if it names an outcome."""
        found = _STATUS.fullmatch(self.text.lower())
        if found is None:
            return None
        first = int(found[1]) * 100
        return (first, first + 99) if found[2] == "xx" else (int(self.text), int(self.text))

    @property
    def like(self) -> str:
        r"""An SQL LIKE pattern, with `\` as its escape."""
        escaped = re.sub(r"([\\%_])", r"\\\1", self.text).replace("*", "%")
        return f"%{escaped}%" if self.kind in _PARTS else escaped

    def _matches(self, text: str) -> bool:
        """As LIKE with the pattern of `like`."""
        text = _lower(text)
        first, *others = _lower(self.text).split("*")
        if self.kind in _PARTS:
            first, others = "", [first, *others, ""]
        if not others:
            return text == first
        last = others.pop()
        if not text.startswith(first):
            return False
        place = len(first)
        for part in others:
            found = text.find(part, place)
            if found < 0:
                return False
            place = found + len(part)
        return text.endswith(last, place)

    def holds(self, status: int, texts: Texts) -> bool:
        """Whether a row has it. `texts` has the row's texts for each kind; None matches nothing."""
        if self.kind == "status" and (statuses := self.statuses) is not None:
            return statuses[0] <= status <= statuses[1]
        if self.kind == "subject":
            return self.text in texts["subject"]
        if any(text is not None and self._matches(text) for text in texts[self.kind]):
            return True
        return (
            self.kind == "bare"
            and (word := self.as_id()) is not None
            and any(word._matches(text) for text in texts["id"] if text)
        )

    def as_id(self) -> Word | None:
        """The word without the dashes of a request id; None if nothing is left of it."""
        text = self.text.replace("-", "")
        return Word("bare", text) if text else None


@frozen
class RequestFilter:
    """Words, all of which must hold; without words every request is selected."""

    words: tuple[Word, ...] = ()

    def holds(self, status: int, texts: Texts) -> bool:
        """Whether a row is selected."""
        return all(word.holds(status, texts) for word in self.words)


@frozen
class RowChoice:
    """Which rows of the log. `tokens` has, for each of the filter's words, the ids of the tokens that it matches; times
    are Unix seconds, `until` excluded."""

    words: RequestFilter = RequestFilter()
    tokens: tuple[frozenset[int], ...] = ()
    project: UUID | None = None
    since: float | None = None
    until: float | None = None


def parse_filter(text: str) -> RequestFilter:
    """The filter of a text. Raises ValueError for one that is too long, or a status that there cannot be."""
    if len(text) > FILTER_CHARS:
        raise ValueError(f"filter: has at most {FILTER_CHARS} characters")
    words = tuple(_split(text))
    if any(word.text.count("*") > STARS for word in words):
        raise ValueError(f"filter: a word has at most {STARS} stars")
    if len(words) > FILTER_WORDS:
        raise ValueError(f"filter: has at most {FILTER_WORDS} words")
    return RequestFilter(words)


def _split(text: str) -> Iterator[Word]:
    for found in _WORD.finditer(text):
        kind = (found[1] or "").lower()
        # With a colon, but not one of our words: a model's name or a time may have one, too.
        word = Word(kind, found[2].strip('"')) if kind in KINDS else Word("bare", found[0].strip('"'))
        # A word that is being typed is left out.
        if word.text:
            yield word


def _lower(text: str) -> str:
    # `bytes.lower` changes ASCII letters only (rule 4).
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
