"""Checks of one field of a request. Each raises BadRequest, which names the field's path and never its value."""

from __future__ import annotations

import re
from uuid import UUID

from pg_trio.domain.chat import Json
from pg_trio.errors import BadRequest, SessionIdInvalid

# OpenAI's own pattern for names of participants (its 400 quotes it: openai/openai-python#309).
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# The id of a file that the client stored with a provider: OpenAI's are `file-` and 24 characters.
FILE_ID = re.compile(r"[A-Za-z0-9_.:-]{1,256}")
# A word of a small vocabulary: `high`, `wav`.
WORD = re.compile(r"[a-z0-9]{1,16}")
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
# 2,048 characters: the limit of search engines and old browsers for an address.
_WEB_URL = re.compile(r"https?://[!-~]{1,2040}")
_DATA_URL = re.compile(r"data:[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64};base64,[A-Za-z0-9+/]*={0,2}")
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


def check_image_address(value: Json, path: str) -> str:
    """The value, if it is a web address or a data address."""
    if not isinstance(value, str):
        raise BadRequest(f"{path}: must be a string.")
    if _WEB_URL.fullmatch(value) is None and _DATA_URL.fullmatch(value) is None:
        raise BadRequest(f"{path}: must be an http or https address, or a data address in base64.")
    return value


def check_file_data(value: Json, path: str) -> None:
    """Return if the value is base64, or a data address."""
    if not isinstance(value, str) or (_DATA_URL.fullmatch(value) is None and BASE64.fullmatch(value) is None):
        raise BadRequest(f"{path}: must be base64, or a data address in base64.")


def read_flag(value: Json, path: str) -> bool:
    """The value, if it is true or false."""
    if not isinstance(value, bool):
        raise BadRequest(f"{path}: must be true or false.")
    return value


def read_session_id(value: Json) -> UUID:
    """The id of a session, a UUID in its usual form. Raises: SessionIdInvalid."""
    if not isinstance(value, str):
        raise SessionIdInvalid
    try:
        session_id = UUID(value)
    except ValueError:
        raise SessionIdInvalid from None
    # UUID() also takes braces, "urn:uuid:", missing dashes and digits of other scripts.
    if str(session_id) != value.lower():
        raise SessionIdInvalid
    return session_id


# More than any model's context window.
MAX_TOKENS = 100_000_000


def read_integer(value: Json, path: str, least: int, most: int) -> int:
    """The value, if it is a whole number in this range."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest(f"{path}: must be a whole number.")
    if not least <= value <= most:
        raise BadRequest(f"{path}: must be from {least} to {most}.")
    return value


def read_answer_count(value: Json) -> int:
    """The field `n`, which must be 1."""
    count = read_integer(value, "n", least=1, most=128)
    if count != 1:
        raise BadRequest(f"n: is {count}; the gateway gives one answer a request.")
    return count


def read_number(value: Json, path: str, least: float, most: float) -> float:
    """The value, if it is a number in this range."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadRequest(f"{path}: must be a number.")
    if not least <= value <= most:
        raise BadRequest(f"{path}: must be from {least:g} to {most:g}.")
    return value


def read_strings(value: Json, path: str, most: int) -> tuple[str, ...]:
    """The value, if it is a list of at most so many strings."""
    if not isinstance(value, list):
        raise BadRequest(f"{path}: must be a list of strings.")
    if len(value) > most:
        raise BadRequest(f"{path}: has {len(value)} entries, the limit is {most}.")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise BadRequest(f"{path}[{index}]: must be a string.")
    return tuple(value)
