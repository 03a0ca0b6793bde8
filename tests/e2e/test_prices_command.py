"""`pg-trio prices`: what the command prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pg_trio.cli import main
from tests.support.config import CREDENTIAL, ENDPOINT, PROJECT_HEAD

PRICES = '[[prices]]\nprovider = "openai"\nmodel = "gpt"\ninput_usd_per_1m = 3\noutput_usd_per_1m = 15\n'
LOCAL = '[[credentials]]\nname = "local"\nprovider = "ollama"\n'
FAILOVER = 'failover = [{ credential = "main", model = "gpt-4o-mini" }, { credential = "local", model = "llama" }]\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pg.toml"
    path.write_text(PRICES + LOCAL + CREDENTIAL + PROJECT_HEAD + ENDPOINT + FAILOVER)
    return path


def test_table_has_every_candidate(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["prices", "--config", str(config)])

    _, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [
        ["support/a", "openai", "gpt", "3", "15", "3", "3", "prices[0]"],
        ["support/a", "openai", "gpt-4o-mini", "0.15", "0.60", "0.075", "0.15", "list", "2026-11"],
        ["support/a", "ollama", "llama", "-", "-", "-", "-", "-"],
    ] == lines


def test_opened_providers_have_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = (
        '[[projects.providers]]\ncredential = "main"\nmodels = ["gpt", "other-*"]\n' + FAILOVER.splitlines()[0] + "\n"
    )
    path = tmp_path / "wrapper.toml"
    path.write_text(PRICES + LOCAL + CREDENTIAL + PROJECT_HEAD + 'project_type = "ai_wrapper"\n' + opened)

    assert 0 == main(["prices", "--config", str(path)])

    _, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [
        ["support/openai:*", "openai", "gpt", "3", "15", "3", "3", "prices[0]"],
        ["support/openai:*", "openai", "other-*", "-", "-", "-", "-", "-"],
        ["support/openai:*", "openai", "gpt-4o-mini", "0.15", "0.60", "0.075", "0.15", "list", "2026-11"],
        ["support/openai:*", "ollama", "llama", "-", "-", "-", "-", "-"],
    ] == lines


def test_json_has_exact_prices(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["prices", "--config", str(config), "--json"])

    _, known, unknown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {
        "endpoint": "support/a",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "input_usd_per_1m": "0.15",
        "output_usd_per_1m": "0.60",
        "cached_input_usd_per_1m": "0.075",
        "cache_write_usd_per_1m": "0.15",
        "from": "list 2026-11",
    } == known
    assert (None, None) == (unknown["input_usd_per_1m"], unknown["from"])


def test_list_needs_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["prices", "--list", "--json"])

    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"openai", "anthropic", "google"} <= {line["provider"] for line in listed}


def test_model_that_costs_more_for_long_inputs_has_two_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pg.toml"
    gemini = CREDENTIAL.replace('"openai"', '"google"')
    path.write_text(gemini + PROJECT_HEAD + ENDPOINT.replace('"gpt"', '"gemini-2.5-pro"'))

    assert 0 == main(["prices", "--config", str(path)])
    table = capsys.readouterr().out
    assert 0 == main(["prices", "--config", str(path), "--json"])

    short, long = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "gemini-2.5-pro (input over 200000 tokens)" in table
    assert ("1.25", None) == (short["input_usd_per_1m"], short.get("over_input_tokens"))
    assert ("2.50", 200_000) == (long["input_usd_per_1m"], long["over_input_tokens"])


def test_configuration_with_mistakes_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pg.toml"
    path.write_text(PRICES.replace("openai", "opnai"))

    assert 1 == main(["prices", "--config", str(path)])
    assert "prices[0].provider" in capsys.readouterr().err
