"""Reads the configuration file, the files it names, and secrets. Every failure is a ValueError with its text."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import tomli
from attrs import frozen

from pg_trio.config.bounds import MIB, show
from pg_trio.config.mistakes import suggest
from pg_trio.config.placeholders import refuse_placeholder
from pg_trio.domain.secret import Secret

# 10 MiB: ten thousand endpoints are about 3 MiB.
MAX_CONFIG_BYTES = 10 * MIB
# 1 MiB: the largest schemas in public registries are half of it.
MAX_SCHEMA_BYTES = MIB
# 1 MiB: service-account documents are 2–4 KiB, Mozilla's whole bundle of authorities is 230 KiB.
MAX_SECRET_BYTES = MIB

FILE_PREFIX = "file:"
ENV_PREFIX = "env:"


@frozen(slots=True)
class Outside:
    """The sources of secrets: files relative to `folder`, variables of `environ`."""

    folder: Path
    environ: Mapping[str, str]


class EnvironmentText(str):
    """A value from the environment: text, for every type of setting."""

    __slots__ = ()


def read_text(path: Path, limit_bytes: int) -> str:
    """The text of a UTF-8 file; a byte order mark is dropped.

    Raises: ValueError if it is missing, not readable, over the limit or not UTF-8; the text never quotes the content.
    """
    path = Path(name_file(str(path)))
    try:
        is_special = path.exists() and not path.is_file()
    except (OSError, ValueError):
        is_special = False  # opening it raises the error
    if is_special:
        # Opening a pipe would wait for a writer.
        raise ValueError(f"{show(path)} is not a regular file")
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise ValueError(f"file {show(path)} does not exist") from None
    except OSError as error:
        raise ValueError(f"file {show(path)} cannot be read: {error.strerror or 'failed'}") from None
    except ValueError:
        raise ValueError(f"{show(path)} is not a path") from None
    if len(content) > limit_bytes:
        raise ValueError(f"file {show(path)} is over {limit_bytes} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"file {show(path)} is not UTF-8 (byte {error.start})") from None


def name_file(text: str) -> str:
    """A file's name from a text, for the system's calls: UTF-8 bytes in every locale.

    Under an ASCII locale Python would refuse `dätä`, and would write names from the shell with surrogates.
    """
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def parse_toml(text: str) -> dict[str, Any]:
    """The document; fractions are exact decimals. Raises: ValueError naming line and column of a syntax error."""
    try:
        return tomli.loads(text, parse_float=_parse_fraction)
    except tomli.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}{_explain_syntax(str(error))}") from None
    except RecursionError:
        raise ValueError("not usable: nested too deeply") from None
    except ValueError:
        # Python itself refuses integers of thousands of digits.
        raise ValueError("not usable: a number is too long") from None


def _explain_syntax(said: str) -> str:
    """The usual cause of a syntax error of TOML's parser. The line itself is not shown, because it may hold a key."""
    if twice := re.match(r"Cannot declare \((.+?),?\) twice", said):
        header = ".".join(re.findall(r"'([^']+)'", twice[1]))
        return f"; a table of which there may be several has double brackets: [[{header}]]"
    if said.startswith("Invalid value"):
        return "; text is written in quotation marks, a list in [ ], yes and no as true and false"
    if said.startswith("Cannot overwrite a value"):
        return "; the same key is there twice"
    return ""


def _parse_fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("exponent out of range") from None


def read_secret(reference: str, folder: Path, environ: Mapping[str, str]) -> Secret:
    """The secret that `env:NAME`, `file:PATH` or the text itself names, without white space around it.

    Raises: ValueError if there is none, or if an HTTP header cannot carry it; the text never quotes the value.
    """
    source, value = _look_up(reference, folder, environ)
    refuse_placeholder(value, source)
    # RFC 9110, 5.5: visible ASCII. Other characters could break or inject a header.
    if not all("!" <= character <= "~" for character in value):
        raise ValueError(f"{source} holds characters that an HTTP header cannot carry")
    return Secret(value)


def read_pem(reference: str, folder: Path, environ: Mapping[str, str], *, kind: str) -> str:
    """The PEM text that `env:NAME` or `file:PATH` names; it holds at least one `kind` (RFC 7468).

    Raises: ValueError if there is none; the text never quotes the value.
    """
    if not reference.startswith((ENV_PREFIX, FILE_PREFIX)):
        raise ValueError("write file:PATH or env:NAME")
    source, value = _look_up(reference, folder, environ)
    if not re.search(rf"-----BEGIN (?:[A-Z]+ )*{kind}-----", value):
        raise ValueError(f"{source} holds no {kind} in PEM form")
    return value + "\n"


def _look_up(reference: str, folder: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """(its source, the text without white space around it). Raises: ValueError if there is none."""
    reference = reference.strip()
    if reference.startswith(ENV_PREFIX):
        name = reference.removeprefix(ENV_PREFIX).strip()
        if name not in environ:
            raise ValueError(f"environment variable {show(name)} is not set{suggest(name.upper(), environ)}")
        source, value = f"environment variable {show(name)}", environ[name]
    elif reference.startswith(FILE_PREFIX):
        path = folder / reference.removeprefix(FILE_PREFIX).strip()
        source, value = f"file {show(path)}", read_text(path, MAX_SECRET_BYTES)
    else:
        source, value = "the key", reference
    # Editors add a byte order mark invisibly, and Python's `strip` does not remove it.
    value = value.strip().removeprefix("\ufeff").strip()
    if not value:
        raise ValueError(f"{source} is empty")
    return source, value
