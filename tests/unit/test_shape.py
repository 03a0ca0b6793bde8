"""The shape of the source: limits to notice by, not to game. When one is met, say what the code is about in two places.

A check returns what is over its limit, so that a failure names it.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "pg_trio"

MOST_LINES_OF_A_FUNCTION = 60
USUAL_LINES_OF_A_FUNCTION = 20
MOST_LINES_OF_A_FILE = 400
MOST_MUTABLE_ATTRIBUTES = 12
MOST_REPEATED_FILE_NAMES = 8
MOST_VAGUE_WORDS = 40
# Words for which plain English has the technical noun.
VAGUE = re.compile(r"\b(?:nobody|somebody|whoever|whatever|whichever|whom|what is none|as ever)\b", re.IGNORECASE)

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> dict[str, str]:
    """The text of each file, by its path in the package."""
    return {str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}


@cache
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(text) for name, text in sources().items()}


def functions_of(tree: ast.AST) -> Iterator[FunctionNode]:
    return (node for node in ast.walk(tree) if isinstance(node, FunctionNode))


def classes_of(tree: ast.AST) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def lines_of(node: FunctionNode) -> int:
    """From `def` to the last line, docstring and functions inside it included."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def mutable_attributes(of: ast.ClassDef) -> set[str]:
    """The attributes that methods set after the object was made."""
    methods = [node for node in of.body if isinstance(node, FunctionNode) and node.name != "__init__"]
    return {
        node.attr
        for method in methods
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }


# ── the limits ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_class_name_has_one_meaning() -> None:
    names = Counter(one.name for tree in trees().values() for one in classes_of(tree) if not one.name.startswith("_"))

    assert [] == [name for name, count in names.items() if count > 1]


def test_few_file_names_repeat() -> None:
    names = Counter(Path(name).name for name in sources())
    repeated = sorted(name for name, count in names.items() if count > 1 and not name.startswith("__"))

    assert len(repeated) <= MOST_REPEATED_FILE_NAMES, repeated


@pytest.mark.parametrize("name", sources())
def test_functions_are_short_enough(name: str) -> None:
    lengths = {function.name: lines_of(function) for function in functions_of(trees()[name])}

    assert {} == {each: lines for each, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION}


def test_nine_functions_in_ten_are_short() -> None:
    lengths = sorted(lines_of(function) for tree in trees().values() for function in functions_of(tree))

    assert lengths[len(lengths) * 9 // 10] <= USUAL_LINES_OF_A_FUNCTION


def test_files_are_short_enough() -> None:
    lengths = {name: text.count("\n") for name, text in sources().items()}

    assert {} == {name: lines for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE}


@pytest.mark.parametrize("name", sources())
def test_objects_have_few_mutable_attributes(name: str) -> None:
    found = {one.name: mutable_attributes(one) for one in classes_of(trees()[name])}

    assert {} == {each: sorted(names) for each, names in found.items() if len(names) > MOST_MUTABLE_ATTRIBUTES}


def test_words_are_plain() -> None:
    vague = [(name, word) for name, text in sources().items() for word in VAGUE.findall(text)]

    assert len(vague) <= MOST_VAGUE_WORDS, vague


# ── the checks can fail ──────────────────────────────────────────────────────────────────────────────────────────────

SAMPLE = """
class Sample:
    count = 0

    def __init__(self, at):
        self.at = at

    async def move(self, other):
        self.count += 1
        self.place, self.at = 1, 2
        other.name = self.place
        for self.step in range(3):
            pass
"""


def test_checks_see_what_they_count() -> None:
    tree = ast.parse(SAMPLE)
    (sample,) = classes_of(tree)

    assert {"count", "place", "at", "step"} == mutable_attributes(sample)
    assert {"__init__": 2, "move": 6} == {one.name: lines_of(one) for one in functions_of(tree)}
    assert ["Nobody", "what is none"] == VAGUE.findall("Nobody knows what is none, somebodys do")


@pytest.mark.parametrize("name", sources())
def test_nothing_is_raised_in_a_handler_of_groups(name: str) -> None:
    """Before Python 3.11.4 it would be put into a group again."""
    handlers = [
        handler for node in ast.walk(trees()[name]) if isinstance(node, ast.TryStar) for handler in node.handlers
    ]

    assert [] == [node.lineno for handler in handlers for node in ast.walk(handler) if isinstance(node, ast.Raise)]
