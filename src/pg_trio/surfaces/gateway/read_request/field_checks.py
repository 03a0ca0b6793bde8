"""Checks of one field of a request. Each raises BadRequest, which names the field's path and never its value."""

from __future__ import annotations

import re

from pg_trio.domain.chat import Json
from pg_trio.errors import BadRequest

# OpenAI's own pattern for names of participants (its 400 quotes it: openai/openai-python#309).
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# The id of a file that the client stored with a provider: OpenAI's are `file-` and 24 characters.
FILE_ID = re.compile(r"[A-Za-z0-9_.:-]{1,256}")
# A word of a small vocabulary: `high`, `wav`.
WORD = re.compile(r"[a-z0-9]{1,16}")
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_WORDS_FOR = {
    NAME: "1 to 64 letters, digits, _ and -",
    FILE_ID: "1 to 256 letters, digits, _ . : and -",
    WORD: "a word",
    BASE64: "base64",
}


def check_string(value: Json, pattern: re.Pattern[str], path: str) -> None:
    """Return if the value is a string that matches `pattern`, one of those above, completely."""
    if not isinstance(value, str):
        raise BadRequest(f"{path}: must be a string.")
    if pattern.fullmatch(value) is None:
        raise BadRequest(f"{path}: must be {_WORDS_FOR[pattern]}.")


def check_text(value: Json, path: str) -> None:
    """Return if the value is a string that is not empty."""
    if not isinstance(value, str):
        raise BadRequest(f"{path}: must be a string.")
    if not value:
        raise BadRequest(f"{path}: must not be empty.")


def check_object(value: Json, path: str) -> dict[str, Json]:
    """The value, if it is an object."""
    if not isinstance(value, dict):
        raise BadRequest(f"{path}: must be an object.")
    return value


def read_flag(value: Json, path: str) -> bool:
    """The value, if it is true or false."""
    if not isinstance(value, bool):
        raise BadRequest(f"{path}: must be true or false.")
    return value
