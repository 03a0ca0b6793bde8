"""The documents name only commands and options that exist: each is looked for in the parser that would read it."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from pg_trio.cli import make_parser
from scripts.bench import benches
from scripts.bench.harness import cli

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"(?:\./|\.venv/bin/)?(scripts/[\w/.-]+|pg-trio)(?= |$)(.*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# What ends a command in a shell's line.
_SHELL_ENDS = {"|", ">", "&&", "&", ";"}


@frozen
class Command:
    """One command of a document. `is_whole`: a line of a block; in running text arguments may be left out."""

    document: str
    name: str
    arguments: tuple[str, ...]
    is_whole: bool

    def __str__(self) -> str:
        return f"{self.document}: {shlex.join([self.name, *self.arguments])}"

    @property
    def bench(self) -> str | None:
        name = self.name.removeprefix("scripts/bench/")
        return name if name in cli.list_benches() else None

    @property
    def options(self) -> list[str]:
        return _OPTION.findall(" ".join(self.arguments))


def read_commands() -> Iterator[Command]:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        lines = [(line, True) for block in _FENCED.findall(text) for line in block.splitlines()]
        lines += [(span, False) for span in _INLINE.findall(_FENCED.sub("", text))]
        for line, is_whole in lines:
            if found := _COMMAND.match(line.strip()):
                words = shlex.split(found[2], comments=True)
                end = min((words.index(mark) for mark in _SHELL_ENDS if mark in words), default=len(words))
                # Brackets are around what may be left out, and `…` stands for more: no command to be typed so.
                is_typed = is_whole and not any(word.startswith("[") or "…" in word for word in words)
                yield Command(document.name, found[1], tuple(words[:end]), is_typed)


COMMANDS = list(dict.fromkeys(read_commands()))
BENCHES = [command for command in COMMANDS if command.bench]
GATEWAY = [command for command in COMMANDS if command.name == "pg-trio"]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


def command_parser(arguments: tuple[str, ...]) -> argparse.ArgumentParser:
    """The parser of the innermost command that these arguments name."""
    parser: argparse.ArgumentParser = make_parser()
    for word in arguments:
        actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not actions or word.startswith(("-", "[", "…")) or "|" in word:
            break
        assert word in actions[0].choices, f"no command {word}"
        parser = actions[0].choices[word]
    return parser


def bench_help(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    return capsys.readouterr().out


def lone_options(document: str) -> set[str]:
    """The options that a document names without their command, as in `--close`."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    spans = _INLINE.findall(_FENCED.sub("", text))
    return {option for span in spans if span.startswith("--") for option in _OPTION.findall(span)}


def test_commands_were_found() -> None:
    assert len(BENCHES) > 25
    assert len(GATEWAY) > 25


@pytest.mark.parametrize("path", sorted({command.name for command in COMMANDS} - {"pg-trio", "scripts/bench/NAME"}))
def test_script_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", BENCHES, ids=str)
def test_bench_takes_it(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.bench
    if command.is_whole:
        cli.read_options(
            command.bench, importlib.import_module(f"{benches.__name__}.{command.bench}"), command.arguments
        )
    assert set(command.options) <= set(_OPTION.findall(bench_help(command.bench, capsys)))


@pytest.mark.parametrize("command", GATEWAY, ids=str)
def test_gateway_takes_it(command: Command) -> None:
    if command.is_whole:
        make_parser().parse_args(command.arguments)
    assert set(command.options) <= set(command_parser(command.arguments)._option_string_actions)


def test_options_named_alone_are_of_a_bench(capsys: pytest.CaptureFixture[str]) -> None:
    known = {option for name in cli.list_benches() for option in _OPTION.findall(bench_help(name, capsys))}

    assert lone_options("performance.md") <= known


@pytest.mark.parametrize("document", ["operations.md", "tokens.md", "simulator.md"])
def test_options_named_alone_are_of_the_gateway(document: str) -> None:
    assert lone_options(document) <= {
        option for parser in parsers(make_parser()) for option in parser._option_string_actions
    }
