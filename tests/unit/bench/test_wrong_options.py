"""What a bench cannot measure is refused before it starts: one line says why."""

from __future__ import annotations

import signal

import pytest

from scripts.bench.harness import cli

COUNTS = [
    ("cluster", "--away-s"),
    ("demo", "--requests"),
    ("demo", "--connections"),
    ("guardrails", "--times"),
    ("lane", "--seconds"),
    ("lane", "--connections"),
    ("overload", "--limits"),
    ("relay", "--streams"),
    ("simulator", "--seconds"),
    ("simulator", "--connections"),
    ("soak", "--requests"),
    ("steps", "--requests"),
    ("steps", "--top"),
    ("transport", "--calls"),
    ("transport", "--concurrency"),
]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert 2 == ended.value.code
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("count", ["0", "-1"])
@pytest.mark.parametrize(("bench", "option"), COUNTS)
def test_nothing_to_count_is_refused(bench: str, option: str, count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, bench, option, count).endswith(f"argument {option}: must be at least 1")


def test_count_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "demo", "--requests", "many").endswith("argument --requests: 'many' is no whole number")


@pytest.mark.parametrize("counts", ["x", "0", "17", "1,", "1,x", "²"])
def test_workers_are_numbers(counts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "soak", "--workers", counts).endswith("numbers from 1 to 16, separated by commas")


def test_folder_that_is_no_checkout_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    assert 1 == cli.main(["relay", "--root", "/nonexistent"])
    assert "relay: /nonexistent: no src/pg_trio in it\n" == capsys.readouterr().err
