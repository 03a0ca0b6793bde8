"""Completion scripts, one function a shell: a tree of commands in, the script's text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from pg_trio.cli.completion import Command, Option

# ── bash ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

# `-o default`: if no word fits, bash completes file names, with the quoting that they need.
_BASH = """\
# pg-trio's completion for bash: source <(pg-trio completion bash)
_pg_trio() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} path= words= i
    # bash splits --option=value into three words.
    if [[ $word == = ]]; then word=; elif [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case $path/${{COMP_WORDS[i]}} in
            {paths}) path=$path/${{COMP_WORDS[i]}} ;;
        esac
    done
    COMPREPLY=()
    case "$path $before" in
{values}
    esac
    case $path in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _pg_trio pg-trio
"""


def render_bash(top: Command) -> str:
    """The script for bash, from 3.2 (macOS) on."""
    commands = list(top.walk())
    return _BASH.format(
        paths="|".join(_bash_path(command) for command in commands if command.words),
        values="\n".join(line for command in commands for line in _bash_values(command)),
        words="\n".join(
            f"        {quote(_bash_path(command))}) words={quote(_bash_words(command))} ;;" for command in commands
        ),
    )


def _bash_path(command: Command) -> str:
    return "".join([f"/{word}" for word in command.words])


def _bash_values(command: Command) -> Iterator[str]:
    for option in command.options:
        if option.takes:
            pattern = "|".join([quote(f"{_bash_path(command)} {name}") for name in option.names])
            fill = f'COMPREPLY=($(compgen -W {quote(" ".join(option.choices))} -- "$word")); ' if option.choices else ""
            yield f"        {pattern}) {fill}return ;;"


def _bash_words(command: Command) -> str:
    words = [under.words[-1] for under in command.commands] + list(command.argument_choices)
    return " ".join(words + [name for option in command.options for name in option.names])


# ── zsh ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_ZSH = """\
#compdef pg-trio
# pg-trio's completion for zsh: source <(pg-trio completion zsh), or as _pg-trio in a folder of $fpath
{functions}
if [ "$funcstack[1]" = "_pg-trio" ]; then
    _pg-trio "$@"
else
    compdef _pg-trio pg-trio
fi
"""
_ZSH_WITH_COMMANDS = """\
{name}() {{
    local context state state_descr line
    typeset -A opt_args
    _arguments -C {options} '1:command:->command' '*::argument:->argument'
    case $state in
        command)
            local -a commands=({commands})
            _describe command commands ;;
        argument)
            case $line[1] in
{cases}
            esac ;;
    esac
}}
"""


def render_zsh(top: Command) -> str:
    """The script for zsh, for `source` and for `$fpath`."""
    return _ZSH.format(functions="".join([_zsh_function(command) for command in top.walk()]))


def _zsh_name(command: Command) -> str:
    return "-".join(["_pg-trio", *command.words])


def _zsh_function(command: Command) -> str:
    options = " ".join([quote(spec) for option in command.options for spec in _zsh_option(option)])
    if not command.commands:
        return f"{_zsh_name(command)}() {{\n    _arguments {options}{_zsh_argument(command)}\n}}\n"
    commands = [f"{under.words[-1]}:{under.about}" for under in command.commands]
    cases = [f"                {under.words[-1]}) {_zsh_name(under)} ;;" for under in command.commands]
    return _ZSH_WITH_COMMANDS.format(
        name=_zsh_name(command), options=options, commands=" ".join(map(quote, commands)), cases="\n".join(cases)
    )


def _zsh_option(option: Option) -> Iterator[str]:
    about = "".join([f"\\{character}" if character in "[]:\\" else character for character in option.about])
    # Once one of its names is on the line, the others are not offered.
    others = "*" if option.repeats else f"({' '.join(option.names)})"
    for name in option.names:
        yield f"{others}{name}[{about}]" + (
            f":value:{_zsh_value(option.takes, option.choices)}" if option.takes else ""
        )


def _zsh_argument(command: Command) -> str:
    return " " + quote(f"1:value:{_zsh_value(command.argument, command.argument_choices)}") if command.argument else ""


def _zsh_value(takes: str, choices: Sequence[str]) -> str:
    return f"({' '.join(choices)})" if choices else {"file": "_files", "dir": "_files -/"}.get(takes, " ")


# ── fish ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_FISH_HEAD = """\
# pg-trio's completion for fish: pg-trio completion fish > ~/.config/fish/completions/pg-trio.fish
complete -c pg-trio -f
"""


def render_fish(top: Command) -> str:
    """The script for fish."""
    lines = [line for command in top.walk() for line in _fish_command(command)]
    return _FISH_HEAD + "\n".join(lines) + "\n"


def _fish_command(command: Command) -> Iterator[str]:
    where = _fish_condition(command)
    for under in command.commands:
        yield f"complete -c pg-trio -n {where} -a {under.words[-1]} -d {_fish_quote(under.about)}"
    for option in command.options:
        names = " ".join([f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names])
        yield f"complete -c pg-trio -n {where} {names} -d {_fish_quote(option.about)}{_fish_value(option)}"
    if command.argument_choices:
        yield f"complete -c pg-trio -n {where} -a {_fish_quote(' '.join(command.argument_choices))}"
    elif command.argument == "file":
        yield f"complete -c pg-trio -n {where} -F"


def _fish_condition(command: Command) -> str:
    """A condition that is true if the line has the command's words and none of its subcommands."""
    seen = [f"__fish_seen_subcommand_from {word}" for word in command.words]
    if command.commands:
        under = " ".join([under.words[-1] for under in command.commands])
        seen.append(f"not __fish_seen_subcommand_from {under}")
    return _fish_quote("; and ".join(seen))


def _fish_value(option: Option) -> str:
    if not option.takes:
        return ""
    if option.choices:
        return f" -x -a {_fish_quote(' '.join(option.choices))}"
    return {"file": " -r -F", "dir": " -x -a '(__fish_complete_directories)'"}.get(option.takes, " -x")


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
