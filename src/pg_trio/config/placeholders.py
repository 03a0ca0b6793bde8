"""Refuses values that are not keys: a variable that nothing expands, quotation marks, a header's scheme.

Other gateways, shells and container tools have their own spellings for "the variable NAME". If one were taken for the
key itself, every call would be a 401.
"""

from __future__ import annotations

import re

_NAME = r"""["']?(?P<name>[A-Za-z_][\w.-]*)["']?"""
# Each as a whole value; {} is the variable's name.
_SPELLINGS = (
    # Shells, docker compose, PowerShell, Caddy: $X, ${X}, ${X:-…}, $(X), $env:X, ${env:X}.
    r"\$(?:env:)?{}",
    r"\$\{{\s*(?:env[:.])?{}\s*(?:[:?+-].*)?\}}",
    r"\$\({}\)",
    # Windows: %X%; Symfony: %env(X)%.
    r"%(?:env\()?{}\)?%",
    # LiteLLM's os.environ/X, and what programs say: os.environ["X"], os.getenv("X"), process.env.X, ENV["X"].
    r"os\.environ(?:/|\.|\[|\.get\(){}[\])]?",
    r"(?:os\.)?getenv\({}\)",
    r"process\.env(?:\.|\[){}\]?",
    # Our own prefix as it is not spelt, or in a value that was itself looked up: ENV:X, env/X, env.X, env://X, ENV[X].
    r"(?i:env)(?::(?://)?|[/.]|\[|\(){}[\])]?",
    # Templates: {{ X }}, {{ env.X }}, {{ env('X') }}, ${{ secrets.X }}, {X}, {env.X}; and what documentation leaves
    # to fill in: <X>.
    r"\$?\{{\{{\s*(?:\$|env[.:(]|\.Env\.|secrets\.)?{}\)?\s*\}}\}}",
    r"\{{(?:env[.:])?{}\}}",
    r"<{}>",
)
_PLACEHOLDER = [re.compile(spelling.format(_NAME)) for spelling in _SPELLINGS]
_TO_FILL_IN = re.compile(r"(?i:<?your[-_ ].*key.*>?|.*(?:\.\.\.|…))")
_FILE = re.compile(r"(?i:file):.+")
# The value may be a real key, so only text that is spelt like a variable is shown.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{1,99}")


def refuse_placeholder(value: str, source: str) -> None:
    """Raise ValueError, with what to write, if the value is a placeholder. `source` names the place of the value."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'`":
        raise ValueError(f"{source} is in quotation marks: they would be part of it")
    if value[:7].lower() == "bearer ":
        raise ValueError(f'{source} begins with "Bearer ": write the key alone')
    for pattern in _PLACEHOLDER:
        if found := pattern.fullmatch(value):
            name = found["name"] if _VARIABLE.fullmatch(found["name"]) else "NAME"
            raise ValueError(f"{source} is a placeholder that nothing replaces: write env:{name} for that variable")
    if _TO_FILL_IN.fullmatch(value):
        raise ValueError(f"{source} is what documentation leaves to fill in")
    if _FILE.fullmatch(value):
        raise ValueError(f"{source} names a file: write file:PATH, in small letters")
