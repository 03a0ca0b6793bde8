"""The commands of the benches: one link each, help for each, and what a command does with a bench's reports."""

from __future__ import annotations

import importlib
import json
import signal
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from attrs import frozen

from scripts.bench.harness import cli
from scripts.bench.harness.processes import ROOT, BenchError
from scripts.bench.harness.tables import Report, Table

BENCHES = cli.list_benches()


@frozen
class Figure:
    us: float


def make_bench(monkeypatch: pytest.MonkeyPatch, *reports: Report | BaseException) -> None:
    """`toy` is a bench that yields these reports, or raises."""

    def run(options: Namespace) -> Iterator[Report]:
        for report in reports:
            if isinstance(report, BaseException):
                raise report
            yield report

    toy = ModuleType("toy", "A toy.")
    vars(toy).update(run=run, ROUNDS=(5, 2))
    monkeypatch.setattr(cli, "list_benches", lambda: {"toy": "A toy."})
    monkeypatch.setattr(importlib, "import_module", lambda name: toy)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def test_every_bench_has_its_command() -> None:
    links = {file.name for file in (ROOT / "scripts/bench").iterdir() if file.is_symlink()}

    assert links == set(BENCHES)
    assert all(Path("run") == (ROOT / "scripts/bench" / name).readlink() for name in links)


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])

    shown = capsys.readouterr().out
    assert 0 == ended.value.code
    assert BENCHES[name] in shown
    assert all(option in shown for option in ("--quick", "--json FILE"))


def test_unknown_bench_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == cli.main(["no such bench"])
    assert all(name in capsys.readouterr().out for name in ["peers"])


def test_figures_are_kept_as_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = Table(("", "µs"), [("a", "1.5")])
    make_bench(monkeypatch, Report([table], {"one": [Figure(1.5)]}), Report([table], {"two": 2}))

    status = cli.main(["toy", "--json", str(tmp_path / "new" / "file.json")])

    kept = json.loads((tmp_path / "new" / "file.json").read_text())
    assert 0 == status
    assert ([{"us": 1.5}], 2) == (kept["one"], kept["two"])
    assert [["a", "1.5"]] * 2 == [table["rows"][0] for table in kept["tables"]]
    assert {"cpu", "commit", "load average"} <= set(kept["machine"])


def test_broken_promise_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_bench(monkeypatch, Report([], wrong=["two is not one"]), Report([]))

    assert 1 == cli.main(["toy"])
    assert "toy: two is not one\n" == capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(BenchError("no core"), 1), (KeyboardInterrupt(), 130)])
def test_failures_have_their_status(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bench(monkeypatch, error)

    assert status == cli.main(["toy"])
    assert capsys.readouterr().err.startswith("toy: ")


@pytest.mark.parametrize(("options", "rounds"), [([], 5), (["--quick"], 2), (["--rounds", "7"], 7)])
def test_rounds_are_chosen(options: list[str], rounds: int) -> None:
    bench = ModuleType("toy")
    vars(bench)["ROUNDS"] = (5, 2)

    assert rounds == cli.read_options("toy", bench, options).rounds


def test_no_round_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    bench = ModuleType("toy")
    vars(bench)["ROUNDS"] = (5, 2)

    with pytest.raises(SystemExit):
        cli.read_options("toy", bench, ["--rounds", "0"])

    assert "must be at least 1" in capsys.readouterr().err
