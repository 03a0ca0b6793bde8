"""What is said of a mistake on the command line."""

from __future__ import annotations

import pytest

from pg_trio.cli import main


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert 2 == main(arguments)
    captured = capsys.readouterr()
    assert "" == captured.out
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["serv"], "serve"),
        (["chekc", "--config", "x"], "check"),
        (["help"], "--help"),
        (["token", "crate"], "create"),
        (["check", "--confg", "x"], "--config"),
        (["check", "gateway.toml"], "--config gateway.toml"),
        (["token", "list", "--jsn"], "--json"),
        (["token", "create", "--project", "p", "--name", "n", "--scope", "chta"], "chat"),
    ],
)
def test_what_was_meant_is_suggested(capsys: pytest.CaptureFixture[str], arguments: list[str], meant: str) -> None:
    assert f"; did you mean {meant}?" in said(capsys, *arguments)


@pytest.mark.parametrize("word", ["wroker", "workers", "nonsense", "x" * 100_000])
def test_internal_command_is_not_shown(capsys: pytest.CaptureFixture[str], word: str) -> None:
    error = said(capsys, word)

    assert "worker" not in error.replace(word, "")
    assert error.endswith(
        "(choose from serve, reload, check, prices, token, operator, logs, show, stats, top, backup, migrate, cluster,"
        " chat, doctor, guard, simulate, completion)\n"
    )


@pytest.mark.parametrize("address", ["8080", ":8080", "127.0.0.1", "127.0.0.1:65536", "http://127.0.0.1:8080"])
def test_address_of_wrong_shape(capsys: pytest.CaptureFixture[str], address: str) -> None:
    assert "is not HOST:PORT, such as 127.0.0.1:8080" in said(capsys, "serve", "--bind", address)


@pytest.mark.parametrize("arguments", [[], ["token"]])
def test_no_command_shows_all(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    error = said(capsys, *arguments)

    assert "commands:\n" in error
    assert error.endswith(": a command is missing\n")
