"""Notes on names of models that no request can reach, because another name of the project comes first.

Rules (catalogue.py has the same order):
1. A slug comes first, then `model_names` in the order of the file, then opened providers in theirs. What is not active
   takes no name.
2. One glob covers another only where that is certain. No note is better than a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from attrs import frozen

from pg_trio.config.bounds import show
from pg_trio.config.mistakes import Mistakes, Path
from pg_trio.config.tables import ProjectTable
from pg_trio.domain.project import MODEL_NAME, Credential

_SET = re.compile(r"\[[^\]]+\]")


@frozen
class _Name:
    """A glob that takes names: where it stands, and whose it is."""

    glob: str
    path: Path
    owner: str


def note_names(
    table: ProjectTable, path: Path, credentials: Mapping[str, Credential | None], mistakes: Mistakes
) -> None:
    """Note each name that can match nothing, and why."""
    slugs = {item.slug for item in table.endpoints or () if item is not None and item.is_active is not False}
    earlier: list[_Name] = []
    for name in (*_model_names(table, path), *_opened_models(table, path, credentials)):
        if name.glob in slugs:
            if name.glob != name.owner:
                mistakes.note(name.path, f"has no effect, because {show(name.glob)} is a slug, which comes first")
            continue
        if not _can_match(name.glob):
            mistakes.note(name.path, "matches no model: names have letters, digits and . _ : / @ + -")
            continue
        first = next((each for each in earlier if each.owner != name.owner and covers(each.glob, name.glob)), None)
        if first is None:
            earlier.append(name)
        else:
            mistakes.note(name.path, f"has no effect, because {show(first.glob)} of {first.owner} comes first")


def covers(first: str, second: str) -> bool:
    """Whether it is certain that the first glob matches every name that the second one does."""
    if first in ("*", second):
        return True
    if not any(sign in second for sign in "*?["):
        return fnmatchcase(second, first)
    # As text, the second's own signs can then be matched only by a star of the first.
    return not any(sign in first for sign in "?[") and "[" not in second and fnmatchcase(second, first)


def _model_names(table: ProjectTable, path: Path) -> Iterator[_Name]:
    for index, item in enumerate(table.endpoints or ()):
        if item is None or item.is_active is False or item.slug is None:
            continue
        for number, glob in enumerate(item.model_names or ()):
            if glob:
                yield _Name(glob, (*path, "endpoints", index, "model_names", number), item.slug)


def _opened_models(table: ProjectTable, path: Path, credentials: Mapping[str, Credential | None]) -> Iterator[_Name]:
    for index, item in enumerate(table.providers or ()):
        credential = None if item is None else credentials.get(item.credential or "")
        if item is None or credential is None or item.is_active is False:
            continue
        place, owner = (*path, "providers", index), f"providers[{index}]"
        models = [(glob, (*place, "models", number)) for number, glob in enumerate(item.models or ()) if glob]
        for glob, where in models or [("*", place)]:
            yield _Name(f"{credential.provider}:{glob}", where, owner)


def _can_match(glob: str) -> bool:
    literal = _SET.sub("", glob).replace("*", "").replace("?", "")
    return not literal or MODEL_NAME.fullmatch(literal) is not None
