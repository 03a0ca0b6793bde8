"""`pg-trio completion SHELL`: a script that completes commands, options and their values at the Tab key.

The script is made from the parser, so it has every option. Running the program at each Tab would take half a second.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from pg_trio.cli.parser import commands_of, shown_choices

SHELLS = ("bash", "zsh", "fish")


@frozen
class Option:
    """One option. `takes` is the kind of its value: "" for none, "file", "dir", or "other". `choices` are the allowed
    values."""

    names: tuple[str, ...]
    about: str
    takes: str
    choices: tuple[str, ...]
    repeats: bool


@frozen
class Command:
    """One command: its words, without the program's name. `argument` is the kind of its positional value, as
    `takes`."""

    words: tuple[str, ...]
    about: str
    options: tuple[Option, ...]
    argument: str
    argument_choices: tuple[str, ...]
    commands: tuple[Command, ...]

    def walk(self) -> Iterator[Command]:
        """This command and all its subcommands."""
        yield self
        for command in self.commands:
            yield from command.walk()


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Print a script that completes pg-trio's commands, options and values:"
        " `source <(pg-trio completion bash)` in ~/.bashrc, the same with zsh after compinit in ~/.zshrc,"
        " `pg-trio completion fish > ~/.config/fish/completions/pg-trio.fish`.",
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from pg_trio.cli import completion_scripts, make_parser

    render = getattr(completion_scripts, f"render_{arguments.shell}")
    print(render(describe(make_parser())), end="")
    return 0


def describe(parser: argparse.ArgumentParser, words: tuple[str, ...] = (), about: str = "") -> Command:
    """The parser's commands and options, as data."""
    actions = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    arguments = [action for action in actions if not action.option_strings]
    return Command(
        words=words,
        about=about,
        options=tuple([_describe_option(parser, action) for action in actions if action.option_strings]),
        argument=_takes(arguments[0]) if arguments else "",
        argument_choices=tuple(shown_choices(arguments[0])) if arguments else (),
        commands=tuple([describe(under, (*words, name), text) for name, (under, text) in commands_of(parser).items()]),
    )


def _describe_option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    about = parser._get_formatter()._expand_help(action) if action.help else ""
    return Option(
        names=tuple(action.option_strings),
        about=about,
        takes="" if action.nargs == 0 else _takes(action),
        choices=tuple(shown_choices(action)),
        repeats=isinstance(action, argparse._AppendAction),
    )


def _takes(action: argparse.Action) -> str:
    if action.metavar == "DIR":
        return "dir"
    return "file" if action.type is Path else "other"
