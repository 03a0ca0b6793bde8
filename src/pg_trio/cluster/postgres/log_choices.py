"""SQL conditions for the rows that operators ask for; the same rows as in a single machine's log.db
(store/log_query.py, store/log_reader.py).

Rules:
1. Conditions that an index serves (a time, a project, a subject) are apart from the rest: a page looks at a bounded
   number of rows for which the first hold, and compares each of them with the rest.
2. Letters of either case are alike in ASCII only, as in SQLite's LIKE: the collation "C" knows no others.
3. Parameters are text that PostgreSQL can hold: a NUL is U+FFFD, as in the rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import field, frozen

from pg_trio.domain.request_filter import RowChoice, Word
from pg_trio.store.log_reader import LogFilter

_TEXTS = {
    "provider": ("provider",),
    "model": ("model",),
    "endpoint": ("endpoint_slug",),
    "error": ("error", "error_code"),
    "bare": ("endpoint_slug", "provider", "model", "error", "error_code"),
}
# The first lets PostgreSQL use the index of these rows.
_OF_SUBJECT = "client_token IS NOT NULL AND subject = %s"
_LIKE = "{} COLLATE \"C\" ILIKE %s ESCAPE '\\'"


@frozen
class Conditions:
    """SQL conditions, all of which hold, and their parameters. Add with `add`."""

    texts: list[str] = field(factory=list)
    values: list[object] = field(factory=list)

    def add(self, text: str, *values: object) -> None:
        """One more condition, a constant; the values may be a client's text."""
        self.texts.append(text)
        self.values.extend(map(_storable, values))

    def plus(self, other: Conditions) -> Conditions:
        """Both together."""
        return Conditions([*self.texts, *other.texts], [*self.values, *other.values])

    def __str__(self) -> str:
        return " AND ".join(self.texts) or "true"


@frozen
class SplitConditions:
    """Conditions that an index serves, and the rest (rule 1)."""

    indexed: Conditions = field(factory=Conditions)
    rest: Conditions = field(factory=Conditions)

    @property
    def all(self) -> Conditions:
        """Both together."""
        return self.indexed.plus(self.rest)


def split_choice(choice: RowChoice) -> SplitConditions:
    """The conditions of a page or of sums, without the times of its range."""
    split = SplitConditions()
    if choice.project is not None:
        split.indexed.add("project_uuid = %s", choice.project)
    for place, word in enumerate(choice.words.words):
        if word.kind == "subject":
            split.indexed.add(_OF_SUBJECT, word.text)
        else:
            _add_word(split.rest, word, choice.tokens[place] if place < len(choice.tokens) else frozenset())
    return split


def _add_word(conditions: Conditions, word: Word, tokens: Iterable[int]) -> None:
    if word.kind == "status":
        if word.statuses is None:
            conditions.add(_LIKE.format("outcome"), word.like)
        else:
            conditions.add("status BETWEEN %s AND %s", *word.statuses)
        return
    is_token, ids = "token_id = ANY(%s::bigint[])", sorted(tokens)
    if word.kind == "token":
        conditions.add(is_token, ids)
        return
    columns = _TEXTS[word.kind]
    likes = [_LIKE.format(column) for column in columns]
    values: list[object] = [word.like] * len(columns)
    if word.kind == "bare":
        likes.append(is_token)
        values.append(ids)
        if (of_id := word.as_id()) is not None:
            likes.append(_LIKE.format("replace(request_id::text, '-', '')"))
            values.append(of_id.like)
    conditions.add(f"({' OR '.join(likes)})", *values)


def split_filter(wanted: LogFilter) -> SplitConditions:
    """The conditions of `pg-trio logs`, without its time and without the request's id."""
    split = SplitConditions()
    if wanted.project_uuid is not None:
        split.indexed.add("project_uuid = %s", wanted.project_uuid)
    if wanted.subject is not None:
        split.indexed.add(_OF_SUBJECT, wanted.subject)
    if wanted.endpoint_slug is not None:
        split.rest.add("endpoint_slug = %s", wanted.endpoint_slug)
    if wanted.statuses is not None:
        split.rest.add("status BETWEEN %s AND %s", *wanted.statuses)
    if wanted.client_request_id is not None:
        split.rest.add("client_request_id = %s", wanted.client_request_id)
    if wanted.client_address is not None:
        split.rest.add("client_address = %s", wanted.client_address)
    if wanted.errors_only:
        # A broken stream had already sent its 200. Every failed row has an error code.
        split.rest.add("error_code IS NOT NULL")
    return split


def _storable(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
