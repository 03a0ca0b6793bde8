"""Figures of releases, and this checkout's beside them."""

import json
from pathlib import Path

import pytest

from scripts.bench.benches.history import Kept, read_history, tabulate_history
from scripts.bench.harness.processes import BenchError


def test_releases_are_in_order(tmp_path: Path) -> None:
    for name, steps in (("0.2.0", 8_000), ("0.1.0", 9_000)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"figures": {"bytecodes a request": steps}}))

    kept = read_history(tmp_path)

    assert [Kept("0.1.0", {"bytecodes a request": 9_000}), Kept("0.2.0", {"bytecodes a request": 8_000})] == kept


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense"])
def test_other_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "0.1.0.json").write_text(text)

    with pytest.raises(BenchError, match="not a file of figures"):
        read_history(tmp_path)


def test_ratio_is_over_the_last() -> None:
    kept = [Kept("0.1.0", {"KB a stream": 30.0}), Kept("0.2.0", {"KB a stream": 20.0})]

    table = tabulate_history(kept, {"KB a stream": 10.0, "MB an idle worker": 60.0})

    assert ("what", "0.1.0", "0.2.0", "this checkout", "over the last") == table.head
    assert [("KB a stream", "30", "20", "10", "0.50"), ("MB an idle worker", "–", "–", "60", "–")] == table.rows
