"""The command line's parser: an error message suggests the right word, and internal commands are not listed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

# 100 characters: difflib's cost grows with the square of the length, and no option or command is longer.
_COMPARED_CHARS = 100


class Parser(argparse.ArgumentParser):
    """argparse's parser, with suggestions. A command without `help` is internal: it runs, and is never shown."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, but unknown arguments are an error of this command, shown with its own usage, not the
        outermost one's."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unknown argument: {' '.join(unknown)}{self._suggest_argument(unknown[0])}")
        return parsed, unknown

    def _suggest_argument(self, unknown: str) -> str:
        if not unknown.startswith("-") and "--config" in self._option_string_actions:
            return f"; did you mean --config {unknown}?"
        return _suggest(unknown.partition("=")[0], self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2. Without a command, show the commands."""
        commands = commands_of(self)
        if commands and message.endswith(_MISSING):
            self.print_help(sys.stderr)
            self.exit(2, f"\n{self.prog}: a command is missing\n")
        super().error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = shown_choices(action)
        if action.choices is not None and value not in action.choices:
            what = "unknown command" if isinstance(action, argparse._SubParsersAction) else "unknown value"
            known = [*choices, *self._option_string_actions] if what == "unknown command" else choices
            said = f"{what} {str(value)[:_COMPARED_CHARS]!r}{_suggest(str(value), known)}"
            raise argparse.ArgumentError(
                None if isinstance(action, argparse._SubParsersAction) else action,
                f"{said} (choose from {', '.join(choices)})",
            )


# The end of argparse's message when the command is missing.
_MISSING = "the following arguments are required: COMMAND"


def _suggest(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word[:_COMPARED_CHARS], list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def commands_of(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """The public commands directly under a parser: name -> (its parser, its line of help)."""
    found: dict[str, tuple[argparse.ArgumentParser, str]] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            found |= {name: (action.choices[name], text) for name, text in helps.items()}
    return found


def shown_choices(action: argparse.Action) -> list[str]:
    """The values allowed there, without internal commands."""
    if isinstance(action, argparse._SubParsersAction):
        return [choice.dest for choice in action._choices_actions]
    return [str(choice) for choice in action.choices or ()]
